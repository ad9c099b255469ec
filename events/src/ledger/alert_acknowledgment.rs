//! Ledger `alert-ack`, stream `ali:<alertId>`: an operator has seen an alert, and
//! notification-service was told.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};
use crate::{AlertId, OperatorId, PropertyId};

/// What happened to the acknowledgment of one alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum AlertAcknowledgmentEvent {
    /// An operator acknowledged the alert. It stands, whether or not notification-service can be
    /// reached.
    ///
    /// Source: `POST /alerts/{id}/acknowledge`.
    #[serde(rename = "melmastoon.bff.backoffice.alert.acknowledged.v1", rename_all = "camelCase")]
    Acknowledged {
        alert_id: AlertId,
        property_id: PropertyId,
        acknowledged_by: OperatorId,
        acknowledged_at: DateTime<Utc>,
        /// What the operator wrote, at most 1,000 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("x-personal" = true))]
        comment: Option<String>,
    },

    /// notification-service has the acknowledgment, or had one of its own already.
    #[serde(
        rename = "melmastoon.bff.backoffice.acknowledgment.forwarded.v1",
        rename_all = "camelCase"
    )]
    Forwarded {
        alert_id: AlertId,
        property_id: PropertyId,
        forwarded_at: DateTime<Utc>,
        /// The alert had been acknowledged upstream by somebody else; ours stands beside it.
        already_acknowledged: bool,
    },

    /// notification-service refused the acknowledgment for good.
    #[serde(
        rename = "melmastoon.bff.backoffice.acknowledgment.forward_failed.v1",
        rename_all = "camelCase"
    )]
    ForwardFailed {
        alert_id: AlertId,
        property_id: PropertyId,
        failed_at: DateTime<Utc>,
        /// The upstream's HTTP status.
        status: u16,
        /// The upstream's problem code, empty when it gave none.
        code: String,
    },
}

impl LedgerEvent for AlertAcknowledgmentEvent {
    const LEDGER: Ledger = Ledger::AlertAck;

    fn kind(&self) -> &'static str {
        match self {
            Self::Acknowledged { .. } => "melmastoon.bff.backoffice.alert.acknowledged.v1",
            Self::Forwarded { .. } => "melmastoon.bff.backoffice.acknowledgment.forwarded.v1",
            Self::ForwardFailed { .. } => {
                "melmastoon.bff.backoffice.acknowledgment.forward_failed.v1"
            }
        }
    }

    fn personal_fields(&self) -> &'static [&'static str] {
        match self {
            Self::Acknowledged { .. } => &["comment"],
            Self::Forwarded { .. } | Self::ForwardFailed { .. } => &[],
        }
    }
}

domain_event!(AlertAcknowledgmentEvent);
