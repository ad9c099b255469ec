//! The gate: lets a request in, or says why not.

mod checks;
mod granted;

use std::{collections::HashMap, sync::Arc};

use futures::future::join_all;
use http::{HeaderMap, Method};
use redis::aio::ConnectionManager;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use self::granted::{DeviceHeaders, GrantError, Granted, Place};
use super::{
    caller::{App, Caller},
    claims::ClaimRules,
    dpop::{self, KeyCache, PublicBases},
    entrant::PendingSession,
    flags::Flags,
    jwks::{self, Jwks},
    membership::{self, Memberships},
    nonce::{Nonces, ShortSecret},
    policy::Policy,
    rate::{LocalRates, Standings},
    refusal::Refusal,
    replay::ReplayStore,
    session::SessionStore,
    settings::{Settings, SettingsError},
    standing::Standing,
    store::{SessionTier, StoreError},
    token::TokenVerifier,
    version_floor::VersionBlocked,
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
    algorithms: dpop::Algorithms,
    tier: SessionTier,
    /// `None` where nobody but the fences vouches for sessions.
    standing: Option<Standing>,
    window: dpop::Window,
    bearer_with_proof: bool,
    rates: LocalRates,
    flags: Flags,
    update_url: Option<Url>,
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
            tokens: TokenVerifier::new(issuers, rules)
                .with_tenants(settings.issuer_tenants.clone()),
            keys: KeyCache::default(),
            bases: PublicBases::parse(settings.public_bases.iter().map(String::as_str))?,
            nonces: settings.nonces()?,
            memberships: Memberships::new(lookup),
            policy: Policy::shipped(),
            replay: ReplayStore::new(
                tier.clone(),
                settings.replay_ttl,
                settings.session_ttl,
                settings.rates,
            ),
            rates: LocalRates::new(settings.rates),
            flags: Flags::new(tier.clone(), settings.flags_interval),
            update_url: settings.update_url.clone(),
            sessions: SessionStore::new(tier.clone(), settings.session_ttl),
            tier,
            standing: None,
            algorithms: settings.proof_algorithms,
            window: settings.window,
            bearer_with_proof: settings.bearer_with_proof,
            clock,
        })))
    }

    /// Keeps the issuers' keys and the flags fresh until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let keys = join_all(self.0.issuers.iter().map(|jwks| jwks.run(shutdown.clone())));
        tokio::join!(keys, self.0.flags.run(shutdown.clone()));
    }

    /// What is switched at run time.
    pub fn flags(&self) -> &Flags {
        &self.0.flags
    }

    /// Where a desktop finds newer versions of itself.
    pub fn update_url(&self) -> Option<&Url> {
        self.0.update_url.as_ref()
    }

    /// Waits until an app is under its platform's floor, which may be for ever.
    pub async fn version_blocked(&self, app: &App) -> VersionBlocked {
        let mut flags = self.0.flags.watch();
        let under = flags.wait_for(|flags| flags.version_floor.above_app(app).is_some()).await;
        let under = under.expect("the gate keeps the sender");
        let floor = under.version_floor.above_app(app).expect("waited for").clone();
        let update_url = self.0.update_url.clone();
        VersionBlocked { platform: app.platform, floor, update_url }
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

    /// A nonce for the caller's next proof; `None` when nonces are off, or when the caller entered
    /// so long ago that nobody knows by what: the next refusal brings one.
    pub fn nonce_for(&self, caller: &Caller) -> Option<String> {
        self.0.nonce_for(caller)
    }

    /// From now on nonces are signed with `current`; those under `previous` are accepted still.
    ///
    /// # Errors
    /// A secret that is too short; nothing changes then.
    pub fn rotate_nonce_secrets(
        &self,
        current: &SecretString,
        previous: &[SecretString],
    ) -> Result<(), ShortSecret> {
        self.0.nonces.as_ref().map_or(Ok(()), |nonces| nonces.rotate(current, previous))
    }

    /// Lets a request in, once per proof.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn admit(&self, request: &AccessRequest<'_>) -> Result<Admission, Refusal> {
        self.admit_counted(request).await.map(|(admission, _)| admission)
    }

    /// As [`Self::admit`], and where that leaves device and tenant.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn admit_counted(
        &self,
        request: &AccessRequest<'_>,
    ) -> Result<(Admission, Standings), Refusal> {
        self.refusing(self.0.admit(request).await)
    }

    /// Verifies the proof of a request that has no access token: no `ath` may be in it.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn admit_refresh(&self, request: &AccessRequest<'_>) -> Result<BareProof, Refusal> {
        self.refusing(self.0.admit_refresh(request).await)
    }

    /// Reports a refusal and says in it which proofs would do.
    fn refusing<T>(&self, admission: Result<T, Refusal>) -> Result<T, Refusal> {
        admission.map_err(|refusal| {
            refusal.report();
            Refusal { algorithms: self.0.algorithms, ..refusal }
        })
    }
}
