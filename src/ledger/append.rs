//! What is appended, what it is answered with, and why it may be refused.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::{EventId, Ledger, LedgerEvent, Metadata, OperatorId, StreamId, TenantId};
use serde::ser::Error as _;
use serde_json::Value;
use ulid::Ulid;

use super::{idempotency::ClaimWrite, personal::PersonalError};

/// All that one command writes: recorded together or not at all.
#[derive(Clone, Debug)]
pub struct Append {
    /// Of the verified caller, never of the request's text.
    pub tenant_id: TenantId,
    /// At most one a stream. Positions follow this order.
    pub writes: Vec<StreamWrite>,
    pub claim: Option<ClaimWrite>,
    /// Stored with each of the events.
    pub metadata: Metadata,
}

/// Events that go to the end of one stream.
#[derive(Clone, Debug)]
pub struct StreamWrite {
    pub stream: StreamId,
    pub ledger: Ledger,
    /// The stream's version as the command read it: 0 when it does not exist.
    pub expected_version: i64,
    /// None: the version is checked and nothing is written.
    pub events: Vec<NewEvent>,
}

/// An event on its way into the ledger.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub event_id: EventId,
    pub kind: &'static str,
    /// Without the personal fields.
    pub data: Value,
    /// The personal fields, as members of an object.
    pub personal: Option<Value>,
    /// Whose key encrypts the personal fields.
    pub subject: Option<OperatorId>,
    pub occurred_at: DateTime<Utc>,
}

impl NewEvent {
    /// Gives the event an id and splits its personal fields off, which are then stored under the
    /// key of `subject`.
    ///
    /// # Errors
    /// When the event does not serialise, or has personal fields while nobody is named whose they
    /// are.
    pub fn new<E: LedgerEvent>(
        event: &E,
        subject: Option<&OperatorId>,
        occurred_at: DateTime<Utc>,
    ) -> Result<Self, serde_json::Error> {
        let mut data = serde_json::to_value(event)?["data"].take();
        let personal: serde_json::Map<String, Value> = event
            .personal_fields()
            .iter()
            .filter_map(|name| {
                let value = data.as_object_mut()?.remove(*name)?;
                (!value.is_null()).then(|| ((*name).to_owned(), value))
            })
            .collect();
        let personal = (!personal.is_empty()).then_some(Value::Object(personal));
        if personal.is_some() && subject.is_none() {
            return Err(serde_json::Error::custom("personal fields of nobody"));
        }
        Ok(Self {
            event_id: EventId::new(Ulid::generate()),
            kind: event.kind(),
            data,
            subject: subject.filter(|_| personal.is_some()).cloned(),
            personal,
            occurred_at,
        })
    }
}

/// Where an append's events stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The last event's position; 0 when there was none.
    pub position: i64,
    /// In the order of the append.
    pub events: Vec<RecordedRef>,
}

/// Where one event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRef {
    pub event_id: EventId,
    pub position: i64,
    pub ledger_index: i64,
    pub stream_version: i64,
}

/// Why nothing was recorded, or why that is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else extended the stream after it was read. Read it again and decide again.
    #[error("stream {stream} is at version {actual_version}")]
    Conflict { stream: StreamId, actual_version: i64 },
    /// The idempotency key is taken. Look up what became of it.
    #[error("the idempotency key is taken")]
    ClaimRefused,
    /// Another attempt owns the claim, or has completed it. Look up what became of it.
    #[error("the claim belongs to another attempt")]
    Fenced,
    /// The queue, or the tenant's share of it, is full. Come back later.
    #[error("too many appends are waiting")]
    Overloaded,
    /// The append contradicts itself; the same one will never be taken.
    #[error("not an append: {0}")]
    Invalid(&'static str),
    /// The database refuses this append for good; nothing of it was recorded.
    #[error("the database refuses the append")]
    Refused(#[source] Arc<sqlx::Error>),
    /// Nothing was recorded; later it may work.
    #[error("the ledger is not available")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The database did not answer and cannot be asked: it may or may not have been recorded.
    #[error("whether the append was recorded is not known")]
    OutcomeUnknown(#[source] Option<Arc<sqlx::Error>>),
    /// The personal fields could not be encrypted; nothing was recorded.
    #[error("the personal fields cannot be encrypted")]
    Personal(#[source] Arc<PersonalError>),
    /// The service is shutting down; nothing was recorded.
    #[error("the ledger has stopped")]
    Stopped,
}

impl From<PersonalError> for AppendError {
    fn from(error: PersonalError) -> Self {
        match error {
            PersonalError::Database(source) => Self::Unavailable(Arc::new(source)),
            other => Self::Personal(Arc::new(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use events::ledger::alert_acknowledgment::AlertAcknowledgmentEvent;
    use serde_json::json;

    use super::*;

    fn acknowledged(comment: Option<&str>) -> AlertAcknowledgmentEvent {
        AlertAcknowledgmentEvent::Acknowledged {
            alert_id: "a1".parse().unwrap(),
            property_id: "p1".parse().unwrap(),
            acknowledged_by: "usr_1".parse().unwrap(),
            acknowledged_at: DateTime::UNIX_EPOCH,
            comment: comment.map(str::to_owned),
        }
    }

    #[test]
    fn personal_fields_are_split_off_and_belong_to_somebody() {
        let subject = "usr_1".parse().unwrap();
        let event = acknowledged(Some("Guest Amina called"));

        let split = NewEvent::new(&event, Some(&subject), DateTime::UNIX_EPOCH).unwrap();

        assert_eq!(split.personal, Some(json!({"comment": "Guest Amina called"})));
        assert!(!split.data.to_string().contains("Amina"));
        assert_eq!(split.subject, Some(subject));
        assert!(NewEvent::new(&event, None, DateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn an_event_without_personal_fields_needs_no_subject() {
        let subject = "usr_1".parse().unwrap();
        let split =
            NewEvent::new(&acknowledged(None), Some(&subject), DateTime::UNIX_EPOCH).unwrap();
        assert_eq!((split.personal, split.subject), (None, None));
    }
}
