//! What the projector reads: pages of both logs, of everybody, of one property or of one tenant.

pub(super) mod tenant;

use events::{Ledger, PropertyId, TenantId};
use projections::{Fact, Log};
use serde_json::Value;
use sqlx::PgPool;

use super::{
    ProjectorError,
    decode::{EventRow, inbox_fact, ledger_fact},
};
use crate::{inbox, ledger::SHARD};

/// A stretch of a log without a gap.
pub(super) struct Page {
    /// Those that this version can read; the others mean nothing to it.
    pub(super) facts: Vec<Fact>,
    /// The last position of the stretch; the one asked for when it is empty.
    pub(super) last: i64,
    pub(super) rows: usize,
}

/// The next stretch of `log` after position `after`, of all tenants.
pub(super) async fn page(
    pool: &PgPool,
    log: Log,
    after: i64,
    limit: u32,
) -> Result<Page, ProjectorError> {
    match log {
        Log::Ledger => ledger_page(pool, after, limit).await,
        Log::Inbox => inbox_page(pool, after, limit).await,
    }
}

async fn ledger_page(pool: &PgPool, after: i64, limit: u32) -> Result<Page, ProjectorError> {
    let rows = sqlx::query_as!(
        EventRow,
        r#"
        select tenant_id, ledger, position, kind, body, metadata, occurred_at
        from event
        where shard = $1 and position > $2
        order by position
        limit $3
        "#,
        SHARD,
        after,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await?;
    for (expected, row) in (after + 1..).zip(&rows) {
        if row.position != expected {
            return Err(ProjectorError::Gap { expected, found: row.position });
        }
    }
    let (last, count) = (rows.last().map_or(after, |row| row.position), rows.len());
    Ok(Page { facts: rows.iter().filter_map(ledger_fact).collect(), last, rows: count })
}

async fn inbox_page(pool: &PgPool, after: i64, limit: u32) -> Result<Page, ProjectorError> {
    let rows = inbox::read::tail(pool, after, limit).await?;
    let (last, count) = (rows.last().map_or(after, |row| row.position), rows.len());
    let facts = rows
        .into_iter()
        .filter_map(|row| {
            inbox_fact(row.tenant_id, row.position, row.occurred_at, &row.subject, row.payload)
        })
        .collect();
    Ok(Page { facts, last, rows: count })
}

/// Walks the facts of one property: those of one ledger and those of the inbox, each in the order
/// of its positions.
pub(super) struct PropertyFacts {
    tenant_id: TenantId,
    property_id: PropertyId,
    ledger: Ledger,
    /// The place in the tenant's ledger up to which it has been searched, log by log.
    period: String,
    ledger_index: i64,
    inbox_position: i64,
}

impl PropertyFacts {
    pub(super) fn of(tenant_id: &TenantId, property_id: &PropertyId, ledger: Ledger) -> Self {
        Self {
            tenant_id: tenant_id.clone(),
            property_id: property_id.clone(),
            ledger,
            period: String::new(),
            ledger_index: -1,
            inbox_position: 0,
        }
    }

    /// The next facts of `log` and the number of rows they were read from; no rows when there are
    /// no more for now.
    pub(super) async fn next_page(
        &mut self,
        pool: &PgPool,
        log: Log,
        limit: u32,
    ) -> sqlx::Result<(Vec<Fact>, usize)> {
        match log {
            Log::Ledger => self.next_ledger_page(pool, limit).await,
            Log::Inbox => self.next_inbox_page(pool, limit).await,
        }
    }

    /// By key, not by position: a tenant's log is contiguous there, and its period and index grow
    /// with the position.
    async fn next_ledger_page(
        &mut self,
        pool: &PgPool,
        limit: u32,
    ) -> sqlx::Result<(Vec<Fact>, usize)> {
        let rows = sqlx::query!(
            r#"
            select period, ledger_index, position, kind, body, metadata, occurred_at
            from event
            where tenant_id = $1
              and ledger = $2
              and (period, ledger_index) > ($3, $4)
              and convert_from(body, 'UTF8')::jsonb ->> 'propertyId' = $5
            order by period, ledger_index
            limit $6
            "#,
            self.tenant_id.as_str(),
            self.ledger.name(),
            self.period,
            self.ledger_index,
            self.property_id.as_str(),
            i64::from(limit),
        )
        .fetch_all(pool)
        .await?;
        if let Some(last) = rows.last() {
            self.period.clone_from(&last.period);
            self.ledger_index = last.ledger_index;
        }
        let count = rows.len();
        let facts = rows
            .into_iter()
            .filter_map(|row| {
                ledger_fact(&EventRow {
                    tenant_id: self.tenant_id.to_string(),
                    ledger: self.ledger.name().to_owned(),
                    position: row.position,
                    kind: row.kind,
                    body: row.body,
                    metadata: row.metadata,
                    occurred_at: row.occurred_at,
                })
            })
            .collect();
        Ok((facts, count))
    }

    async fn next_inbox_page(
        &mut self,
        pool: &PgPool,
        limit: u32,
    ) -> sqlx::Result<(Vec<Fact>, usize)> {
        let rows = sqlx::query!(
            r#"
            select position, subject, occurred_at, payload::text as "payload!"
            from inbox_event
            where tenant_id = $1 and property_id = $2 and position > $3
            order by position
            limit $4
            "#,
            self.tenant_id.as_str(),
            self.property_id.as_str(),
            self.inbox_position,
            i64::from(limit),
        )
        .fetch_all(pool)
        .await?;
        if let Some(last) = rows.last() {
            self.inbox_position = last.position;
        }
        let count = rows.len();
        let facts = rows
            .into_iter()
            .filter_map(|row| {
                let payload = serde_json::from_str(&row.payload).unwrap_or(Value::Null);
                let tenant_id = self.tenant_id.clone();
                inbox_fact(tenant_id, row.position, row.occurred_at, &row.subject, payload)
            })
            .collect();
        Ok((facts, count))
    }
}

/// The tenants that have events in `ledger` or in the inbox.
pub(super) async fn tenants(pool: &PgPool, ledger: Ledger) -> sqlx::Result<Vec<TenantId>> {
    // Each tenant is found by one step down the primary key, however many rows it has.
    let ids = sqlx::query_scalar!(
        r#"
        with recursive
        in_ledger as (
            (select min(tenant_id) as tenant_id from event where ledger = $1)
            union all
            select (
                select min(e.tenant_id) from event e
                where e.ledger = $1 and e.tenant_id > t.tenant_id
            )
            from in_ledger t
            where t.tenant_id is not null
        ),
        in_inbox as (
            (select min(tenant_id) as tenant_id from inbox_event)
            union all
            select (select min(e.tenant_id) from inbox_event e where e.tenant_id > t.tenant_id)
            from in_inbox t
            where t.tenant_id is not null
        )
        select tenant_id as "tenant_id!" from in_ledger where tenant_id is not null
        union
        select tenant_id from in_inbox where tenant_id is not null
        order by 1
        "#,
        ledger.name(),
    )
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().filter_map(|id| id.parse().ok()).collect())
}

/// The properties of a tenant in both logs, each with its number of rows.
pub(super) async fn properties(
    pool: &PgPool,
    tenant_id: &TenantId,
    ledger: Ledger,
) -> sqlx::Result<Vec<(PropertyId, u64)>> {
    let rows = sqlx::query!(
        r#"
        select property_id as "property_id!", sum(facts)::bigint as "facts!"
        from (
            select
                convert_from(body, 'UTF8')::jsonb ->> 'propertyId' as property_id,
                count(*) as facts
            from event
            where tenant_id = $1 and ledger = $2
            group by 1
            union all
            select property_id, count(*)
            from inbox_event
            where tenant_id = $1
            group by 1
        ) counted
        where property_id is not null
        group by 1
        order by 1
        "#,
        tenant_id.as_str(),
        ledger.name(),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.property_id.parse().ok()?, u64::try_from(row.facts).ok()?)))
        .collect())
}
