//! Ledgers that run in a test, and appends to put into them.

use std::time::Duration;

use backoffice::ledger::{
    Append, ClaimKey, ClaimWrite, Ledger, NewEvent, Pools, Settings, StoredResponse, StreamWrite,
    personal::MasterKey,
};
use chrono::{DateTime, Utc};
use events::{
    LedgerEvent, Metadata, OperatorId, StreamId, TenantId,
    ledger::alert_acknowledgment::AlertAcknowledgmentEvent,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

/// One instance's ledger and what ends it.
pub struct TestLedger {
    pub ledger: Ledger,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl TestLedger {
    pub fn start(pools: Pools) -> Self {
        Self::start_with(pools, Settings::default())
    }

    pub fn start_with(pools: Pools, settings: Settings) -> Self {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let ledger = Ledger::start(pools, settings, master_key(), &tracker, shutdown.clone());
        Self { ledger, tracker, shutdown }
    }

    /// Stops accepting and returns when everything accepted is answered.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(30), self.tracker.wait())
            .await
            .expect("the sequencer ends");
    }
}

pub fn master_key() -> MasterKey {
    MasterKey::new("test", &[0x5a; 32]).unwrap()
}

pub fn tenant(number: u128) -> TenantId {
    format!("tnt_{}", Ulid(number)).parse().unwrap()
}

pub fn operator(name: &str) -> OperatorId {
    name.parse().unwrap()
}

pub fn at() -> DateTime<Utc> {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

/// What an operator's acknowledgment of an alert puts into the ledger.
pub fn acknowledged(alert: &str, comment: Option<&str>) -> AlertAcknowledgmentEvent {
    AlertAcknowledgmentEvent::Acknowledged {
        alert_id: alert.parse().unwrap(),
        property_id: "prp_1".parse().unwrap(),
        acknowledged_by: operator("usr_1"),
        acknowledged_at: at(),
        comment: comment.map(str::to_owned),
    }
}

pub fn forwarded(alert: &str) -> AlertAcknowledgmentEvent {
    AlertAcknowledgmentEvent::Forwarded {
        alert_id: alert.parse().unwrap(),
        property_id: "prp_1".parse().unwrap(),
        forwarded_at: at(),
        already_acknowledged: false,
    }
}

pub fn stream(alert: &str) -> StreamId {
    StreamId::alert_acknowledgment(&alert.parse().unwrap())
}

/// `events` at the end of one stream, in the name of `usr_1`.
pub fn write<E: LedgerEvent>(
    stream: &StreamId,
    expected_version: i64,
    events: &[E],
) -> StreamWrite {
    let subject = operator("usr_1");
    StreamWrite {
        stream: stream.clone(),
        ledger: E::LEDGER,
        expected_version,
        events: events
            .iter()
            .map(|event| NewEvent::new(event, Some(&subject), at()).unwrap())
            .collect(),
    }
}

pub fn append(tenant_id: &TenantId, writes: Vec<StreamWrite>) -> Append {
    Append { tenant_id: tenant_id.clone(), writes, claim: None, metadata: metadata() }
}

/// The acknowledgment of one alert, as its first event.
pub fn acknowledgment(tenant_id: &TenantId, alert: &str) -> Append {
    append(tenant_id, vec![write(&stream(alert), 0, &[acknowledged(alert, None)])])
}

pub fn metadata() -> Metadata {
    Metadata {
        operator_id: Some(operator("usr_1")),
        producer_instance: "test".to_owned(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    }
}

pub fn claim_key(tenant_id: &TenantId, key: u128) -> ClaimKey {
    ClaimKey { tenant_id: tenant_id.clone(), device_id: "dev_1".parse().unwrap(), key: Ulid(key) }
}

pub fn start_claim(key: &ClaimKey, owner: Ulid, lease: Duration) -> ClaimWrite {
    ClaimWrite::Start {
        key: key.clone(),
        operator_id: operator("usr_1"),
        fingerprint: [7; 32],
        owner,
        lease,
    }
}

pub fn response(body: &str) -> StoredResponse {
    StoredResponse {
        status: 201,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.as_bytes().to_vec(),
    }
}
