//! Ledger `system`: what the service did to its own records.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};
use crate::EventId;

/// What the service's own workers have to declare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum SystemEvent {
    /// An event could not be published after the last try and was set aside. Source: the relay.
    #[serde(rename = "melmastoon.bff.backoffice.relay.dead_lettered.v1", rename_all = "camelCase")]
    RelayDeadLettered {
        event_id: EventId,
        topic: String,
        /// The event's position in the shard, from 1.
        position: i64,
        reason: String,
        at: DateTime<Utc>,
    },

    /// A view was folded anew from its logs. Source: `backoffice rebuild`.
    #[serde(rename = "melmastoon.bff.backoffice.projection.rebuilt.v1", rename_all = "camelCase")]
    ProjectionRebuilt {
        projection: String,
        /// How many facts were folded.
        facts: u64,
        at: DateTime<Utc>,
    },
}

impl LedgerEvent for SystemEvent {
    const LEDGER: Ledger = Ledger::System;

    fn kind(&self) -> &'static str {
        match self {
            Self::RelayDeadLettered { .. } => "melmastoon.bff.backoffice.relay.dead_lettered.v1",
            Self::ProjectionRebuilt { .. } => "melmastoon.bff.backoffice.projection.rebuilt.v1",
        }
    }
}

domain_event!(SystemEvent);
