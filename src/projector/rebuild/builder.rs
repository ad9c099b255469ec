//! Builds a view for whoever reads it while it is missing, a few at a time.

use std::{sync::Arc, time::Duration};

use events::{PropertyId, TenantId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{
    super::{Feed, Stores},
    BuildError, Built, Fold, view,
};
use crate::views::View;

/// Builds of one process at one time.
const BUILDS_MAX: usize = 4;
/// How often somebody who waits for another's build looks whether it is done.
const WAIT_INTERVAL: Duration = Duration::from_millis(20);

/// Builds views. Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    stores: Stores,
    tracker: TaskTracker,
    permits: Arc<Semaphore>,
    wait_max: Duration,
}

impl Builder {
    /// `wait_max` is how long a reader waits for a view that is being built.
    pub fn new(stores: Stores, tracker: TaskTracker, wait_max: Duration) -> Self {
        Self { stores, tracker, permits: Arc::new(Semaphore::new(BUILDS_MAX)), wait_max }
    }

    /// The items of a view, built first if it is missing. Without its Redis tier they are folded
    /// from the logs for this one reader.
    ///
    /// # Errors
    /// See [`BuildError`]; [`BuildError::NotYet`] after the longest wait. A build that has begun
    /// goes on.
    pub async fn ensure_view<P: Feed>(
        &self,
        tenant_id: &TenantId,
        property_id: &PropertyId,
    ) -> Result<Vec<P::Item>, BuildError> {
        let give_up_at = Instant::now() + self.wait_max;
        loop {
            let view = View::<P>::of(&self.stores.cache, tenant_id, property_id);
            match view.read(&mut self.stores.cache.shared()).await {
                Ok(Some(content)) => return Ok(content.items.into_values().collect()),
                Ok(None) => (),
                Err(error) => {
                    tracing::warn!(
                        error = %error,
                        "the cache tier is lost: folding for one reader"
                    );
                    return self.fold_until::<P>(tenant_id, property_id, give_up_at).await;
                }
            }
            // Readers wait here and not as tasks that outlive them: who gives up leaves nothing.
            let permit = Arc::clone(&self.permits).acquire_owned();
            let Ok(Ok(permit)) = tokio::time::timeout_at(give_up_at, permit).await else {
                return Err(BuildError::NotYet);
            };
            let build = self.spawn::<P>(permit, tenant_id.clone(), property_id.clone());
            match tokio::time::timeout_at(give_up_at, build).await {
                Err(_) => return Err(BuildError::NotYet),
                Ok(Built::Done { .. }) => (),
                Ok(Built::Elsewhere) => tokio::time::sleep(WAIT_INTERVAL).await,
            }
            if give_up_at <= Instant::now() {
                return Err(BuildError::NotYet);
            }
        }
    }

    /// A build that goes on when its reader leaves: the next one finds the view.
    async fn spawn<P: Feed>(
        &self,
        permit: OwnedSemaphorePermit,
        tenant_id: TenantId,
        property_id: PropertyId,
    ) -> Built {
        let stores = self.stores.clone();
        let task = self.tracker.spawn(async move {
            let built = missing::<P>(&stores, &tenant_id, &property_id).await;
            drop(permit);
            built
        });
        match task.await {
            Ok(Ok(built)) => built,
            Ok(Err(error)) => {
                metrics::counter!("bff_backoffice_view_builds_failed_total").increment(1);
                tracing::warn!(view = P::NAME, error = %error, "a view could not be built");
                Built::Elsewhere
            }
            Err(_) => Built::Elsewhere,
        }
    }

    async fn fold_until<P: Feed>(
        &self,
        tenant_id: &TenantId,
        property_id: &PropertyId,
        give_up_at: Instant,
    ) -> Result<Vec<P::Item>, BuildError> {
        metrics::counter!("bff_backoffice_views_folded_without_redis_total").increment(1);
        let fold = async {
            let _permit = self.permits.acquire().await;
            let mut fold = Fold::<P>::of(tenant_id, property_id);
            fold.catch_up(&self.stores, None, |_| ()).await?;
            Ok(fold.items.into_values().collect())
        };
        tokio::time::timeout_at(give_up_at, fold).await.map_err(|_| BuildError::NotYet)?
    }
}

/// Builds one view, unless somebody has built it while its reader waited for leave.
async fn missing<P: Feed>(
    stores: &Stores,
    tenant_id: &TenantId,
    property_id: &PropertyId,
) -> Result<Built, BuildError> {
    let target = View::<P>::of(&stores.cache, tenant_id, property_id);
    if target.is_there(&mut stores.cache.shared()).await? {
        return Ok(Built::Done { rows: 0 });
    }
    view::<P>(stores, tenant_id, property_id, |_| ()).await
}
