//! Tables `relay_parked` and `relay_dead_letter`: keys the broker refuses, waiting in order, and
//! events that were given up.

use chrono::{DateTime, Utc};
use events::{EventId, Ledger, TenantId};
use sqlx::{PgConnection, PgPool};

use super::{
    RelayError,
    pending::{Key, Place},
};

/// A key that waits: the events from `from` on are not published.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parked {
    pub from: Place,
    /// Failed tries of the event at `from`.
    pub attempts: i32,
    pub reason: String,
    pub since: DateTime<Utc>,
    pub next_try: DateTime<Utc>,
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub key: Key,
    pub place: Place,
    pub event_id: EventId,
    pub reason: String,
    pub at: DateTime<Utc>,
}

/// What has to be stored with the cursor.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub parked: Vec<(Key, Parked)>,
    pub unparked: Vec<Key>,
    pub given_up: Vec<GivenUp>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty() && self.unparked.is_empty() && self.given_up.is_empty()
    }
}

/// Every key that waits.
///
/// # Errors
/// When the database fails.
pub(super) async fn load(pool: &PgPool) -> Result<Vec<(Key, Parked)>, RelayError> {
    let rows = sqlx::query!(
        r#"
        select tenant_id, ledger, period, ledger_index, from_position, attempts, reason,
            parked_at, next_try
        from relay_parked
        "#
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let position = row.from_position;
            let key = key_of(&row.tenant_id, &row.ledger, position)?;
            let from = Place { period: row.period, ledger_index: row.ledger_index, position };
            let parked = Parked {
                from,
                attempts: row.attempts,
                reason: row.reason,
                since: row.parked_at,
                next_try: row.next_try,
            };
            Ok((key, parked))
        })
        .collect()
}

/// The keys an operator wants tried now.
///
/// # Errors
/// When the database fails.
pub(super) async fn requested(pool: &PgPool) -> Result<Vec<Key>, RelayError> {
    let rows = sqlx::query!(
        "select tenant_id, ledger, from_position from relay_parked where retry_requested"
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| key_of(&row.tenant_id, &row.ledger, row.from_position)).collect()
}

/// Asks the running relay to try every parked key now; returns how many there are.
///
/// # Errors
/// When the database fails.
pub(super) async fn request_retry(pool: &PgPool) -> Result<u64, RelayError> {
    let asked =
        sqlx::query!("update relay_parked set retry_requested = true").execute(pool).await?;
    Ok(asked.rows_affected())
}

/// Stores the changes in the transaction that moves the cursor.
pub(super) async fn store(db: &mut PgConnection, changes: &Changes) -> Result<(), RelayError> {
    for (key, parked) in &changes.parked {
        upsert(db, key, parked).await?;
    }
    for key in &changes.unparked {
        sqlx::query!(
            "delete from relay_parked where tenant_id = $1 and ledger = $2",
            key.tenant_id.as_str(),
            key.ledger.name(),
        )
        .execute(&mut *db)
        .await?;
    }
    for given_up in &changes.given_up {
        insert_dead_letter(db, given_up).await?;
    }
    Ok(())
}

async fn upsert(db: &mut PgConnection, key: &Key, parked: &Parked) -> Result<(), RelayError> {
    sqlx::query!(
        r#"
        insert into relay_parked
            (tenant_id, ledger, period, ledger_index, from_position, attempts, reason, parked_at,
            next_try)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (tenant_id, ledger) do update
        set period = excluded.period,
            ledger_index = excluded.ledger_index,
            from_position = excluded.from_position,
            attempts = excluded.attempts,
            reason = excluded.reason,
            next_try = excluded.next_try,
            retry_requested = false
        "#,
        key.tenant_id.as_str(),
        key.ledger.name(),
        parked.from.period,
        parked.from.ledger_index,
        parked.from.position,
        parked.attempts,
        parked.reason,
        parked.since,
        parked.next_try,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn insert_dead_letter(db: &mut PgConnection, given_up: &GivenUp) -> Result<(), RelayError> {
    sqlx::query!(
        r#"
        insert into relay_dead_letter
            (tenant_id, event_id, position, ledger, period, ledger_index, topic, reason,
            given_up_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (tenant_id, event_id) do nothing
        "#,
        given_up.key.tenant_id.as_str(),
        given_up.event_id.as_str(),
        given_up.place.position,
        given_up.key.ledger.name(),
        given_up.place.period,
        given_up.place.ledger_index,
        given_up.key.ledger.topic(),
        given_up.reason,
        given_up.at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Which dead letters to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// No `relay.dead_lettered` event says so yet.
    Undeclared,
    /// Not published after all.
    Unpublished,
}

/// Dead letters in the order of their positions, after one position, at most `limit`.
///
/// # Errors
/// When the database fails.
pub(super) async fn dead_letters(
    pool: &PgPool,
    unfinished: Unfinished,
    after: i64,
    limit: i64,
) -> Result<Vec<GivenUp>, RelayError> {
    let rows = sqlx::query!(
        r#"
        select tenant_id, event_id, position, ledger, period, ledger_index, reason, given_up_at
        from relay_dead_letter
        where case when $1 then declared_at is null else redriven_at is null end
            and position > $2
        order by position
        limit $3
        "#,
        unfinished == Unfinished::Undeclared,
        after,
        limit,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let position = row.position;
            Ok(GivenUp {
                key: key_of(&row.tenant_id, &row.ledger, position)?,
                place: Place { period: row.period, ledger_index: row.ledger_index, position },
                event_id: row.event_id.parse().map_err(|_| RelayError::Corrupt { position })?,
                reason: row.reason,
                at: row.given_up_at,
            })
        })
        .collect()
}

/// Notes that a dead letter is declared or published.
///
/// # Errors
/// When the database fails.
pub(super) async fn finish(
    pool: &PgPool,
    finished: Unfinished,
    (tenant_id, event_id): (&TenantId, &EventId),
    at: DateTime<Utc>,
) -> Result<(), RelayError> {
    sqlx::query!(
        r#"
        update relay_dead_letter
        set declared_at = case when $4 then $3 else declared_at end,
            redriven_at = case when $4 then redriven_at else $3 end
        where tenant_id = $1 and event_id = $2
        "#,
        tenant_id.as_str(),
        event_id.as_str(),
        at,
        finished == Unfinished::Undeclared,
    )
    .execute(pool)
    .await?;
    Ok(())
}

fn key_of(tenant_id: &str, ledger: &str, position: i64) -> Result<Key, RelayError> {
    match (tenant_id.parse(), Ledger::from_name(ledger)) {
        (Ok(tenant_id), Some(ledger)) => Ok(Key { tenant_id, ledger }),
        _ => Err(RelayError::Corrupt { position }),
    }
}
