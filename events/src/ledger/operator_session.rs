//! Ledger `session`, stream `bos_…`: the life of one operator's session on one device.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};
use crate::{DeviceId, OperatorId, PropertyId, SessionId};

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum OperatorSessionEvent {
    /// The first authenticated request of an operator on a device.
    #[serde(rename = "melmastoon.bff.backoffice.session.opened.v1", rename_all = "camelCase")]
    Opened {
        session_id: SessionId,
        operator_id: OperatorId,
        device_id: DeviceId,
        /// iam's session, the token's `sid`; absent in events from before it was recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iam_session_id: Option<String>,
        property_ids: Vec<PropertyId>,
        roles: Vec<String>,
        opened_at: DateTime<Utc>,
    },

    /// iam gave the device a new access token.
    #[serde(rename = "melmastoon.bff.backoffice.session.refreshed.v1", rename_all = "camelCase")]
    Refreshed {
        session_id: SessionId,
        /// When the new token ends.
        token_expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },

    /// Its access token ended and no other was asked for.
    #[serde(rename = "melmastoon.bff.backoffice.session.idled.v1", rename_all = "camelCase")]
    Idled { session_id: SessionId, at: DateTime<Utc> },

    /// It ended without anybody being shut out.
    #[serde(rename = "melmastoon.bff.backoffice.session.closed.v1", rename_all = "camelCase")]
    Closed { session_id: SessionId, reason: ClosingReason, at: DateTime<Utc> },

    /// A revocation at iam, or a device or operator being locked, ended it.
    #[serde(
        rename = "melmastoon.bff.backoffice.session.force_logged_out.v1",
        rename_all = "camelCase"
    )]
    ForceLoggedOut {
        session_id: SessionId,
        /// `user`, `admin`, `refresh_replay` or `suspend`, as iam says it; `user_locked`,
        /// `device_revoked`, `membership_ended` or `tenant_suspended` for those events.
        reason: String,
        at: DateTime<Utc>,
    },
}

/// Why a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClosingReason {
    /// The operator signed out.
    SignedOut,
    /// The device has another session now.
    Replaced,
    /// Nothing was asked in it for twelve hours.
    Expired,
}

impl OperatorSessionEvent {
    pub fn session_id(&self) -> &SessionId {
        match self {
            Self::Opened { session_id, .. }
            | Self::Refreshed { session_id, .. }
            | Self::Idled { session_id, .. }
            | Self::Closed { session_id, .. }
            | Self::ForceLoggedOut { session_id, .. } => session_id,
        }
    }
}

impl LedgerEvent for OperatorSessionEvent {
    const LEDGER: Ledger = Ledger::Session;

    fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "melmastoon.bff.backoffice.session.opened.v1",
            Self::Refreshed { .. } => "melmastoon.bff.backoffice.session.refreshed.v1",
            Self::Idled { .. } => "melmastoon.bff.backoffice.session.idled.v1",
            Self::Closed { .. } => "melmastoon.bff.backoffice.session.closed.v1",
            Self::ForceLoggedOut { .. } => "melmastoon.bff.backoffice.session.force_logged_out.v1",
        }
    }
}

domain_event!(OperatorSessionEvent);
