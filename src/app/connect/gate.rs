//! The gate of an instance: its settings, and whom it asks.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;

use crate::{
    access::{
        self, Gate, jwks, membership,
        scheduler::{self, Scheduler},
        standing::{Standing, Validate, ValidateError},
    },
    clock::SharedClock,
    config::{Config, Limits},
    inbox::revocation::Feed,
    secrets::Secrets,
    upstream::{self, Upstream},
    views::Redis,
};

/// Largest key set of an issuer.
const KEY_SET_BYTES_MAX: usize = 256 * 1024;
const KEY_SET_WAIT: Duration = Duration::from_secs(3);

pub async fn build(
    config: &Config,
    secrets: &Secrets,
    upstream: &Upstream,
    session_tier: &Redis,
    clock: SharedClock,
) -> anyhow::Result<Gate> {
    let tokens = &config.tokens;
    let settings = access::Settings {
        issuers: vec![access::Issuer {
            iss: tokens.issuer.clone(),
            jwks_url: tokens.jwks_url.clone(),
            algorithms: vec![jwks::Algorithm::Es256, jwks::Algorithm::EdDsa],
        }],
        audience: tokens.audience.clone(),
        public_bases: config.server.public_bases.iter().map(ToString::to_string).collect(),
        window: access::dpop::Window {
            age_max: tokens.proof_age_max,
            future_max: tokens.proof_future_max,
        },
        proof_algorithms: tokens.proof_algorithms,
        nonce_mode: if tokens.nonce_required {
            access::NonceMode::Required
        } else {
            access::NonceMode::Off
        },
        nonce_secret: Some(secrets.nonce.current.clone()),
        nonce_secret_previous: secrets.nonce.previous.first().cloned(),
        bearer_with_proof: tokens.bearer_with_proof,
        store_timeout: tokens.session_tier_timeout,
        rates: rates(&config.limits),
        flags_interval: config.limits.flags_interval,
        update_url: config.limits.update_url.clone(),
        ..access::Settings::default()
    };
    let lookup = lookup(upstream.clone());
    let tier = session_tier.shared_within(settings.store_timeout).await?;
    Ok(Gate::new(&settings, &fetch(upstream.clone()), lookup, tier, clock)?)
}

/// Who may start jobs; nobody where no account is named.
pub fn scheduler(config: &Config, upstream: &Upstream) -> Option<Scheduler> {
    let account = &config.scheduler;
    let settings = scheduler::Settings {
        issuer: account.issuer.clone(),
        jwks_url: account.jwks_url.clone(),
        audience: account.audience.clone(),
        email: account.email.clone()?,
    };
    Some(Scheduler::new(settings, fetch(upstream.clone())))
}

fn rates(limits: &Limits) -> access::rate::Settings {
    let quota = |per_second, burst| access::rate::Quota { per_second, burst };
    access::rate::Settings {
        device: quota(limits.per_device, limits.per_device_burst),
        tenant: quota(limits.per_tenant, limits.per_tenant_burst),
    }
}

/// How key sets are fetched.
fn fetch(upstream: Upstream) -> jwks::Fetch {
    Arc::new(move |url| {
        let upstream = upstream.clone();
        async move {
            let document = upstream.document(url, KEY_SET_BYTES_MAX, KEY_SET_WAIT).await;
            document.map_err(|error| jwks::FetchError::Failed(Box::new(error)))
        }
        .boxed()
    })
}

/// How memberships are looked up.
fn lookup(upstream: Upstream) -> membership::Lookup {
    Arc::new(move |tenant_id, operator_id| {
        let upstream = upstream.clone();
        async move {
            let found = upstream::tenant::membership(&upstream, &tenant_id, &operator_id).await;
            let found = found.map_err(|error| membership::LookupError(Arc::new(error)))?;
            Ok(found.map(|member| membership::Membership {
                roles: member.roles,
                property_ids: member.property_ids,
                active: member.active,
            }))
        }
        .boxed()
    })
}

/// Who vouches for sessions: iam, and the feed of its revocations.
pub fn standing(upstream: Upstream, feed: Feed) -> Standing {
    let validate: Validate = Arc::new(move |tenant_id, sid| {
        let upstream = upstream.clone();
        async move {
            let active = upstream::iam::is_active(&upstream, &tenant_id, &sid).await;
            active.map_err(|error| ValidateError(Arc::new(error)))
        }
        .boxed()
    });
    Standing::new(validate, Arc::new(move || feed.lag()))
}
