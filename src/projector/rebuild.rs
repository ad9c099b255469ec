//! Builds views from the logs: on the first read after one went missing, or all of them at an
//! operator's command.

mod builder;

use std::collections::BTreeMap;

use events::{PropertyId, TenantId};
use projections::Log;

pub use self::builder::Builder;
use super::{
    Feed, Stores,
    source::{self, PropertyFacts},
};
use crate::views::{Building, SwapOutcome, View, ViewError, view::Checkpoints};

/// Rows read in one go.
const PAGE_MAX: u32 = 1_000;
/// How often a build starts over after losing its place to an eviction.
const ATTEMPTS_MAX: u32 = 3;
/// How often a build may find that the live lane is further.
const ROUNDS_MAX: u32 = 100;

/// A view is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the logs cannot be read")]
    Database(#[from] sqlx::Error),
    #[error("the view cannot be read or written")]
    View(#[from] ViewError),
    /// It is still being built, here or by another instance, or its build lost its place again and
    /// again.
    #[error("the view is not built yet")]
    NotYet,
}

/// What a build came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Built {
    /// Readers see the view; it was folded from so many rows.
    Done { rows: u64 },
    /// Another builder is at it.
    Elsewhere,
}

/// Builds one view and puts it in the place of the standing one, if any. `progress` is told of
/// every page's rows.
///
/// # Errors
/// See [`BuildError`]; the standing view, if any, is untouched.
pub async fn view<P: Feed>(
    stores: &Stores,
    tenant_id: &TenantId,
    property_id: &PropertyId,
    mut progress: impl FnMut(u64) + Send,
) -> Result<Built, BuildError> {
    let mut connection = stores.cache.shared();
    for _ in 0..ATTEMPTS_MAX {
        let target = View::<P>::of(&stores.cache, tenant_id, property_id);
        let building =
            Building::try_start(&mut connection, target).await.map_err(ViewError::from)?;
        let Some(mut building) = building else { return Ok(Built::Elsewhere) };
        // The right to build is taken before the logs are read: from here on the lane leaves word
        // of what it passes.
        let mut fold = Fold::<P>::of(tenant_id, property_id);
        match fill::<P>(stores, &mut building, &mut fold, &mut progress).await {
            Ok(true) => {
                metrics::counter!("bff_backoffice_views_built_total").increment(1);
                return Ok(Built::Done { rows: fold.rows });
            }
            // The right may be ours still: the next attempt, or somebody else's, takes it anew.
            Ok(false) => building.abandon(&mut connection).await.map_err(ViewError::from)?,
            Err(error) => {
                // Others need not wait for the right to lapse. If Redis is what failed, it lapses
                // by itself.
                let _ = building.abandon(&mut connection).await;
                return Err(error);
            }
        }
    }
    Err(BuildError::NotYet)
}

/// Builds every view of a projection, also of tenants nobody has asked for. `progress` is told
/// `(done, total)` rows; the total is what there was at the start, so what comes meanwhile can
/// exceed it.
///
/// # Errors
/// See [`BuildError`]; views built so far stay.
pub async fn all<P: Feed>(
    stores: &Stores,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<u64, BuildError> {
    let pool = stores.pools.project();
    let mut targets = Vec::new();
    for tenant_id in source::tenants(pool, P::LEDGER).await? {
        for (property_id, rows) in source::properties(pool, &tenant_id, P::LEDGER).await? {
            targets.push((tenant_id.clone(), property_id, rows));
        }
    }
    let total = targets.iter().map(|(_, _, rows)| rows).sum();
    let mut done = 0;
    progress(done, total);
    for (tenant_id, property_id, rows) in targets {
        let built = view::<P>(stores, &tenant_id, &property_id, |rows| {
            done += rows;
            progress(done, total);
        })
        .await?;
        if built == Built::Elsewhere {
            // A reader on some instance is building the very same.
            done += rows;
            progress(done, total);
        }
    }
    Ok(done)
}

/// Folds and writes until the build is no longer behind; `false` when it lost its place.
async fn fill<P: Feed>(
    stores: &Stores,
    building: &mut Building<P>,
    fold: &mut Fold<P>,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<bool, BuildError> {
    let mut connection = stores.cache.shared();
    for _ in 0..ROUNDS_MAX {
        let changed = fold.catch_up(stores, Some(building), &mut *progress).await?;
        let is_ours = building.keep(&mut connection).await.map_err(ViewError::from)?;
        if !is_ours || !building.fill(&mut connection, &changed).await? {
            return Ok(false);
        }
        let swapped = building.swap(&mut connection, fold.checkpoints).await;
        match swapped.map_err(ViewError::from)? {
            SwapOutcome::Swapped => return Ok(true),
            SwapOutcome::Behind => (),
            SwapOutcome::Lost => return Ok(false),
        }
    }
    Err(BuildError::NotYet)
}

/// A view in memory.
struct Fold<P: Feed> {
    facts: PropertyFacts,
    property_id: PropertyId,
    items: BTreeMap<String, P::Item>,
    checkpoints: Checkpoints,
    rows: u64,
}

impl<P: Feed> Fold<P> {
    fn of(tenant_id: &TenantId, property_id: &PropertyId) -> Self {
        Self {
            facts: PropertyFacts::of(tenant_id, property_id, P::LEDGER),
            property_id: property_id.clone(),
            items: BTreeMap::new(),
            checkpoints: Checkpoints::default(),
            rows: 0,
        }
    }

    /// Folds what both logs have beyond what was folded before, and returns the items that changed.
    /// The right to build is kept meanwhile; a build that has lost it finds out when it writes.
    async fn catch_up(
        &mut self,
        stores: &Stores,
        building: Option<&Building<P>>,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<BTreeMap<String, P::Item>, BuildError> {
        let mut changed = BTreeMap::new();
        for log in Log::ALL {
            loop {
                let pool = stores.pools.project();
                let (facts, rows) = self.facts.next_page(pool, log, PAGE_MAX).await?;
                if rows == 0 {
                    break;
                }
                for fact in &facts {
                    let Some(route) = P::route(fact) else { continue };
                    if route.property_id != self.property_id {
                        continue;
                    }
                    let item = P::evolve(self.items.remove(&route.item_id), fact);
                    changed.insert(route.item_id.clone(), item.clone());
                    self.items.insert(route.item_id, item);
                    self.checkpoints.advance(log, fact.position);
                }
                let rows = u64::try_from(rows).unwrap_or(u64::MAX);
                self.rows = self.rows.saturating_add(rows);
                progress(rows);
                if let Some(building) = building {
                    building.keep(&mut stores.cache.shared()).await.map_err(ViewError::from)?;
                }
            }
        }
        Ok(changed)
    }
}
