//! A recorded event as its message: the envelope around the stored bytes, and the attributes of
//! `CloudEvents`.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use events::{Envelope, schema::schema_uri};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{super::leaf::hex, pending::Pending};
use crate::pubsub::Outbound;

/// The producer in every envelope; the source of every `CloudEvent` begins with it.
const PRODUCER: &str = "bff-backoffice-service";

/// The stored event does not read as one: only a defect can have written it.
#[derive(Debug, thiserror::Error)]
#[error("the stored event does not parse")]
pub(super) struct Malformed;

/// `events::envelope::Message` with the payload left as it is stored, so that a consumer can hash
/// it.
#[derive(Serialize)]
struct Message<'a> {
    envelope: Envelope,
    payload: &'a RawValue,
}

/// Shapes the message of an event, published now.
///
/// # Errors
/// [`Malformed`].
pub(super) fn outbound(
    event: &Pending,
    published_at: DateTime<Utc>,
) -> Result<Outbound, Malformed> {
    let envelope = envelope_of(event, published_at)?;
    let attributes = attributes_of(event, &envelope);
    let payload = serde_json::from_slice(&event.body).map_err(|_| Malformed)?;
    let data = serde_json::to_vec(&Message { envelope, payload }).map_err(|_| Malformed)?;
    Ok(Outbound { ordering_key: event.key.ordering_key(), attributes, data: data.into() })
}

fn envelope_of(event: &Pending, published_at: DateTime<Utc>) -> Result<Envelope, Malformed> {
    let metadata: events::Metadata =
        serde_json::from_slice(&event.metadata).map_err(|_| Malformed)?;
    Ok(Envelope {
        event_id: event.event_id.parse().map_err(|_| Malformed)?,
        subject: event.kind.clone(),
        version: u32::try_from(event.schema_version).map_err(|_| Malformed)?,
        ledger: event.key.ledger,
        position: event.place.position,
        ledger_index: event.place.ledger_index,
        period: event.place.period.clone(),
        stream_id: event.stream.parse().map_err(|_| Malformed)?,
        stream_version: event.stream_version,
        occurred_at: event.occurred_at,
        recorded_at: event.recorded_at,
        published_at,
        producer: PRODUCER.to_owned(),
        tenant_id: event.key.tenant_id.clone(),
        schema_uri: schema_uri(&event.kind),
        retention_class: event.key.ledger.retention_class(),
        sampling_rate: f64::from(metadata.sampling_per_mille) / 1000.0,
        metadata,
        leaf_hash: hex(&event.leaf_hash),
    })
}

/// Binary mode of the Pub/Sub binding of `CloudEvents` 1.0, and what a consumer dedupes and checks
/// order by.
fn attributes_of(event: &Pending, envelope: &Envelope) -> HashMap<String, String> {
    let time = event.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let source = format!("/{PRODUCER}/{}", event.key.ledger.name());
    [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", event.event_id.clone()),
        ("ce-type", event.kind.clone()),
        ("ce-source", source),
        ("ce-time", time),
        ("ce-subject", event.stream.clone()),
        ("ce-dataschema", envelope.schema_uri.clone()),
        ("content-type", "application/json".to_owned()),
        ("tenantId", event.key.tenant_id.to_string()),
        ("eventId", event.event_id.clone()),
        ("position", event.place.position.to_string()),
        ("ledgerIndex", event.place.ledger_index.to_string()),
        ("streamVersion", event.stream_version.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use events::Ledger;

    use super::{
        super::pending::{Key, Place},
        *,
    };

    fn pending() -> Pending {
        let at = "2026-11-21T10:00:00.123456Z".parse().unwrap();
        Pending {
            key: Key {
                tenant_id: "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
                ledger: Ledger::AlertAck,
            },
            place: Place { period: "2026-11".to_owned(), ledger_index: 6, position: 42 },
            stream: "ali:a1".to_owned(),
            stream_version: 1,
            event_id: "evt_01HZX3V7Q8M4N5P6R7S8T9W0XY".to_owned(),
            kind: "melmastoon.bff.backoffice.alert.acknowledged.v1".to_owned(),
            schema_version: 1,
            body: br#"{"alertId":"a1","weight":1.50,"z":{"b":1,"a":2}}"#.to_vec(),
            metadata: br#"{"operatorId":"usr_1","producerInstance":"i1","samplingPerMille":250}"#
                .to_vec(),
            occurred_at: at,
            recorded_at: at,
            leaf_hash: vec![0xab; 32],
        }
    }

    #[test]
    fn the_payload_is_the_stored_body_byte_for_byte() {
        let message = outbound(&pending(), DateTime::UNIX_EPOCH).unwrap();
        let text = String::from_utf8(message.data.to_vec()).unwrap();
        assert!(text.ends_with(r#""payload":{"alertId":"a1","weight":1.50,"z":{"b":1,"a":2}}}"#));
    }

    #[test]
    fn the_message_reads_as_the_published_type() {
        let message = outbound(&pending(), DateTime::UNIX_EPOCH).unwrap();
        let read: events::envelope::Message = serde_json::from_slice(&message.data).unwrap();
        let envelope = read.envelope;
        assert_eq!((envelope.position, envelope.ledger_index), (42, 6));
        assert_eq!(envelope.metadata.operator_id.unwrap().as_str(), "usr_1");
        assert!((envelope.sampling_rate - 0.25).abs() < f64::EPSILON);
        assert_eq!(envelope.leaf_hash, "ab".repeat(32));
        assert_eq!(message.ordering_key, "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY/alert-ack");
        for required in ["ce-id", "ce-type", "ce-source", "ce-specversion"] {
            assert!(message.attributes.contains_key(required), "{required}");
        }
        assert_eq!(message.attributes["position"], "42");
    }

    #[test]
    fn what_is_not_json_is_not_published() {
        let broken = |change: fn(&mut Pending)| {
            let mut event = pending();
            change(&mut event);
            outbound(&event, DateTime::UNIX_EPOCH).is_err()
        };
        assert!(broken(|event| event.body = b"{".to_vec()));
        assert!(broken(|event| event.metadata = b"[]".to_vec()));
        assert!(broken(|event| event.event_id = "e1".to_owned()));
    }
}
