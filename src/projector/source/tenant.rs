//! Walks the facts of one tenant that a table is folded from.

use events::{Ledger, TenantId};
use projections::Fact;
use serde_json::Value;
use sqlx::PgConnection;

use super::super::decode::{EventRow, inbox_fact, ledger_fact};

const PAGE_MAX: i64 = 1_000;

/// Those of some ledgers, one ledger after the other, and of the inbox, each in its order.
pub(in super::super) struct TenantFacts {
    tenant_id: TenantId,
    ledgers: Vec<Place>,
    subjects: Vec<String>,
    inbox_position: i64,
}

/// How far one ledger has been read.
struct Place {
    ledger: Ledger,
    /// Patterns of the kinds that are read.
    kinds: Vec<String>,
    period: String,
    ledger_index: i64,
}

impl TenantFacts {
    pub(in super::super) fn of(
        tenant_id: &TenantId,
        kinds: &[(Ledger, &[&str])],
        subjects: &[&str],
    ) -> Self {
        let ledgers = kinds.iter().map(|(ledger, prefixes)| Place {
            ledger: *ledger,
            kinds: prefixes.iter().map(|prefix| format!("{prefix}%")).collect(),
            period: String::new(),
            ledger_index: -1,
        });
        Self {
            tenant_id: tenant_id.clone(),
            ledgers: ledgers.collect(),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            inbox_position: 0,
        }
    }

    /// The rows there are to read.
    pub(in super::super) async fn count(&self, db: &mut PgConnection) -> sqlx::Result<u64> {
        let mut rows = sqlx::query_scalar!(
            r#"
            select count(*) as "rows!"
            from inbox_event
            where tenant_id = $1 and subject = any ($2)
            "#,
            self.tenant_id.as_str(),
            &self.subjects,
        )
        .fetch_one(&mut *db)
        .await?;
        for Place { ledger, kinds, .. } in &self.ledgers {
            rows += sqlx::query_scalar!(
                r#"
                select count(*) as "rows!"
                from event
                where tenant_id = $1 and ledger = $2 and kind like any ($3)
                "#,
                self.tenant_id.as_str(),
                ledger.name(),
                kinds,
            )
            .fetch_one(&mut *db)
            .await?;
        }
        Ok(rows.unsigned_abs())
    }

    /// The next facts and the number of rows they were read from; `None` when there are no more for
    /// now.
    pub(in super::super) async fn next_page(
        &mut self,
        db: &mut PgConnection,
    ) -> sqlx::Result<Option<(Vec<Fact>, u64)>> {
        for place in &mut self.ledgers {
            let rows = place.next_page(db, &self.tenant_id).await?;
            if !rows.is_empty() {
                let count = rows.len() as u64;
                return Ok(Some((rows.iter().filter_map(ledger_fact).collect(), count)));
            }
        }
        self.next_inbox_page(db).await
    }

    async fn next_inbox_page(
        &mut self,
        db: &mut PgConnection,
    ) -> sqlx::Result<Option<(Vec<Fact>, u64)>> {
        let rows = sqlx::query!(
            r#"
            select position, subject, occurred_at, payload::text as "payload!"
            from inbox_event
            where tenant_id = $1 and subject = any ($2) and position > $3
            order by position
            limit $4
            "#,
            self.tenant_id.as_str(),
            &self.subjects,
            self.inbox_position,
            PAGE_MAX,
        )
        .fetch_all(db)
        .await?;
        let Some(last) = rows.last() else { return Ok(None) };
        self.inbox_position = last.position;
        let count = rows.len() as u64;
        let facts = rows.into_iter().filter_map(|row| {
            let payload = serde_json::from_str(&row.payload).unwrap_or(Value::Null);
            let tenant_id = self.tenant_id.clone();
            inbox_fact(tenant_id, row.position, row.occurred_at, &row.subject, payload)
        });
        Ok(Some((facts.collect(), count)))
    }
}

impl Place {
    async fn next_page(
        &mut self,
        db: &mut PgConnection,
        tenant_id: &TenantId,
    ) -> sqlx::Result<Vec<EventRow>> {
        let rows = sqlx::query!(
            r#"
            select period, ledger_index, position, kind, body, metadata, occurred_at
            from event
            where tenant_id = $1
              and ledger = $2
              and kind like any ($3)
              and (period, ledger_index) > ($4, $5)
            order by period, ledger_index
            limit $6
            "#,
            tenant_id.as_str(),
            self.ledger.name(),
            &self.kinds,
            self.period,
            self.ledger_index,
            PAGE_MAX,
        )
        .fetch_all(db)
        .await?;
        if let Some(last) = rows.last() {
            self.period.clone_from(&last.period);
            self.ledger_index = last.ledger_index;
        }
        let rows = rows.into_iter().map(|row| EventRow {
            tenant_id: tenant_id.to_string(),
            ledger: self.ledger.name().to_owned(),
            position: row.position,
            kind: row.kind,
            body: row.body,
            metadata: row.metadata,
            occurred_at: row.occurred_at,
        });
        Ok(rows.collect())
    }
}
