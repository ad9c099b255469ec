//! Folds facts into views that are tables, live and all of them anew.
//!
//! Rows are joined with those that stand, so it does not matter who writes first: a request, a lane
//! or a rebuild.

mod device_sync_status;
mod session_map;

use std::collections::{BTreeMap, BTreeSet};

use events::{Ledger, TenantId};
use projections::{Fact, TableProjection};
use sqlx::{PgConnection, PgPool};

use super::source::{self, tenant::TenantFacts};

/// A projection into a table, with what it is folded from.
pub trait Table: TableProjection + 'static {
    /// Ledgers, each with how the kinds begin that are read of it.
    const KINDS: &'static [(Ledger, &'static [&'static str])];
    /// Those of the inbox.
    const SUBJECTS: &'static [&'static str];

    /// Writes what is known of `rows` into those that stand, in one statement a sort of word.
    fn join(
        db: &mut PgConnection,
        tenant_id: &TenantId,
        rows: &[Self::Row],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Makes room for a rebuild, in its transaction. Where rows hold what the logs do not, they
    /// stay.
    fn clear(
        db: &mut PgConnection,
        tenant_id: &TenantId,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Folds `facts` into the table of one projection.
pub(super) async fn apply<P: Table>(pool: &PgPool, facts: &[Fact]) -> sqlx::Result<()> {
    let mut by_tenant: BTreeMap<&TenantId, BTreeMap<String, P::Row>> = BTreeMap::new();
    for fact in facts {
        if let Some(row_id) = P::row_id(fact) {
            let rows = by_tenant.entry(&fact.tenant_id).or_default();
            let row = P::evolve(rows.remove(&row_id), fact);
            rows.insert(row_id, row);
        }
    }
    if by_tenant.is_empty() {
        return Ok(());
    }
    let mut db = pool.acquire().await?;
    for (tenant_id, rows) in by_tenant {
        let rows: Vec<P::Row> = rows.into_values().collect();
        P::join(&mut db, tenant_id, &rows).await?;
    }
    Ok(())
}

/// Folds every tenant's part of a table anew and puts it in its place in one transaction. `progress`
/// is told `(done, total)` rows of the logs; the total is what there was at the start, so what comes
/// meanwhile can exceed it. Answers the rows done.
///
/// # Errors
/// When the database fails; the tenants before are done, the others untouched.
pub async fn rebuild<P: Table>(
    pool: &PgPool,
    mut progress: impl FnMut(u64, u64) + Send,
) -> sqlx::Result<u64> {
    let mut tenants = BTreeSet::new();
    for (ledger, _) in P::KINDS {
        tenants.extend(source::tenants(pool, *ledger).await?);
    }
    let mut total = 0;
    for tenant_id in &tenants {
        let mut db = pool.acquire().await?;
        total += TenantFacts::of(tenant_id, P::KINDS, P::SUBJECTS).count(&mut db).await?;
    }
    let mut done = 0;
    progress(done, total);
    for tenant_id in &tenants {
        rebuild_tenant::<P>(pool, tenant_id, |rows| {
            done += rows;
            progress(done, total);
        })
        .await?;
    }
    Ok(done)
}

async fn rebuild_tenant<P: Table>(
    pool: &PgPool,
    tenant_id: &TenantId,
    mut progress: impl FnMut(u64) + Send,
) -> sqlx::Result<()> {
    let mut facts = TenantFacts::of(tenant_id, P::KINDS, P::SUBJECTS);
    let mut rows = BTreeMap::new();
    // Most of it before the transaction, so that nobody waits for it.
    let mut db = pool.acquire().await?;
    catch_up::<P>(&mut db, &mut facts, &mut rows, &mut progress).await?;
    drop(db);
    let mut transaction = pool.begin().await?;
    P::clear(&mut transaction, tenant_id).await?;
    catch_up::<P>(&mut transaction, &mut facts, &mut rows, &mut progress).await?;
    let rows: Vec<P::Row> = rows.into_values().collect();
    P::join(&mut transaction, tenant_id, &rows).await?;
    transaction.commit().await
}

async fn catch_up<P: Table>(
    db: &mut PgConnection,
    facts: &mut TenantFacts,
    rows: &mut BTreeMap<String, P::Row>,
    progress: &mut (impl FnMut(u64) + Send),
) -> sqlx::Result<()> {
    while let Some((page, count)) = facts.next_page(db).await? {
        for fact in &page {
            let Some(row_id) = P::row_id(fact) else { continue };
            let row = P::evolve(rows.remove(&row_id), fact);
            if !P::is_over(&row) {
                rows.insert(row_id, row);
            }
        }
        progress(count);
    }
    Ok(())
}
