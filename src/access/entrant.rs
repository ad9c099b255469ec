//! Who passed the gate, before and after there is a session to name.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, PropertyId, SessionId, TenantId};

use super::{
    caller::{App, AppHeaders, Caller},
    claims::Claims,
    membership::Membership,
    policy::{Policy, Scopes},
    session::Session,
};

/// A verified token and what the membership leaves of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entrant {
    claims: Arc<Claims>,
    roles: Vec<String>,
    property_ids: Vec<PropertyId>,
    scopes: Scopes,
    fresh_nonce: Option<String>,
}

/// The first request of a session: everything is verified, the session is yet to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSession {
    entrant: Entrant,
    app: App,
}

impl Entrant {
    /// Roles count if token and membership both have them; properties if the membership has them
    /// and the token does not leave them out.
    pub(super) fn new(
        claims: Arc<Claims>,
        membership: &Membership,
        policy: &Policy,
        fresh_nonce: Option<String>,
    ) -> Self {
        let is_held = |role: &&String| membership.roles.contains(role);
        let roles: Vec<String> = claims.roles.iter().filter(is_held).cloned().collect();
        let is_named = |property: &&PropertyId| {
            claims.property_ids.as_ref().is_none_or(|named| named.contains(property))
        };
        let property_ids = membership.property_ids.iter().filter(is_named).cloned().collect();
        let scopes = policy.scopes_of(&roles);
        Self { claims, roles, property_ids, scopes, fresh_nonce }
    }

    /// Open to the operator; empty means none.
    pub(super) fn property_ids(&self) -> &[PropertyId] {
        &self.property_ids
    }

    /// The caller within an open session.
    pub(super) fn known(self, session: &Session, headers: AppHeaders) -> Caller {
        let app = headers.or(&session.app);
        self.caller(session, app)
    }

    pub(super) fn opening(self, app: App) -> PendingSession {
        PendingSession { entrant: self, app }
    }

    fn caller(self, session: &Session, app: App) -> Caller {
        let claims = self.claims;
        Caller {
            tenant_id: claims.tenant_id.clone(),
            operator_id: claims.operator_id.clone(),
            device_id: claims.device_id.clone(),
            sid: claims.sid.clone(),
            jkt: claims.jkt.clone(),
            session_id: session.session_id.clone(),
            roles: self.roles,
            property_ids: self.property_ids,
            locale: claims.locale.clone().or_else(|| session.locale.clone()),
            app,
            token_issued_at: claims.issued_at,
            token_expires_at: claims.expires_at,
            fresh_nonce: self.fresh_nonce,
            scopes: self.scopes,
        }
    }
}

impl PendingSession {
    pub fn tenant_id(&self) -> &TenantId {
        &self.entrant.claims.tenant_id
    }

    pub fn operator_id(&self) -> &OperatorId {
        &self.entrant.claims.operator_id
    }

    pub fn device_id(&self) -> &DeviceId {
        &self.entrant.claims.device_id
    }

    /// iam's session.
    pub fn sid(&self) -> &str {
        &self.entrant.claims.sid
    }

    /// For the `DPoP-Nonce` header of the answer, when one is due.
    pub fn fresh_nonce(&self) -> Option<&str> {
        self.entrant.fresh_nonce.as_deref()
    }

    pub fn claims(&self) -> &Claims {
        &self.entrant.claims
    }

    /// The session to store, once its opening is recorded.
    pub fn session(&self, session_id: SessionId, opened_at: DateTime<Utc>) -> Session {
        let claims = self.claims();
        Session {
            session_id,
            tenant_id: claims.tenant_id.clone(),
            operator_id: claims.operator_id.clone(),
            device_id: claims.device_id.clone(),
            sid: claims.sid.clone(),
            jkt: claims.jkt.clone(),
            roles: self.entrant.roles.clone(),
            property_ids: self.entrant.property_ids.clone(),
            locale: claims.locale.clone(),
            app: self.app.clone(),
            opened_at,
            token_issued_at: claims.issued_at,
            token_expires_at: claims.expires_at,
        }
    }

    /// The caller, in the session this request opened or one it waited for.
    pub fn into_caller(self, session: &Session) -> Caller {
        self.entrant.caller(session, self.app)
    }
}
