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
        property_ids: Vec<PropertyId>,
        roles: Vec<String>,
        opened_at: DateTime<Utc>,
    },

    /// A revocation at iam, or a device or operator being locked, ended it.
    #[serde(
        rename = "melmastoon.bff.backoffice.session.force_logged_out.v1",
        rename_all = "camelCase"
    )]
    ForceLoggedOut {
        session_id: SessionId,
        /// `user`, `admin`, `refresh_replay` or `suspend`, as iam says it.
        reason: String,
        at: DateTime<Utc>,
    },
}

impl LedgerEvent for OperatorSessionEvent {
    const LEDGER: Ledger = Ledger::Session;

    fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "melmastoon.bff.backoffice.session.opened.v1",
            Self::ForceLoggedOut { .. } => "melmastoon.bff.backoffice.session.force_logged_out.v1",
        }
    }
}

domain_event!(OperatorSessionEvent);
