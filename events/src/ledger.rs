//! The ledgers, and what an event that stands in one can say of itself.

pub mod alert_acknowledgment;
pub mod device_sync;
pub mod lock_action;
pub mod mfa_attestation;
pub mod operator_action;
pub mod operator_activity;
pub mod operator_session;
pub mod screen_view;
pub mod suggestion_decision;
pub mod system;

use std::fmt::Debug;

use chrono::{DateTime, Datelike, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What every kind of ours begins with.
pub const KIND_PREFIX: &str = "melmastoon.bff.backoffice.";

/// A class of evidence with one retention and one topic. Table `event`, column `ledger`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Ledger {
    Session,
    Activity,
    AiDecision,
    LockAudit,
    AlertAck,
    System,
}

/// How long the events of a ledger are kept, in the words of the platform's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetentionClass {
    /// 90 days.
    Operational,
    /// 365 days.
    Audit,
    /// 7 years.
    Regulated,
}

/// What part of a ledger is one log: its positions count from 0 and one tree will cover it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Year,
    Month,
}

impl Ledger {
    pub const ALL: [Self; 6] = [
        Self::Session,
        Self::Activity,
        Self::AiDecision,
        Self::LockAudit,
        Self::AlertAck,
        Self::System,
    ];

    /// The name in tables, ordering keys and topics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Activity => "activity",
            Self::AiDecision => "ai-decision",
            Self::LockAudit => "lock-audit",
            Self::AlertAck => "alert-ack",
            Self::System => "system",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ledger| ledger.name() == name)
    }

    /// The Pub/Sub topic, without project.
    pub fn topic(self) -> String {
        format!("melmastoon.bff.backoffice.{}", self.name())
    }

    pub const fn retention_class(self) -> RetentionClass {
        match self {
            Self::Activity => RetentionClass::Operational,
            Self::AlertAck => RetentionClass::Audit,
            Self::Session | Self::AiDecision | Self::LockAudit | Self::System => {
                RetentionClass::Regulated
            }
        }
    }

    pub const fn period(self) -> Period {
        match self {
            Self::Activity | Self::AlertAck => Period::Month,
            Self::Session | Self::AiDecision | Self::LockAudit | Self::System => Period::Year,
        }
    }
}

impl Period {
    /// The period's name at `at`: `2026` or `2026-11`.
    pub fn name_at(self, at: DateTime<Utc>) -> String {
        match self {
            Self::Year => format!("{:04}", at.year()),
            Self::Month => format!("{:04}-{:02}", at.year(), at.month()),
        }
    }
}

/// An event of one aggregate: what the ledger needs to know of it to store it.
///
/// JSON: `{"kind": "melmastoon.bff.backoffice.….v1", "data": {…}}`. An event is stored as its
/// `data`; `kind` has a column.
pub trait LedgerEvent:
    Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync
{
    const LEDGER: Ledger;

    /// The stable name with its version, which is also the Pub/Sub subject.
    fn kind(&self) -> &'static str;

    /// Members of `data` that hold personal data. They are optional in the type, stored apart as
    /// ciphertext, and never published.
    fn personal_fields(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The version at the end of a kind: 1 for `….v1`. `None` when the kind has none.
pub fn schema_version(kind: &str) -> Option<u32> {
    kind.rsplit_once(".v").and_then(|(_, version)| version.parse().ok())
}

/// Implements what `cqrs-es` asks of an event from what [`LedgerEvent`] says.
macro_rules! domain_event {
    ($event:ty) => {
        impl cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                $crate::LedgerEvent::kind(self).to_owned()
            }

            fn event_version(&self) -> String {
                $crate::ledger::schema_version($crate::LedgerEvent::kind(self))
                    .map_or_else(String::new, |version| version.to_string())
            }
        }
    };
}
pub(crate) use domain_event;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ledger_is_found_by_its_name() {
        for ledger in Ledger::ALL {
            assert_eq!(Ledger::from_name(ledger.name()), Some(ledger));
            assert_eq!(serde_json::to_value(ledger).unwrap(), ledger.name());
        }
    }

    #[test]
    fn short_lived_ledgers_have_monthly_logs() {
        let at = "2026-03-09T00:00:00Z".parse().unwrap();
        assert_eq!(Ledger::AlertAck.period().name_at(at), "2026-03");
        assert_eq!(Ledger::LockAudit.period().name_at(at), "2026");
    }
}
