//! Everything a request has to show, checked in one order, the cheapest doubt first.
//!
//! Header shape → token → proof → device → this instance's rate → membership → version floor →
//! fences, rates of all instances, replay and session (one script).
//! What is refused before the script leaves the proof unused.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::{DeviceId, TenantId};
use http::{HeaderMap, HeaderName};

use super::{
    super::{
        caller::{AppHeaders, Caller},
        claims::Claims,
        credentials::{self, Credentials},
        dpop::{self, Binding, Expected, NoncePolicy, ProofError, RequestPath, Verified},
        entrant::Entrant,
        nonce::Freshness,
        rate::Standings,
        refusal::{Reason, Refusal},
        replay::{Admitted, Denial},
        session,
        store::StoreError,
        version_floor::{self, VersionBlocked},
    },
    AccessRequest, Admission, BareProof, Inner,
};

const DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");
/// The rate of the refresh route is of a key only: there is no token to name a tenant.
const NO_TENANT: &str = "";

/// What a proof has to fit.
struct Presented<'a> {
    request: &'a AccessRequest<'a>,
    path: &'a RequestPath,
    binding: Binding<'a>,
    /// Whose nonces count; `None` on the refresh route, where no token names a tenant.
    tenant_id: Option<&'a TenantId>,
    now: DateTime<Utc>,
}

/// A good proof, and the epoch of its nonce if nonces are on.
struct Proven {
    proof: Verified,
    epoch: Option<Arc<str>>,
}

impl Inner {
    pub(super) async fn admit(
        &self,
        request: &AccessRequest<'_>,
    ) -> Result<(Admission, Standings), Refusal> {
        let credentials =
            Credentials::read(request.headers, request.query, self.bearer_with_proof)?;
        let path = RequestPath::parse(request.raw_path).ok_or(Reason::Malformed)?;
        let now = self.clock.now();
        let token = self.tokens.verify(credentials.token, now).await.map_err(Reason::from)?;
        let claims = &token.claims;
        let tenant_id = Some(&claims.tenant_id);
        let binding = Binding::Token { ath: &token.ath, jkt: &claims.jkt };
        let presented = Presented { request, path: &path, binding, tenant_id, now };
        let entered = match self.prove(credentials.proof, &presented).await {
            Ok(proven) => self.enter(request, claims, &proven).await,
            Err(reason) => Err(reason),
        };
        match entered {
            Ok(entered) => Ok(entered),
            Err(reason) => Err(self.refusal(reason, tenant_id, Some(&claims.jkt)).await),
        }
    }

    /// The steps after the proof is known to be good.
    async fn enter(
        &self,
        request: &AccessRequest<'_>,
        claims: &Arc<Claims>,
        proven: &Proven,
    ) -> Result<(Admission, Standings), Reason> {
        check_device(request.headers, claims)?;
        let counted = self.rates.count(claims.tenant_id.as_str(), &claims.jkt);
        counted.map_err(Reason::RateLimited)?;
        let app = AppHeaders::read(request.headers)?;
        let membership = self.membership(claims).await?;
        self.check_standing(claims).await?;
        self.check_version(request, claims, &app).await?;
        let jti = &proven.proof.jti;
        let Admitted { session, standings } =
            self.replay.admit(claims, jti, proven.epoch.as_deref()).await.map_err(denied)?;
        let stored = session.as_deref().and_then(session::read);
        let nonce = self.nonce_after(proven, Some(&claims.tenant_id));
        let entrant = Entrant::new(Arc::clone(claims), &membership, &self.policy, nonce);
        let stored = stored.filter(|session| session.is_of(claims));
        let admission = if let Some(session) = stored {
            Admission::Known(entrant.known(&session, app))
        } else {
            let app = app.complete()?;
            self.check_opening(claims).await?;
            Admission::Opening(entrant.opening(app))
        };
        Ok((admission, standings))
    }

    /// Refuses an app under its platform's floor, while its proof is unused. An app that does not
    /// name itself is looked up in its session, only where there is a floor at all.
    async fn check_version(
        &self,
        request: &AccessRequest<'_>,
        claims: &Claims,
        headers: &AppHeaders,
    ) -> Result<(), Reason> {
        let flags = self.flags.current();
        let floors = &flags.version_floor;
        if !floors.is_set() || version_floor::is_exempt(request.method, request.raw_path) {
            return Ok(());
        }
        let (platform, floor) = if let Some((version, platform)) = headers.named() {
            (platform, floors.above(version, platform))
        } else {
            let stored = self.sessions.get(&claims.tenant_id, &claims.device_id).await;
            let stored = stored.map_err(|error| store_failed(&error))?;
            let Some(session) = stored.filter(|session| session.is_of(claims)) else {
                return Ok(());
            };
            let app = headers.clone().or(&session.app);
            (app.platform, floors.above_app(&app))
        };
        let Some(floor) = floor.cloned() else { return Ok(()) };
        let platform_name = platform.as_str();
        metrics::counter!("bff_backoffice_version_blocked_total", "platform" => platform_name)
            .increment(1);
        let update_url = self.update_url.clone();
        Err(Reason::VersionBlocked(Box::new(VersionBlocked { platform, floor, update_url })))
    }

    pub(super) async fn admit_refresh(
        &self,
        request: &AccessRequest<'_>,
    ) -> Result<BareProof, Refusal> {
        let proof = credentials::read_proof(request.headers)?;
        let path = RequestPath::parse(request.raw_path).ok_or(Reason::Malformed)?;
        let now = self.clock.now();
        let presented =
            Presented { request, path: &path, binding: Binding::None, tenant_id: None, now };
        match self.prove_once(proof, &presented).await {
            Ok(proven) => {
                let fresh_nonce = self.nonce_after(&proven, None);
                Ok(BareProof { jkt: proven.proof.jkt, fresh_nonce })
            }
            Err(reason) => {
                let signer = dpop::signer(proof, self.algorithms, &self.keys);
                Err(self.refusal(reason, None, signer.as_deref()).await)
            }
        }
    }

    /// A good proof of somebody without a token, used up now.
    async fn prove_once(&self, proof: &str, presented: &Presented<'_>) -> Result<Proven, Reason> {
        let proven = self.prove(proof, presented).await?;
        let Verified { jkt, jti, .. } = &proven.proof;
        self.rates.count(NO_TENANT, jkt).map_err(Reason::RateLimited)?;
        self.replay.use_once(jkt, jti, proven.epoch.as_deref()).await.map_err(denied)?;
        Ok(proven)
    }

    /// Verifies the proof, its nonce against the epoch this instance knows. Only where that nonce
    /// is all that is wrong, the store is asked whether another epoch has begun.
    async fn prove(&self, proof: &str, presented: &Presented<'_>) -> Result<Proven, Reason> {
        let Some(nonces) = &self.nonces else {
            let verified = self.verify(proof, presented, NoncePolicy::Off)?;
            return Ok(Proven { proof: verified, epoch: None });
        };
        let under = |epoch: Arc<str>| -> Result<Proven, ProofError> {
            let scope = nonce_scope(presented.tenant_id, &epoch);
            let policy = NoncePolicy::Required { nonces, tenant: &scope };
            let verified = self.verify(proof, presented, policy)?;
            Ok(Proven { proof: verified, epoch: Some(epoch) })
        };
        let known = self.replay.known_epoch(presented.tenant_id).unwrap_or_default();
        match under(Arc::clone(&known)) {
            Err(ProofError::Nonce) => {
                let current = self.replay.current_epoch(presented.tenant_id).await;
                let current = current.map_err(|error| store_failed(&error))?;
                if current == known { Err(Reason::NonceRequired) } else { Ok(under(current)?) }
            }
            proven => Ok(proven?),
        }
    }

    fn verify(
        &self,
        proof: &str,
        presented: &Presented<'_>,
        nonces: NoncePolicy<'_>,
    ) -> Result<Verified, ProofError> {
        let expected = Expected {
            method: presented.request.method,
            path: presented.path,
            bases: &self.bases,
            binding: presented.binding,
            nonces,
            algorithms: self.algorithms,
            window: self.window,
            now: presented.now,
        };
        dpop::verify(proof, &expected, &self.keys)
    }

    /// A refusal with the nonce that is due beside it. Who is asked for a nonce and cannot be given
    /// one would only ask again.
    async fn refusal(
        &self,
        reason: Reason,
        tenant_id: Option<&TenantId>,
        jkt: Option<&str>,
    ) -> Refusal {
        let nonce = match jkt {
            Some(jkt) if is_nonce_due(&reason) => self.nonce_of(tenant_id, jkt).await,
            _ => Ok(None),
        };
        let key = jkt.map(prefix);
        match nonce {
            Ok(nonce) => Refusal { nonce, key, ..Refusal::from(reason) },
            Err(error) if matches!(reason, Reason::NonceRequired) => {
                Refusal { key, ..Refusal::from(store_failed(&error)) }
            }
            Err(_) => Refusal { key, ..Refusal::from(reason) },
        }
    }

    /// A nonce of the epoch that is; `None` when nonces are off.
    async fn nonce_of(
        &self,
        tenant_id: Option<&TenantId>,
        jkt: &str,
    ) -> Result<Option<String>, StoreError> {
        let Some(nonces) = &self.nonces else { return Ok(None) };
        let epoch = match self.replay.known_epoch(tenant_id) {
            Some(epoch) => epoch,
            None => self.replay.current_epoch(tenant_id).await?,
        };
        Ok(Some(nonces.issue(&nonce_scope(tenant_id, &epoch), jkt, self.clock.now())))
    }

    /// A nonce for the answer to a good proof whose own is ageing.
    fn nonce_after(&self, proven: &Proven, tenant_id: Option<&TenantId>) -> Option<String> {
        let (nonces, epoch) = (self.nonces.as_ref()?, proven.epoch.as_deref()?);
        (proven.proof.nonce == Some(Freshness::Ageing)).then(|| {
            nonces.issue(&nonce_scope(tenant_id, epoch), &proven.proof.jkt, self.clock.now())
        })
    }

    /// A nonce for the next proof of somebody who was let in by this instance.
    pub(super) fn nonce_for(&self, caller: &Caller) -> Option<String> {
        let tenant_id = Some(&caller.tenant_id);
        let (nonces, epoch) = (self.nonces.as_ref()?, self.replay.known_epoch(tenant_id)?);
        Some(nonces.issue(&nonce_scope(tenant_id, &epoch), &caller.jkt, self.clock.now()))
    }
}

/// What a nonce is good for beside its key: a tenant, until the store loses its memory.
fn nonce_scope(tenant_id: Option<&TenantId>, epoch: &str) -> String {
    format!("{}.{epoch}", tenant_id.map_or("", TenantId::as_str))
}

const fn is_nonce_due(reason: &Reason) -> bool {
    matches!(reason, Reason::NonceRequired | Reason::ProofInvalid(_) | Reason::ProofReplayed)
}

fn denied(denial: Denial) -> Reason {
    match denial {
        Denial::Fenced => Reason::SessionRevoked,
        Denial::Replayed => Reason::ProofReplayed,
        Denial::Limited(limited) => Reason::RateLimited(limited),
        Denial::Forgotten => Reason::NonceRequired,
        Denial::Store(error) => store_failed(&error),
    }
}

/// The device of the request must be the token's; the header alone says nothing.
fn check_device(headers: &HeaderMap, claims: &Claims) -> Result<(), Reason> {
    let device: DeviceId = credentials::only(headers, &DEVICE_ID)
        .and_then(|text| text.parse().ok())
        .ok_or(Reason::HeaderInvalid("X-Device-Id"))?;
    if device == claims.device_id { Ok(()) } else { Err(Reason::KeyMismatch) }
}

/// Enough of a thumbprint to find a device's lines in the log.
fn prefix(jkt: &str) -> String {
    jkt.chars().take(8).collect()
}

fn store_failed(error: &StoreError) -> Reason {
    tracing::warn!(error = error as &dyn std::error::Error, "replay store failed");
    metrics::counter!("bff_backoffice_replay_store_errors_total").increment(1);
    Reason::Unavailable("session tier")
}
