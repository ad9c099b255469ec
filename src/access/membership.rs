//! What tenant-service says of an operator; no answer means no entry.
//!
//! It is kept for five minutes, and that somebody is no member for ten seconds. tenant-service's
//! events make every instance forget sooner (`live::memberships`), in a second or two: five minutes
//! is the bound for a change whose event is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use events::{OperatorId, PropertyId, TenantId};
use futures::future::BoxFuture;
use moka::{Expiry, future::Cache};
use tokio::time::timeout;

const MEMBERS_MAX: u64 = 50_000;
const MEMBER_TTL: Duration = Duration::from_mins(5);
/// Somebody who was just made a member should not wait for five minutes.
const STRANGER_TTL: Duration = Duration::from_secs(10);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// An operator's place in a tenant. Source: tenant-service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub roles: Vec<String>,
    /// Empty means none.
    pub property_ids: Vec<PropertyId>,
    pub active: bool,
}

/// Asks tenant-service; `None` when the operator is no member.
pub type Lookup = Arc<
    dyn Fn(TenantId, OperatorId) -> BoxFuture<'static, Result<Option<Membership>, LookupError>>
        + Send
        + Sync,
>;

/// tenant-service did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("tenant-service did not answer")]
pub struct LookupError(#[source] pub Arc<dyn std::error::Error + Send + Sync>);

/// Memberships, asked for once however many requests wait for one.
pub struct Memberships {
    lookup: Lookup,
    known: Cache<(TenantId, OperatorId), Option<Arc<Membership>>>,
}

impl Memberships {
    pub fn new(lookup: Lookup) -> Self {
        let known = Cache::builder().max_capacity(MEMBERS_MAX).expire_after(Lifetimes).build();
        Self { lookup, known }
    }

    /// The active membership of an operator; `None` for strangers and suspended members.
    ///
    /// # Errors
    /// tenant-service did not answer within 3 s and nothing is remembered.
    pub async fn of(
        &self,
        tenant_id: &TenantId,
        operator_id: &OperatorId,
    ) -> Result<Option<Arc<Membership>>, Arc<LookupError>> {
        let key = (tenant_id.clone(), operator_id.clone());
        let asked = async {
            let answer = (self.lookup)(tenant_id.clone(), operator_id.clone());
            let member = timeout(LOOKUP_TIMEOUT, answer)
                .await
                .map_err(|elapsed| LookupError(Arc::new(elapsed)))??;
            Ok(member.filter(|member| member.active).map(Arc::new))
        };
        self.known.try_get_with(key, asked).await
    }

    /// Forgets everything, where it is not known who has changed.
    pub fn forget_all(&self) {
        self.known.invalidate_all();
        count_forgotten("all");
    }

    /// Forgets what is known of an operator, whose roles may have changed.
    pub async fn forget(&self, tenant_id: &TenantId, operator_id: &OperatorId) {
        self.known.invalidate(&(tenant_id.clone(), operator_id.clone())).await;
        count_forgotten("one");
    }
}

fn count_forgotten(whose: &'static str) {
    metrics::counter!("bff_backoffice_memberships_forgotten_total", "whose" => whose).increment(1);
}

struct Lifetimes;

impl Expiry<(TenantId, OperatorId), Option<Arc<Membership>>> for Lifetimes {
    fn expire_after_create(
        &self,
        _: &(TenantId, OperatorId),
        member: &Option<Arc<Membership>>,
        _: Instant,
    ) -> Option<Duration> {
        Some(if member.is_some() { MEMBER_TTL } else { STRANGER_TTL })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    fn member(active: bool) -> Membership {
        Membership { roles: vec!["owner".to_owned()], property_ids: Vec::new(), active }
    }

    fn ids() -> (TenantId, OperatorId) {
        (TenantId::system(), "usr_1".parse().unwrap())
    }

    #[tokio::test]
    async fn many_requests_ask_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let memberships = Memberships::new(Arc::new(move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok(Some(member(true))) }.boxed()
        }));
        let (tenant_id, operator_id) = ids();

        let answers =
            futures::future::join_all((0..50).map(|_| memberships.of(&tenant_id, &operator_id)))
                .await;

        assert!(answers.iter().all(|answer| matches!(answer, Ok(Some(_)))));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_suspended_member_is_a_stranger() {
        let (tenant_id, operator_id) = ids();
        let memberships =
            Memberships::new(Arc::new(|_, _| async { Ok(Some(member(false))) }.boxed()));
        assert_eq!(memberships.of(&tenant_id, &operator_id).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_an_error_and_is_not_remembered() {
        let (tenant_id, operator_id) = ids();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let memberships = Memberships::new(Arc::new(move |_, _| {
            if counter.fetch_add(1, Ordering::SeqCst) == 0 {
                std::future::pending().boxed()
            } else {
                async { Ok(Some(member(true))) }.boxed()
            }
        }));
        assert!(memberships.of(&tenant_id, &operator_id).await.is_err());
        assert!(memberships.of(&tenant_id, &operator_id).await.unwrap().is_some());
    }
}
