//! Sees one batch through: tries again where that is safe, finds the culprit, and finds out what a
//! lost connection left behind.
//!
//! Trying again is safe after any failure: the versions and claims of a batch let it be recorded
//! once at most. So when nobody knows whether a try was committed, the next one either records the
//! batch or is refused by the first; a command refused then is looked for in the ledger before its
//! caller hears of it.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use sqlx::PgConnection;
use tokio::sync::watch;

use super::{
    append::{AppendError, Receipt, RecordedRef},
    batch::{self, Outcomes},
    connections::Connections,
    idempotency::ClaimWrite,
    sequencer::{Command, Settings},
};

/// What a failed call means for the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Nothing was recorded; another try may succeed.
    Passing,
    /// The connection was lost before the answer: perhaps it was recorded.
    InDoubt,
    /// Nothing was recorded, and never will be while the culprit is in the batch.
    Lasting,
}

/// With what a batch is seen through.
#[derive(Clone, Copy)]
struct Means<'a> {
    connections: &'a Connections,
    settings: &'a Settings,
    head: &'a watch::Sender<i64>,
}

/// Records the batch and answers each of its commands, whatever happens.
pub(super) async fn run(
    connections: &Connections,
    settings: &Settings,
    head: &watch::Sender<i64>,
    batch: Vec<Command>,
) {
    see_through(Means { connections, settings, head }, batch, false).await;
}

/// `in_doubt` says that an earlier try, of this batch or of a larger one with it, may have been
/// committed.
async fn see_through(means: Means<'_>, batch: Vec<Command>, mut in_doubt: bool) {
    match record(means, &batch, &mut in_doubt).await {
        Ok(outcomes) => answer_all(means, batch, outcomes, in_doubt).await,
        Err((Failure::Lasting, error)) if batch.len() == 1 => {
            let outcomes = vec![Err(AppendError::Refused(Arc::new(error)))];
            answer_all(means, batch, outcomes, in_doubt).await;
        }
        Err((Failure::Lasting, error)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                commands = batch.len(),
                "a batch was refused; its commands are tried one by one"
            );
            for command in batch {
                Box::pin(see_through(means, vec![command], in_doubt)).await;
            }
        }
        Err((Failure::Passing | Failure::InDoubt, error)) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                commands = batch.len(),
                "a batch could not be recorded"
            );
            metrics::counter!("bff_backoffice_ledger_append_failed_total")
                .increment(batch.len().try_into().unwrap_or(u64::MAX));
            let error = Arc::new(error);
            for command in batch {
                let error = Arc::clone(&error);
                answer(
                    command,
                    Err(if in_doubt {
                        AppendError::OutcomeUnknown(Some(error))
                    } else {
                        AppendError::Unavailable(error)
                    }),
                );
            }
        }
    }
}

/// Tries until the database has an answer. `in_doubt` tells whether an earlier try may have been
/// committed.
async fn record(
    Means { connections, settings, .. }: Means<'_>,
    batch: &[Command],
    in_doubt: &mut bool,
) -> Result<Outcomes, (Failure, sqlx::Error)> {
    let mut backoff = settings.backoff_max / 16;
    for attempt in 1.. {
        let (failure, error) = match call(connections, settings.call_timeout, batch).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(failed) => failed,
        };
        *in_doubt |= failure == Failure::InDoubt;
        if failure == Failure::Lasting || settings.attempts_max <= attempt {
            return Err((failure, error));
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            attempt,
            ?failure,
            "a batch is tried again"
        );
        metrics::counter!("bff_backoffice_ledger_append_retried_total").increment(1);
        tokio::time::sleep(jittered(backoff)).await;
        backoff = (backoff * 2).min(settings.backoff_max);
    }
    unreachable!("the attempts are counted")
}

fn jittered(backoff: Duration) -> Duration {
    backoff.mul_f64(rand::rng().random_range(0.5..1.0))
}

async fn call(
    connections: &Connections,
    timeout: Duration,
    batch: &[Command],
) -> Result<Outcomes, (Failure, sqlx::Error)> {
    // Whatever keeps us from a connection: nothing was sent over it yet.
    let mut connection = connections.take().await.map_err(|error| (Failure::Passing, error))?;
    let commands: Vec<_> = batch.iter().map(|command| &command.prepared).collect();
    let started = tokio::time::Instant::now();
    let called = tokio::time::timeout(timeout, batch::append(&mut connection, &commands)).await;
    metrics::histogram!("bff_backoffice_ledger_commit_duration_seconds")
        .record(started.elapsed().as_secs_f64());
    let outcomes = called.unwrap_or_else(|_| Err(timed_out("append_batch did not answer in time")));
    match outcomes {
        Ok(outcomes) => {
            connections.keep(connection);
            Ok(outcomes)
        }
        Err(error) => {
            let failure = classify(&error);
            if failure == Failure::InDoubt {
                // Somebody else's answer could still be on it.
                connection.close_on_drop();
            }
            Err((failure, error))
        }
    }
}

fn timed_out(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
}

fn classify(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // Serialization failure, deadlock, lock not to be had, statement timeout.
            Some("40001" | "40P01" | "55P03" | "57014") => Failure::Passing,
            // The server is going away. It may have committed and not have got round to saying so.
            Some("57P01" | "57P02" | "57P03" | "57P05") => Failure::InDoubt,
            Some(code) if code.starts_with("08") => Failure::InDoubt,
            // Out of connections, memory or disk; read-only while another becomes primary.
            Some(code) if code.starts_with("53") || code == "25006" => Failure::Passing,
            _ => Failure::Lasting,
        },
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => Failure::Lasting,
        _ => Failure::InDoubt,
    }
}

async fn answer_all(
    Means { connections, settings, head }: Means<'_>,
    batch: Vec<Command>,
    outcomes: Outcomes,
    in_doubt: bool,
) {
    for (command, mut outcome) in batch.into_iter().zip(outcomes) {
        if in_doubt && let Err(refusal) = outcome {
            let found = find(connections, &command);
            let found = tokio::time::timeout(settings.call_timeout, found).await;
            outcome = match found.unwrap_or_else(|_| Err(timed_out("the ledger was not read"))) {
                Ok(Some(receipt)) => Ok(receipt),
                Ok(None) => Err(refusal),
                Err(error) => Err(AppendError::OutcomeUnknown(Some(Arc::new(error)))),
            };
        }
        if let Ok(receipt) = &outcome {
            head.send_if_modified(|head| {
                let is_further = *head < receipt.position;
                *head = receipt.position.max(*head);
                is_further
            });
        }
        answer(command, outcome);
    }
}

/// A caller that has gone away needs no answer.
fn answer(command: Command, outcome: Result<Receipt, AppendError>) {
    let _gone = command.answer.send(outcome);
}

/// Where the command's events stand, if an earlier try of it was committed after all.
async fn find(
    connections: &Connections,
    command: &Command,
) -> Result<Option<Receipt>, sqlx::Error> {
    let mut connection = connections.take().await?;
    let found = find_over(&mut connection, command).await?;
    connections.keep(connection);
    Ok(found)
}

async fn find_over(
    connection: &mut PgConnection,
    command: &Command,
) -> Result<Option<Receipt>, sqlx::Error> {
    let prepared = &command.prepared;
    if prepared.events.is_empty() {
        let claimed = find_claim(connection, command).await?;
        return Ok(claimed.then(Receipt::default));
    }
    let mut events = Vec::with_capacity(prepared.events.len());
    for event in &prepared.events {
        let write = &prepared.writes[event.write];
        let found = sqlx::query!(
            r#"
            select position, ledger_index
            from event
            where tenant_id = $1 and ledger = $2 and stream = $3 and stream_version = $4
              and event_id = $5
            "#,
            prepared.tenant_id.as_str(),
            write.ledger.name(),
            write.stream.as_str(),
            event.stream_version,
            event.event_id.as_str(),
        )
        .fetch_optional(&mut *connection)
        .await?;
        // All of them are there or none is.
        let Some(found) = found else { return Ok(None) };
        events.push(RecordedRef {
            event_id: event.event_id.clone(),
            position: found.position,
            ledger_index: found.ledger_index,
            stream_version: event.stream_version,
        });
    }
    Ok(Some(Receipt { position: events.last().map_or(0, |last| last.position), events }))
}

async fn find_claim(connection: &mut PgConnection, command: &Command) -> sqlx::Result<bool> {
    let Some(claim) = &command.prepared.claim else { return Ok(false) };
    let (owner, attempt, state) = match claim {
        ClaimWrite::Start { owner, .. } => (*owner, 1, "in_progress"),
        ClaimWrite::Complete { owner, attempt, .. } => (*owner, *attempt, "completed"),
        ClaimWrite::GiveUp { owner, attempt, .. } => (*owner, *attempt, "unknown"),
        ClaimWrite::StartAndComplete { .. } => (command.prepared.claim_owner, 1, "completed"),
    };
    let key = claim.key();
    sqlx::query_scalar!(
        r#"
        select exists (
            select
            from idempotency
            where tenant_id = $1 and device_id = $2 and key = $3
              and owner = $4 and attempt = $5 and state = $6
        ) as "exists!"
        "#,
        key.tenant_id.as_str(),
        key.device_id.as_str(),
        key.key.to_string(),
        owner.to_string(),
        attempt,
        state,
    )
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_is_a_doubt() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(classify(&lost), Failure::InDoubt);
        assert_eq!(classify(&sqlx::Error::WorkerCrashed), Failure::InDoubt);
    }
}
