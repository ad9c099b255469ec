//! Rows of both logs, brought to the vocabulary of today.

use chrono::{DateTime, Utc};
use events::{
    Ledger, Metadata, TenantId,
    ledger::{
        alert_acknowledgment::AlertAcknowledgmentEvent, device_sync, mfa_attestation,
        operator_session::OperatorSessionEvent, suggestion_decision::SuggestionDecisionEvent,
        system::SystemEvent,
    },
    upcast::upcast,
    upstream::UpstreamEvent,
};
use projections::{Fact, FactEvent, Log};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A row of `event`, as far as folds need it.
pub(super) struct EventRow {
    pub(super) tenant_id: String,
    pub(super) ledger: String,
    pub(super) position: i64,
    pub(super) kind: String,
    pub(super) body: Vec<u8>,
    pub(super) metadata: Vec<u8>,
    pub(super) occurred_at: DateTime<Utc>,
}

/// The fact in a row of the ledger; `None` when no view is made from it or this version cannot read
/// it.
pub(super) fn ledger_fact(row: &EventRow) -> Option<Fact> {
    let event = match ledger_event(row) {
        Ok(event) => event?,
        Err(error) => return unreadable(Log::Ledger, row.position, &row.kind, &error),
    };
    Some(Fact {
        tenant_id: row.tenant_id.parse().ok()?,
        log: Log::Ledger,
        position: row.position,
        occurred_at: row.occurred_at,
        event,
    })
}

fn ledger_event(row: &EventRow) -> anyhow::Result<Option<FactEvent>> {
    let (kind, data) = upcast(&row.kind, serde_json::from_slice(&row.body)?)?;
    Ok(match Ledger::from_name(&row.ledger) {
        Some(Ledger::AlertAck) => {
            Some(FactEvent::AlertAcknowledgment(tagged::<AlertAcknowledgmentEvent>(kind, &data)?))
        }
        // Step-ups share the ledger of sessions, and no view is made from them.
        Some(Ledger::Session) if kind.starts_with(mfa_attestation::KIND_PREFIX) => None,
        Some(Ledger::Session) => {
            Some(FactEvent::OperatorSession(tagged::<OperatorSessionEvent>(kind, &data)?))
        }
        Some(Ledger::AiDecision) => {
            Some(FactEvent::SuggestionDecision(tagged::<SuggestionDecisionEvent>(kind, &data)?))
        }
        Some(Ledger::System) => Some(FactEvent::System(tagged::<SystemEvent>(kind, &data)?)),
        Some(Ledger::Activity)
            if device_sync::KIND_PREFIXES.iter().any(|prefix| kind.starts_with(prefix)) =>
        {
            let Metadata { operator_id, app_platform, .. } = serde_json::from_slice(&row.metadata)?;
            Some(FactEvent::DeviceSync { event: tagged(kind, &data)?, operator_id, app_platform })
        }
        Some(Ledger::Activity | Ledger::LockAudit) | None => None,
    })
}

fn tagged<E: DeserializeOwned>(kind: &str, data: &Value) -> serde_json::Result<E> {
    serde_json::from_value(json!({ "kind": kind, "data": data }))
}

/// The fact in a row of the inbox; `None` when no view is made from it or this version cannot read
/// it.
pub(super) fn inbox_fact(
    tenant_id: TenantId,
    position: i64,
    occurred_at: DateTime<Utc>,
    subject: &str,
    payload: Value,
) -> Option<Fact> {
    match UpstreamEvent::read(subject, payload) {
        Ok(event) => Some(Fact {
            tenant_id,
            log: Log::Inbox,
            position,
            occurred_at,
            event: FactEvent::Upstream(event?),
        }),
        Err(error) => unreadable(Log::Inbox, position, subject, &error.into()),
    }
}

/// A newer version may write what this one cannot read, while both run. Its own revision of the
/// view reads it, so nothing waits here.
fn unreadable(log: Log, position: i64, kind: &str, error: &anyhow::Error) -> Option<Fact> {
    metrics::counter!("bff_backoffice_projector_unreadable_total", "log" => log.name())
        .increment(1);
    tracing::error!(
        log = log.name(),
        position,
        kind,
        error = format!("{error:#}"),
        "a fact cannot be read and is left out of the views"
    );
    None
}
