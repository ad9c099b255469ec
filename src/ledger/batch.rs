//! One call of `append_batch`: commands in, what became of each out.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::OperatorId;
use sqlx::PgConnection;

use super::{
    SHARD,
    append::{AppendError, Receipt, RecordedRef},
    idempotency::ClaimWrite,
    prepare::Prepared,
};

/// What the database made of each command of a batch, in the batch's order.
pub(super) type Outcomes = Vec<Result<Receipt, AppendError>>;

/// Calls the database once, autocommitted.
///
/// # Errors
/// When the whole batch failed. Whether it was recorded depends on the error.
pub(super) async fn append(
    connection: &mut PgConnection,
    commands: &[&Prepared],
) -> Result<Outcomes, sqlx::Error> {
    let writes = Writes::of(commands);
    let events = Events::of(commands);
    let claims = Claims::of(commands);
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
            outcome as "outcome!",
            command as "command!",
            write,
            actual_version,
            event,
            event_position as position,
            event_index as ledger_index
        from append_batch(
            $1,
            $2, $3, $4, $5, $6, $7,
            $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
            $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32
        )
        "#,
        SHARD,
        &writes.command,
        &writes.tenant as _,
        &writes.ledger as _,
        &writes.stream as _,
        &writes.expected,
        &writes.size,
        &events.write,
        &events.id as _,
        &events.kind as _,
        &events.schema_version,
        &events.body as _,
        &events.personal as _,
        &events.subject as _,
        &events.metadata as _,
        &events.occurred_at,
        &events.leaf_start as _,
        &events.leaf_end as _,
        &claims.command,
        &claims.starts,
        &claims.completes,
        &claims.tenant as _,
        &claims.device as _,
        &claims.key,
        &claims.operator as _,
        &claims.fingerprint as _,
        &claims.owner,
        &claims.attempt,
        &claims.lease_ms,
        &claims.status as _,
        &claims.headers as _,
        &claims.body as _,
    )
    .fetch_all(connection)
    .await?;
    outcomes(commands, rows)
}

/// A row of the function's result.
struct Row {
    outcome: String,
    command: i32,
    write: Option<i32>,
    actual_version: Option<i64>,
    event: Option<i32>,
    position: Option<i64>,
    ledger_index: Option<i64>,
}

fn outcomes(commands: &[&Prepared], rows: Vec<Row>) -> Result<Outcomes, sqlx::Error> {
    let mut refusals: HashMap<i32, AppendError> = HashMap::new();
    let mut placed: HashMap<i32, (i64, i64)> = HashMap::new();
    for row in rows {
        let refusal = match (row.outcome.as_str(), row.event, row.position, row.ledger_index) {
            ("appended", Some(event), Some(position), Some(ledger_index)) => {
                placed.insert(event, (position, ledger_index));
                continue;
            }
            ("claim_refused", ..) => AppendError::ClaimRefused,
            ("fenced", ..) => AppendError::Fenced,
            ("conflict", ..) => conflict(commands, &row)?,
            _ => return Err(unexpected("an outcome nobody knows")),
        };
        refusals.entry(row.command).or_insert(refusal);
    }
    let mut event = 0;
    (1..)
        .zip(commands)
        .map(|(number, command)| {
            let first = event + 1;
            event += i32::try_from(command.events.len()).map_err(|_| unexpected("its size"))?;
            match refusals.remove(&number) {
                Some(refusal) => Ok(Err(refusal)),
                None => receipt(command, first, &placed).map(Ok),
            }
        })
        .collect()
}

fn receipt(
    command: &Prepared,
    first: i32,
    placed: &HashMap<i32, (i64, i64)>,
) -> Result<Receipt, sqlx::Error> {
    let events = (first..)
        .zip(&command.events)
        .map(|(number, event)| {
            let (position, ledger_index) =
                *placed.get(&number).ok_or_else(|| unexpected("an event without its place"))?;
            Ok(RecordedRef {
                event_id: event.event_id.clone(),
                position,
                ledger_index,
                stream_version: event.stream_version,
            })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(Receipt { position: events.last().map_or(0, |last| last.position), events })
}

fn conflict(commands: &[&Prepared], row: &Row) -> Result<AppendError, sqlx::Error> {
    let write = row
        .write
        .and_then(|number| usize::try_from(number).ok()?.checked_sub(1))
        .and_then(|index| commands.iter().flat_map(|command| &command.writes).nth(index))
        .ok_or_else(|| unexpected("a conflict in no stream"))?;
    Ok(AppendError::Conflict {
        stream: write.stream.clone(),
        actual_version: row.actual_version.unwrap_or(0),
    })
}

/// The function did not keep its word. What it did is in doubt, as after a lost connection.
fn unexpected(what: &'static str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("append_batch returned {what}"))
}

/// Ordinals in the database count from 1.
fn ordinal(index: usize) -> i32 {
    i32::try_from(index).expect("a batch has at most some hundred commands") + 1
}

#[derive(Default)]
struct Writes<'a> {
    command: Vec<i32>,
    tenant: Vec<&'a str>,
    ledger: Vec<&'static str>,
    stream: Vec<&'a str>,
    expected: Vec<i64>,
    size: Vec<i32>,
}

impl<'a> Writes<'a> {
    fn of(commands: &[&'a Prepared]) -> Self {
        let mut writes = Self::default();
        for (index, command) in commands.iter().enumerate() {
            for write in &command.writes {
                writes.command.push(ordinal(index));
                writes.tenant.push(command.tenant_id.as_str());
                writes.ledger.push(write.ledger.name());
                writes.stream.push(write.stream.as_str());
                writes.expected.push(write.expected_version);
                writes.size.push(write.size);
            }
        }
        writes
    }
}

#[derive(Default)]
struct Events<'a> {
    write: Vec<i32>,
    id: Vec<&'a str>,
    kind: Vec<&'static str>,
    schema_version: Vec<i32>,
    body: Vec<&'a [u8]>,
    personal: Vec<Option<&'a [u8]>>,
    subject: Vec<Option<&'a str>>,
    metadata: Vec<&'a [u8]>,
    occurred_at: Vec<DateTime<Utc>>,
    leaf_start: Vec<&'a [u8]>,
    leaf_end: Vec<&'a [u8]>,
}

impl<'a> Events<'a> {
    fn of(commands: &[&'a Prepared]) -> Self {
        let mut events = Self::default();
        let mut writes_before = 0;
        for command in commands {
            for event in &command.events {
                events.write.push(ordinal(writes_before + event.write));
                events.id.push(event.event_id.as_str());
                events.kind.push(event.kind);
                events.schema_version.push(event.schema_version);
                events.body.push(&event.body);
                events.personal.push(event.personal.as_deref());
                events.subject.push(event.subject.as_ref().map(OperatorId::as_str));
                events.metadata.push(&event.metadata);
                events.occurred_at.push(event.occurred_at);
                events.leaf_start.push(&event.leaf.start);
                events.leaf_end.push(&event.leaf.end);
            }
            writes_before += command.writes.len();
        }
        events
    }
}

#[derive(Default)]
struct Claims<'a> {
    command: Vec<i32>,
    starts: Vec<bool>,
    completes: Vec<bool>,
    tenant: Vec<&'a str>,
    device: Vec<&'a str>,
    key: Vec<String>,
    operator: Vec<Option<&'a str>>,
    fingerprint: Vec<Option<&'a [u8]>>,
    owner: Vec<String>,
    attempt: Vec<i32>,
    lease_ms: Vec<i64>,
    status: Vec<Option<i32>>,
    headers: Vec<Option<String>>,
    body: Vec<Option<&'a [u8]>>,
}

impl<'a> Claims<'a> {
    fn of(commands: &[&'a Prepared]) -> Self {
        let mut claims = Self::default();
        for (index, command) in commands.iter().enumerate() {
            if let Some(claim) = &command.claim {
                claims.push(ordinal(index), claim, command);
            }
        }
        claims
    }

    fn push(&mut self, command: i32, claim: &'a ClaimWrite, prepared: &'a Prepared) {
        let key = claim.key();
        self.command.push(command);
        self.tenant.push(key.tenant_id.as_str());
        self.device.push(key.device_id.as_str());
        self.key.push(key.key.to_string());
        let (starting, owner, attempt, lease_ms, response) = match claim {
            ClaimWrite::Start { operator_id, fingerprint, owner, lease, .. } => {
                let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
                (Some((operator_id, fingerprint)), *owner, 1, lease_ms, None)
            }
            ClaimWrite::Complete { owner, attempt, response, .. } => {
                (None, *owner, *attempt, 0, Some(response))
            }
            ClaimWrite::GiveUp { owner, attempt, .. } => (None, *owner, *attempt, 0, None),
            ClaimWrite::StartAndComplete { operator_id, fingerprint, response, .. } => {
                let starting = Some((operator_id, fingerprint));
                (starting, prepared.claim_owner, 1, 0, Some(response))
            }
        };
        self.starts.push(starting.is_some());
        self.completes.push(response.is_some());
        self.operator.push(starting.map(|(operator_id, _)| operator_id.as_str()));
        self.fingerprint.push(starting.map(|(_, fingerprint)| &fingerprint[..]));
        self.owner.push(owner.to_string());
        self.attempt.push(attempt);
        self.lease_ms.push(lease_ms);
        self.status.push(response.map(|response| i32::from(response.status)));
        self.headers.push(response.map(|response| {
            serde_json::to_string(&response.headers).expect("pairs of strings are JSON")
        }));
        self.body.push(response.map(|response| &response.body[..]));
    }
}
