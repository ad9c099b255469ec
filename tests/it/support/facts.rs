//! Facts about alerts: made up in memory, or committed to both logs as intake and an append do.

use backoffice::{
    inbox::{envelope::Incoming, store},
    ledger::pools::Pools,
};
use chrono::{DateTime, Utc};
use events::{
    EventId, PropertyId, TenantId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent,
    upstream::UpstreamEvent,
};
use projections::{Fact, FactEvent, Log};
use serde_json::{Value, json};
use sqlx::PgConnection;
use ulid::Ulid;

const RAISED: &str = "melmastoon.notification.alert.raised.v1";

pub fn tenant() -> TenantId {
    format!("tnt_{}", Ulid::generate()).parse().unwrap()
}

pub fn property(name: &str) -> PropertyId {
    name.parse().unwrap()
}

/// notification-service raised an alert.
pub fn raised(tenant_id: &TenantId, position: i64, property: &str, alert: &str) -> Fact {
    let event = UpstreamEvent::read(RAISED, raised_payload(property, alert)).unwrap().unwrap();
    let (tenant_id, event) = (tenant_id.clone(), FactEvent::Upstream(event));
    Fact { tenant_id, log: Log::Inbox, position, occurred_at: at(), event }
}

/// An operator acknowledged an alert.
pub fn acknowledged(tenant_id: &TenantId, position: i64, property: &str, alert: &str) -> Fact {
    let event = AlertAcknowledgmentEvent::Acknowledged {
        alert_id: alert.parse().unwrap(),
        property_id: property.parse().unwrap(),
        acknowledged_by: "usr_1".parse().unwrap(),
        acknowledged_at: at(),
        comment: None,
    };
    let (tenant_id, event) = (tenant_id.clone(), FactEvent::AlertAcknowledgment(event));
    Fact { tenant_id, log: Log::Ledger, position, occurred_at: at(), event }
}

/// Commits raised alerts to the inbox and returns its last position.
pub async fn commit_raised(
    pools: &Pools,
    tenant_id: &TenantId,
    property: &str,
    alerts: &[&str],
) -> i64 {
    let events: Vec<Incoming> = alerts
        .iter()
        .map(|alert| {
            let payload = raised_payload(property, alert);
            Incoming {
                tenant_id: tenant_id.clone(),
                producer: "notification".to_owned(),
                event_id: Ulid::generate().to_string(),
                subject: RAISED.to_owned(),
                property_id: Some(property.parse().unwrap()),
                occurred_at: at(),
                event: UpstreamEvent::read(RAISED, payload.clone()).unwrap().unwrap(),
                payload,
            }
        })
        .collect();
    let mut connection = pools.intake().acquire().await.unwrap();
    store::append(&mut connection, &events, at()).await.unwrap().last_position
}

/// Commits an acknowledgment to the ledger, heads included, and returns its position.
pub async fn commit_acknowledged(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    property: &str,
    alert: &str,
) -> i64 {
    let body = json!({
        "acknowledgedAt": at(), "acknowledgedBy": "usr_1", "alertId": alert, "propertyId": property,
    });
    let position: i64 = sqlx::query_scalar(
        r#"
        with head as (
            update ledger_head set position = position + 1 where shard = 0 returning position
        ),
        log as (
            insert into log_head as l (tenant_id, ledger, period, size)
            values ($1, 'alert-ack', to_char(now() at time zone 'UTC', 'YYYY-MM'), 1)
            on conflict (tenant_id, ledger, period) do update set size = l.size + 1
            returning period, size - 1 as ledger_index
        )
        insert into event
            (tenant_id, ledger, period, ledger_index, shard, position, stream, stream_version, event_id,
            kind, schema_version, body, metadata, occurred_at, recorded_at, leaf_hash)
        select $1, 'alert-ack', log.period, log.ledger_index, 0, head.position, $2, head.position, $3,
            'melmastoon.bff.backoffice.alert.acknowledged.v1', 1, convert_to($4, 'UTF8'),
            convert_to('{"producerInstance":"it","samplingPerMille":1000}', 'UTF8'),
            now(), clock_timestamp(), sha256('leaf')
        from head, log
        returning position
        "#,
    )
    .bind(tenant_id.as_str())
    .bind(format!("ali:{alert}"))
    .bind(EventId::new(Ulid::generate()).as_str())
    .bind(body.to_string())
    .fetch_one(db)
    .await
    .unwrap();
    position
}

fn raised_payload(property: &str, alert: &str) -> Value {
    json!({
        "alertId": alert, "propertyId": property, "severity": "high", "category": "lock",
        "title": "Battery low", "raisedAt": at(),
    })
}

pub fn at() -> DateTime<Utc> {
    "2026-11-21T10:00:00Z".parse().unwrap()
}
