//! A fact: an event of the ledger or of the inbox, with its place, as folds see it.

use chrono::{DateTime, Utc};
use events::{
    OperatorId, TenantId,
    ledger::{
        alert_acknowledgment::AlertAcknowledgmentEvent, device_sync::DeviceSyncEvent,
        operator_session::OperatorSessionEvent, suggestion_decision::SuggestionDecisionEvent,
        system::SystemEvent,
    },
    upstream::UpstreamEvent,
};

/// The two sequences of facts, each gapless and in commit order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Log {
    /// What operators did through this service.
    Ledger,
    /// What upstream services said.
    Inbox,
}

impl Log {
    pub const ALL: [Self; 2] = [Self::Ledger, Self::Inbox];

    /// The name in checkpoints and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Inbox => "inbox",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub tenant_id: TenantId,
    pub log: Log,
    /// From 1, gapless in its log.
    pub position: i64,
    pub occurred_at: DateTime<Utc>,
    pub event: FactEvent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FactEvent {
    AlertAcknowledgment(AlertAcknowledgmentEvent),
    /// Of a device's stream, with what its envelope says of who used it.
    DeviceSync {
        event: DeviceSyncEvent,
        operator_id: Option<OperatorId>,
        /// `win32`, `darwin` or `linux`.
        app_platform: Option<String>,
    },
    OperatorSession(OperatorSessionEvent),
    SuggestionDecision(SuggestionDecisionEvent),
    System(SystemEvent),
    Upstream(UpstreamEvent),
}
