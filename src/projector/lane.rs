//! The lane of one log: facts in order into views, then into live streams, then the cursor on.

use std::{collections::HashMap, time::Duration};

use events::{PropertyId, TenantId};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use projections::{
    AlertInbox, DeviceSyncStatus, Fact, Log, Projection, SessionMap, SuggestionInbox,
};
use redis::aio::MultiplexedConnection;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    ProjectorError, Settings, Stores,
    cursor::{self, Lease},
    source, table,
};
use crate::{
    live::streams,
    views::{Applied, View, wait_for_replica},
};

/// Views written at one time. They share a connection, so this only saves round trips.
const VIEWS_AT_ONCE: usize = 16;
/// A step may take so many times its lease: by then another instance has it, and a store that has
/// not answered will not.
const STEP_LEASES_MAX: u32 = 2;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// Another instance has the lease.
    Standby,
    /// There was nothing to fold.
    Idle,
    /// So many positions were folded; there may be more.
    Folded(usize),
}

/// Folds one log while it holds the lease.
pub struct Lane {
    stores: Stores,
    settings: Settings,
    log: Log,
    held: Option<Held>,
}

/// What a leading lane has. Dropped at the first failure: the next step begins from the cursor, on
/// new connections.
struct Held {
    lease: Lease,
    renewed_at: Instant,
    /// Of the lane's own: `WAIT` speaks for the writes of one connection, and a server that starts
    /// again breaks it.
    cache: MultiplexedConnection,
    session: MultiplexedConnection,
}

/// Steps until shutdown.
pub(super) async fn run(
    mut lane: Lane,
    mut wake: watch::Receiver<i64>,
    shutdown: &CancellationToken,
) -> Result<(), ProjectorError> {
    let step_max = lane.settings.lease * STEP_LEASES_MAX;
    let page_max = usize::try_from(lane.settings.page_max).unwrap_or(usize::MAX);
    while !shutdown.is_cancelled() {
        wake.mark_unchanged();
        let step = timeout(step_max, lane.advance()).await;
        let pause = match step.map_err(|_| ProjectorError::Timeout)?? {
            Advance::Folded(rows) => {
                if rows < page_max {
                    tokio::time::sleep(lane.settings.rest).await;
                }
                continue;
            }
            Advance::Idle => lane.settings.poll,
            Advance::Standby => lane.settings.lease / 5,
        };
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = tokio::time::sleep(pause) => (),
            // Without a sender there is nothing to be woken by; polling goes on.
            Ok(()) = wake.changed() => (),
        }
    }
    timeout(step_max, lane.release()).await.map_err(|_| ProjectorError::Timeout)?
}

impl Lane {
    pub fn new(stores: &Stores, settings: &Settings, log: Log) -> Self {
        Self { stores: stores.clone(), settings: settings.clone(), log, held: None }
    }

    /// Takes the lease if it is free, then folds at most one page.
    ///
    /// # Errors
    /// See [`ProjectorError`]; the cursor stays before the page, and the next step tries it again.
    pub async fn advance(&mut self) -> Result<Advance, ProjectorError> {
        let held = match self.held.take() {
            Some(held) => Some(held),
            None => self.claim().await?,
        };
        let Some(mut held) = held else { return Ok(Advance::Standby) };
        let pool = self.stores.pools.project();
        let page =
            source::page(pool, self.log, held.lease.position, self.settings.page_max).await?;
        if page.rows == 0 && held.renewed_at.elapsed() < self.settings.lease / 3 {
            self.held = Some(held);
            return Ok(Advance::Idle);
        }
        self.fold(&mut held, &page.facts).await?;
        held.lease.position = page.last;
        held.renewed_at = Instant::now();
        if !cursor::advance(pool, self.log, held.lease, self.settings.lease).await? {
            // Whoever took over folds the same page from the same cursor, which changes nothing.
            tracing::warn!(log = self.log.name(), "the projector's lease was taken over");
            return Ok(Advance::Standby);
        }
        self.held = Some(held);
        if page.rows == 0 {
            return Ok(Advance::Idle);
        }
        metrics::counter!("bff_backoffice_projector_facts_total", "log" => self.log.name())
            .increment(u64::try_from(page.rows).unwrap_or(u64::MAX));
        Ok(Advance::Folded(page.rows))
    }

    /// Gives the lease back; the next step takes it again if it can.
    ///
    /// # Errors
    /// When the database fails; the lease then runs out by itself.
    pub async fn release(&mut self) -> Result<(), ProjectorError> {
        if let Some(held) = self.held.take() {
            cursor::release(self.stores.pools.project(), self.log, held.lease).await?;
        }
        Ok(())
    }

    async fn claim(&self) -> Result<Option<Held>, ProjectorError> {
        let Settings { instance, lease, replica_wait, .. } = &self.settings;
        // Connected before the claim: who cannot reach Redis leaves the lease to somebody who can.
        let cache = self.stores.cache.blocking(*replica_wait).await?;
        let session = self.stores.session.blocking(*replica_wait).await?;
        let pool = self.stores.pools.project();
        let lease = cursor::claim(pool, self.log, instance, *lease).await?;
        Ok(lease.map(|lease| Held { lease, renewed_at: Instant::now(), cache, session }))
    }

    async fn fold(&self, held: &mut Held, facts: &[Fact]) -> Result<(), ProjectorError> {
        let pool = self.stores.pools.project();
        table::apply::<DeviceSyncStatus>(pool, facts).await?;
        table::apply::<SessionMap>(pool, facts).await?;
        let wait: Duration = self.settings.replica_wait;
        let alerts = self.apply::<AlertInbox>(&held.cache, facts).await?;
        let suggestions = self.apply::<SuggestionInbox>(&held.cache, facts).await?;
        if alerts || suggestions {
            wait_for_replica(&mut held.cache, wait).await?;
        }
        let recovery_epoch = self.stores.session.recovery_epoch();
        let retention = &self.settings.retention;
        if 0 < streams::publish(&mut held.session, facts, recovery_epoch, retention).await? {
            wait_for_replica(&mut held.session, wait).await?;
        }
        Ok(())
    }

    /// Folds `facts` into the views of one projection; whether any view took some.
    async fn apply<P: Projection>(
        &self,
        connection: &MultiplexedConnection,
        facts: &[Fact],
    ) -> Result<bool, ProjectorError> {
        let mut by_view: HashMap<(&TenantId, PropertyId), Vec<&Fact>> = HashMap::new();
        for fact in facts {
            if let Some(route) = P::route(fact) {
                by_view.entry((&fact.tenant_id, route.property_id)).or_default().push(fact);
            }
        }
        let mut writes = Vec::with_capacity(by_view.len());
        for ((tenant_id, property_id), facts) in by_view {
            let view = View::<P>::of(&self.stores.cache, tenant_id, &property_id);
            let mut connection = connection.clone();
            // Boxed, because the stream below would otherwise tie the lifetime of the facts into
            // its type.
            writes.push(async move { view.apply(&mut connection, &facts).await }.boxed());
        }
        let applied: Vec<Applied> =
            stream::iter(writes).buffer_unordered(VIEWS_AT_ONCE).try_collect().await?;
        Ok(applied.contains(&Applied::Folded))
    }
}
