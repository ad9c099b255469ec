//! Letting a device in by the token it was just granted, in exchange for its refresh token: like
//! any token, but without a proof of its own.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, PropertyId, TenantId};
use http::{HeaderMap, HeaderName};

use super::{
    super::{
        caller::{AppHeaders, Caller},
        claims::Claims,
        credentials,
        entrant::{Entrant, PendingSession},
        fence,
        membership::Membership,
        refusal::{Reason, Refusal},
        session::Session,
        standing::{self, Standing},
        store::StoreError,
        token::TokenError,
    },
    Gate, Inner,
};

const DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");

/// What a device says of itself beside its refresh token.
#[derive(Clone, Debug)]
pub struct DeviceHeaders {
    pub device_id: DeviceId,
    app: AppHeaders,
}

/// A device that holds a good token, and whose it is.
#[derive(Clone, Debug)]
pub struct Granted {
    pub tenant_id: TenantId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// Open to the operator; empty means none.
    pub property_ids: Vec<PropertyId>,
    pub expires_at: DateTime<Utc>,
    pub place: Place,
}

/// Where a device stands with its new token.
#[derive(Clone, Debug)]
pub enum Place {
    /// In its open session.
    Known(Box<Caller>, Box<Session>),
    /// With no session yet, which `commands::open_session` opens.
    Opening(Box<PendingSession>),
    /// With no session, and too little said to open one: its next request does.
    Unopened,
}

/// Why a granted token lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// iam gave out what no service of the platform would take.
    #[error("the granted token is not valid")]
    Invalid(#[source] TokenError),
    /// The token is not for the key or the device that asked.
    #[error("the granted token is bound to another key or device")]
    OtherHolder,
    #[error(transparent)]
    Refused(#[from] Reason),
}

impl DeviceHeaders {
    /// Reads `X-Device-Id`, which must be there, and what is said of the app, which may be.
    ///
    /// # Errors
    /// `HeaderInvalid` naming the first that is not of its form.
    pub fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let device_id = credentials::only(headers, &DEVICE_ID)
            .and_then(|text| text.parse().ok())
            .ok_or(Reason::HeaderInvalid("X-Device-Id"))?;
        Ok(Self { device_id, app: AppHeaders::read(headers)? })
    }
}

impl Gate {
    /// Asks `standing` too, before anybody is let in: to be said before the gate is shared.
    #[must_use]
    pub fn vouched_by(mut self, standing: Standing) -> Self {
        let inner = Arc::get_mut(&mut self.0).expect("a gate is set up before it is shared");
        inner.standing = Some(standing);
        self
    }

    /// Notes that revocations are fenced from `now` on; to be said again and again.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn note_fencing(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        standing::note_fencing(&self.0.tier, now).await
    }

    /// Lets a device in by a token that was granted for the key `jkt`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn admit_granted(
        &self,
        access_token: &str,
        jkt: &str,
        device: &DeviceHeaders,
    ) -> Result<Granted, GrantError> {
        self.0.admit_granted(access_token, jkt, device).await
    }

    /// Whether the roles and properties a caller was let in with are still its own. No answer from
    /// tenant-service takes nothing away.
    pub async fn keeps_rights(&self, caller: &Caller) -> bool {
        let member = self.0.memberships.of(&caller.tenant_id, &caller.operator_id).await;
        match member {
            Ok(Some(member)) => {
                caller.roles.iter().all(|role| member.roles.contains(role))
                    && caller.property_ids.iter().all(|id| member.property_ids.contains(id))
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }
}

impl Inner {
    async fn admit_granted(
        &self,
        access_token: &str,
        jkt: &str,
        device: &DeviceHeaders,
    ) -> Result<Granted, GrantError> {
        let now = self.clock.now();
        let token = self.tokens.verify(access_token, now).await.map_err(|error| match error {
            TokenError::KeysUnavailable => Reason::Unavailable("token issuer").into(),
            error => GrantError::Invalid(error),
        })?;
        let claims = &token.claims;
        if claims.jkt != jkt || claims.device_id != device.device_id {
            return Err(GrantError::OtherHolder);
        }
        let membership = self.membership(claims).await?;
        let session = self.sessions.get(&claims.tenant_id, &claims.device_id).await;
        let session = session.map_err(|_| Reason::Unavailable("session tier"))?;
        let entrant = Entrant::new(Arc::clone(claims), &membership, &self.policy, None);
        let property_ids = entrant.property_ids().to_vec();
        let place = if let Some(session) = session.filter(|session| session.is_of(claims)) {
            let caller = entrant.known(&session, device.app.clone());
            Place::Known(Box::new(caller), Box::new(session))
        } else {
            // The session may be gone because it was revoked while the grant was on its way.
            self.check_fences(claims).await?;
            match device.app.clone().complete() {
                Ok(app) => Place::Opening(Box::new(entrant.opening(app))),
                Err(_incomplete) => Place::Unopened,
            }
        };
        Ok(Granted {
            tenant_id: claims.tenant_id.clone(),
            operator_id: claims.operator_id.clone(),
            device_id: claims.device_id.clone(),
            property_ids,
            expires_at: claims.expires_at,
            place,
        })
    }

    /// The membership a token is worth something with. Who is no member any more hears of the
    /// revocation that ended it, if there was one.
    pub(super) async fn membership(&self, claims: &Claims) -> Result<Arc<Membership>, Reason> {
        let member = self
            .memberships
            .of(&claims.tenant_id, &claims.operator_id)
            .await
            .map_err(|_| Reason::Unavailable("tenant-service"))?;
        if let Some(member) = member {
            return Ok(member);
        }
        self.check_fences(claims).await?;
        Err(Reason::ScopeDenied)
    }

    /// Whether nobody revoked what the token stands for.
    async fn check_fences(&self, claims: &Claims) -> Result<(), Reason> {
        match fence::stands(&self.tier, claims.into()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::SessionRevoked),
            Err(_) => Err(Reason::Unavailable("session tier")),
        }
    }

    /// Whether somebody vouches for the session of a request.
    pub(super) async fn check_standing(&self, claims: &Claims) -> Result<(), Reason> {
        match &self.standing {
            Some(standing) => standing.check(claims).await,
            None => Ok(()),
        }
    }

    /// Whether somebody vouches for a session that is to be opened.
    pub(super) async fn check_opening(&self, claims: &Claims) -> Result<(), Reason> {
        match &self.standing {
            Some(standing) => standing.check_opening(claims, &self.tier).await,
            None => Ok(()),
        }
    }
}
