//! The gate: lets a request in, or says why not.

mod checks;
mod granted;

use std::{collections::HashMap, sync::Arc};

use futures::future::join_all;
use http::{HeaderMap, Method};
use redis::aio::ConnectionManager;
use tokio_util::sync::CancellationToken;

pub use self::granted::{DeviceHeaders, GrantError, Granted, Place};
use super::{
    caller::Caller,
    claims::ClaimRules,
    dpop::{self, KeyCache, PublicBases},
    entrant::PendingSession,
    jwks::{self, Jwks},
    membership::{self, Memberships},
    nonce::Nonces,
    policy::Policy,
    refusal::Refusal,
    replay::ReplayStore,
    session::SessionStore,
    settings::{Settings, SettingsError},
    standing::Standing,
    store::{SessionTier, StoreError},
    token::TokenVerifier,
};
use crate::clock::SharedClock;

/// What the gate looks at.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    pub method: &'a Method,
    /// As received, percent-encoding untouched, with or without the edge's `/api`.
    pub raw_path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
}

/// A request that may enter.
#[derive(Clone, Debug)]
pub enum Admission {
    /// Its session is open.
    Known(Caller),
    /// It is the first of its session, which `commands::open_session` opens now.
    Opening(PendingSession),
}

/// A good proof without a token (the refresh route).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BareProof {
    /// Thumbprint the refresh token must be bound to.
    pub jkt: String,
    pub fresh_nonce: Option<String>,
}

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    issuers: Vec<Arc<Jwks>>,
    tokens: TokenVerifier,
    keys: KeyCache,
    bases: PublicBases,
    nonces: Option<Nonces>,
    memberships: Memberships,
    policy: Policy,
    replay: ReplayStore,
    sessions: SessionStore,
    tier: SessionTier,
    /// `None` where nobody but the fences vouches for sessions.
    standing: Option<Standing>,
    window: dpop::Window,
    bearer_with_proof: bool,
    clock: SharedClock,
}

impl Gate {
    /// `connection` is to the session tier; it may be down for now.
    ///
    /// # Errors
    /// A setting out of its bounds.
    pub fn new(
        settings: &Settings,
        fetch: &jwks::Fetch,
        lookup: membership::Lookup,
        connection: ConnectionManager,
        clock: SharedClock,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let issuers: HashMap<_, _> = settings
            .issuers
            .iter()
            .map(|issuer| {
                let (url, algorithms) = (issuer.jwks_url.clone(), issuer.algorithms.clone());
                (issuer.iss.clone(), Arc::new(Jwks::new(url, algorithms, Arc::clone(fetch))))
            })
            .collect();
        let rules = ClaimRules {
            audience: settings.audience.clone(),
            leeway: settings.leeway,
            lifetime_max: settings.token_lifetime_max,
        };
        let tier = SessionTier::new(connection, settings.store_timeout);
        Ok(Self(Arc::new(Inner {
            issuers: issuers.values().cloned().collect(),
            tokens: TokenVerifier::new(issuers, rules),
            keys: KeyCache::default(),
            bases: PublicBases::parse(settings.public_bases.iter().map(String::as_str))?,
            nonces: settings.nonces()?,
            memberships: Memberships::new(lookup),
            policy: Policy::shipped(),
            replay: ReplayStore::new(tier.clone(), settings.replay_ttl, settings.session_ttl),
            sessions: SessionStore::new(tier.clone(), settings.session_ttl),
            tier,
            standing: None,
            window: settings.window,
            bearer_with_proof: settings.bearer_with_proof,
            clock,
        })))
    }

    /// Keeps the issuers' keys fresh until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        join_all(self.0.issuers.iter().map(|jwks| jwks.run(shutdown.clone()))).await;
    }

    /// Whether tokens of every issuer can be judged.
    pub fn is_ready(&self) -> bool {
        self.0.tokens.is_ready()
    }

    /// Where the sessions are, for the command that opens and closes them.
    pub fn sessions(&self) -> &SessionStore {
        &self.0.sessions
    }

    /// Forgets a cached membership after a change at tenant-service or iam.
    pub fn memberships(&self) -> &Memberships {
        &self.0.memberships
    }

    /// Whether what the caller was let in with still stands: nobody was fenced meanwhile.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn stands(&self, caller: &Caller) -> Result<bool, StoreError> {
        self.0.replay.stands(caller).await
    }

    /// A nonce for the caller's next proof; `None` when nonces are off.
    pub fn nonce_for(&self, caller: &Caller) -> Option<String> {
        let nonces = self.0.nonces.as_ref()?;
        Some(nonces.issue(caller.tenant_id.as_str(), &caller.jkt, self.0.clock.now()))
    }

    /// Lets a request in, once per proof.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn admit(&self, request: &AccessRequest<'_>) -> Result<Admission, Refusal> {
        let admission = self.0.admit(request).await;
        if let Err(refusal) = &admission {
            refusal.report();
        }
        admission
    }

    /// Verifies the proof of a request that has no access token: no `ath` may be in it.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn admit_refresh(&self, request: &AccessRequest<'_>) -> Result<BareProof, Refusal> {
        let admission = self.0.admit_refresh(request).await;
        if let Err(refusal) = &admission {
            refusal.report();
        }
        admission
    }
}
