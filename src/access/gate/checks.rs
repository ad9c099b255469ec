//! Everything a request has to show, checked in one order, the cheapest doubt first.
//!
//! Header shape → token → proof → device → membership → fences, replay and session (one script).
//! What is refused before the script leaves the proof unused.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::DeviceId;
use http::{HeaderMap, HeaderName};

use super::{
    super::{
        caller::AppHeaders,
        claims::Claims,
        credentials::{self, Credentials},
        dpop::{self, Binding, Expected, NoncePolicy, RequestPath, Verified},
        entrant::Entrant,
        nonce::Freshness,
        refusal::{Reason, Refusal},
        replay::Admitted,
        session,
        store::StoreError,
    },
    AccessRequest, Admission, BareProof, Inner,
};

const DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");
/// Nonces of the refresh route are bound to a key only: there is no token to name a tenant.
const NO_TENANT: &str = "";

impl Inner {
    pub(super) async fn admit(&self, request: &AccessRequest<'_>) -> Result<Admission, Refusal> {
        let credentials =
            Credentials::read(request.headers, request.query, self.bearer_with_proof)?;
        let path = RequestPath::parse(request.raw_path).ok_or(Reason::Malformed)?;
        let now = self.clock.now();
        let token = self.tokens.verify(credentials.token, now).await.map_err(Reason::from)?;
        let claims = &token.claims;
        let tenant = claims.tenant_id.as_str();
        let binding = Binding::Token { ath: &token.ath, jkt: &claims.jkt };
        let expected = self.expected(request, &path, binding, (tenant, now));
        let entered = match dpop::verify(credentials.proof, &expected, &self.keys) {
            Ok(verified) => self.enter(request, claims, &verified).await,
            Err(error) => Err(error.into()),
        };
        entered.map_err(|reason| {
            let nonce = self.nonce_beside(&reason, tenant, &claims.jkt);
            Refusal { reason, nonce, key: Some(prefix(&claims.jkt)) }
        })
    }

    /// The steps after the proof is known to be good.
    async fn enter(
        &self,
        request: &AccessRequest<'_>,
        claims: &Arc<Claims>,
        verified: &Verified,
    ) -> Result<Admission, Reason> {
        check_device(request.headers, claims)?;
        let app = AppHeaders::read(request.headers)?;
        let membership = self.membership(claims).await?;
        self.check_standing(claims).await?;
        let stored = match self.replay.admit(claims, &verified.jti).await {
            Ok(Admitted::Yes { session }) => session.as_deref().and_then(session::read),
            Ok(Admitted::Fenced) => return Err(Reason::SessionRevoked),
            Ok(Admitted::Replayed) => return Err(Reason::ProofReplayed),
            Err(error) => return Err(store_failed(&error)),
        };
        let nonce = self.nonce_after(verified, claims.tenant_id.as_str());
        let entrant = Entrant::new(Arc::clone(claims), &membership, &self.policy, nonce);
        match stored.filter(|session| session.is_of(claims)) {
            Some(session) => Ok(Admission::Known(entrant.known(&session, app))),
            None => {
                let app = app.complete()?;
                self.check_opening(claims).await?;
                Ok(Admission::Opening(entrant.opening(app)))
            }
        }
    }

    pub(super) async fn admit_refresh(
        &self,
        request: &AccessRequest<'_>,
    ) -> Result<BareProof, Refusal> {
        let proof = credentials::read_proof(request.headers)?;
        let path = RequestPath::parse(request.raw_path).ok_or(Reason::Malformed)?;
        let now = self.clock.now();
        let expected = self.expected(request, &path, Binding::None, (NO_TENANT, now));
        let verified = dpop::verify(proof, &expected, &self.keys).map_err(|error| {
            let signer = dpop::signer(proof, &self.keys);
            let reason = Reason::from(error);
            let nonce =
                signer.as_deref().and_then(|jkt| self.nonce_beside(&reason, NO_TENANT, jkt));
            Refusal { reason, nonce, key: signer.as_deref().map(prefix) }
        })?;
        match self.replay.use_once(&verified.jkt, &verified.jti).await {
            Ok(true) => {
                let fresh_nonce = self.nonce_after(&verified, NO_TENANT);
                Ok(BareProof { jkt: verified.jkt, fresh_nonce })
            }
            Ok(false) => Err(Reason::ProofReplayed.into()),
            Err(error) => Err(store_failed(&error).into()),
        }
    }

    fn expected<'a>(
        &'a self,
        request: &AccessRequest<'a>,
        path: &'a RequestPath,
        binding: Binding<'a>,
        (tenant, now): (&'a str, DateTime<Utc>),
    ) -> Expected<'a> {
        Expected {
            method: request.method,
            path,
            bases: &self.bases,
            binding,
            nonces: match &self.nonces {
                Some(nonces) => NoncePolicy::Required { nonces, tenant },
                None => NoncePolicy::Off,
            },
            window: self.window,
            now,
        }
    }

    /// A nonce for the answer to a refused proof.
    fn nonce_beside(&self, reason: &Reason, tenant: &str, jkt: &str) -> Option<String> {
        let is_due = matches!(
            reason,
            Reason::NonceRequired | Reason::ProofInvalid(_) | Reason::ProofReplayed
        );
        let nonces = self.nonces.as_ref().filter(|_| is_due)?;
        Some(nonces.issue(tenant, jkt, self.clock.now()))
    }

    /// A nonce for the answer to a good proof whose own is ageing.
    fn nonce_after(&self, verified: &Verified, tenant: &str) -> Option<String> {
        let nonces = self.nonces.as_ref()?;
        (verified.nonce == Some(Freshness::Ageing))
            .then(|| nonces.issue(tenant, &verified.jkt, self.clock.now()))
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
