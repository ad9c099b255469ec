//! Turns an append into bytes, hashed and encrypted, before it queues for the database.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use events::{EventId, Ledger, OperatorId, StreamId, TenantId, ledger::schema_version};
use ulid::Ulid;

use super::{
    append::{Append, AppendError, NewEvent, StreamWrite},
    idempotency::ClaimWrite,
    leaf::{Halves, Leaf, hex_sha256},
    personal::{Keyring, Place, answer},
    pools::Pools,
};

/// Version of the leaf's layout.
pub(super) const LEAF_VERSION: u32 = 1;

/// An append as bytes, hashed and encrypted: all that takes time before the database is asked.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub tenant_id: TenantId,
    pub writes: Vec<PreparedWrite>,
    /// Those of the first write first.
    pub events: Vec<PreparedEvent>,
    pub claim: Option<ClaimWrite>,
    /// Names a claim that starts and completes at once, so that it can be found again.
    pub claim_owner: Ulid,
    pub size_bytes: usize,
}

#[derive(Clone, Debug)]
pub(super) struct PreparedWrite {
    pub stream: StreamId,
    pub ledger: Ledger,
    pub expected_version: i64,
    pub size: i32,
}

#[derive(Clone, Debug)]
pub(super) struct PreparedEvent {
    /// Index into the writes.
    pub write: usize,
    pub stream_version: i64,
    pub event_id: EventId,
    pub kind: &'static str,
    pub schema_version: i32,
    pub body: Vec<u8>,
    pub personal: Option<Vec<u8>>,
    pub subject: Option<OperatorId>,
    pub metadata: Vec<u8>,
    pub occurred_at: DateTime<Utc>,
    pub leaf: Halves,
}

/// Makes an append ready, in its caller's task: what it costs is not the sequencer's time.
pub(super) async fn prepare(
    append: Append,
    pools: &Pools,
    keyring: &Keyring,
) -> Result<Prepared, AppendError> {
    check(&append)?;
    let Append { tenant_id, writes, mut claim, metadata } = append;
    if let Some(claim) = &mut claim {
        seal_answer(claim, keyring)?;
    }
    let metadata = canonical(&metadata)?;
    let mut prepared = Prepared {
        tenant_id,
        writes: Vec::with_capacity(writes.len()),
        events: Vec::new(),
        size_bytes: claim.as_ref().map_or(0, claim_bytes),
        claim,
        claim_owner: Ulid::generate(),
    };
    for (index, write) in writes.into_iter().enumerate() {
        let StreamWrite { stream, ledger, expected_version, events } = write;
        let size = i32::try_from(events.len())
            .map_err(|_| AppendError::Invalid("more events than a stream can take"))?;
        for (stream_version, event) in (expected_version + 1..).zip(events) {
            let personal = seal(&event, &prepared.tenant_id, &stream, pools, keyring).await?;
            let place = EventPlace {
                tenant_id: &prepared.tenant_id,
                ledger,
                stream: &stream,
                stream_version,
            };
            let event = prepare_event(index, place, event, personal, metadata.clone())?;
            prepared.size_bytes += event.size_bytes();
            prepared.events.push(event);
        }
        prepared.writes.push(PreparedWrite { stream, ledger, expected_version, size });
    }
    Ok(prepared)
}

fn check(append: &Append) -> Result<(), AppendError> {
    let mut streams = HashSet::new();
    if !append.writes.iter().all(|write| streams.insert(&write.stream)) {
        return Err(AppendError::Invalid("two writes to one stream"));
    }
    if append.writes.iter().any(|write| write.expected_version < 0) {
        return Err(AppendError::Invalid("a version below 0"));
    }
    if append.claim.as_ref().is_some_and(|claim| claim.key().tenant_id != append.tenant_id) {
        return Err(AppendError::Invalid("a claim of another tenant"));
    }
    if append
        .writes
        .iter()
        .flat_map(|write| &write.events)
        .any(|event| event.personal.is_some() != event.subject.is_some())
    {
        return Err(AppendError::Invalid("personal fields without a subject, or the reverse"));
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct EventPlace<'a> {
    tenant_id: &'a TenantId,
    ledger: Ledger,
    stream: &'a StreamId,
    stream_version: i64,
}

fn prepare_event(
    write: usize,
    place: EventPlace<'_>,
    event: NewEvent,
    personal: Option<Vec<u8>>,
    metadata: Vec<u8>,
) -> Result<PreparedEvent, AppendError> {
    let NewEvent { event_id, kind, data, subject, occurred_at, .. } = event;
    let body = canonical(&data)?;
    let schema_version =
        schema_version(kind).ok_or(AppendError::Invalid("a kind without a version"))?;
    let leaf = Leaf {
        v: LEAF_VERSION,
        tenant: place.tenant_id.as_str(),
        ledger: place.ledger.name(),
        stream_id: place.stream.as_str(),
        stream_version: place.stream_version,
        event_id: event_id.as_str(),
        kind,
        schema_version,
        body_hash: hex_sha256(&body),
        ciphertext_hash: personal.as_deref().map(hex_sha256),
        metadata_hash: hex_sha256(&metadata),
        recorded_at: String::new(),
    };
    let leaf = leaf.halves().map_err(|_| AppendError::Invalid("an event without a leaf"))?;
    let schema_version = i32::try_from(schema_version)
        .map_err(|_| AppendError::Invalid("a schema version out of range"))?;
    Ok(PreparedEvent {
        write,
        stream_version: place.stream_version,
        event_id,
        kind,
        schema_version,
        body,
        personal,
        subject,
        metadata,
        occurred_at,
        leaf,
    })
}

/// What the claim is completed with is stored sealed.
fn seal_answer(claim: &mut ClaimWrite, keyring: &Keyring) -> Result<(), AppendError> {
    let key = claim.key().clone();
    if let Some(response) = claim.response_mut() {
        response.body = answer::seal(keyring.master_key(), &key, response)?;
    }
    Ok(())
}

async fn seal(
    event: &NewEvent,
    tenant_id: &TenantId,
    stream: &StreamId,
    pools: &Pools,
    keyring: &Keyring,
) -> Result<Option<Vec<u8>>, AppendError> {
    let (Some(personal), Some(subject_id)) = (&event.personal, &event.subject) else {
        return Ok(None);
    };
    let key = keyring.find_or_create(pools, tenant_id, subject_id).await?;
    let place = Place { tenant_id, stream, event_id: &event.event_id, subject_id };
    Ok(Some(key.seal(place, &canonical(personal)?)?))
}

impl PreparedEvent {
    fn size_bytes(&self) -> usize {
        self.body.len()
            + self.personal.as_ref().map_or(0, Vec::len)
            + self.metadata.len()
            + self.leaf.start.len()
            + self.leaf.end.len()
    }
}

fn claim_bytes(claim: &ClaimWrite) -> usize {
    match claim {
        ClaimWrite::Start { .. } | ClaimWrite::GiveUp { .. } => 0,
        ClaimWrite::Complete { response, .. } | ClaimWrite::StartAndComplete { response, .. } => {
            let headers = response.headers.iter().map(|(name, value)| name.len() + value.len());
            response.body.len() + headers.sum::<usize>()
        }
    }
}

/// RFC 8785: stored bytes are hashed bytes.
fn canonical(value: &impl serde::Serialize) -> Result<Vec<u8>, AppendError> {
    serde_json_canonicalizer::to_vec(value)
        .map_err(|_| AppendError::Invalid("a value without canonical JSON"))
}
