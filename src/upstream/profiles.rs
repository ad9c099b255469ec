//! The profiles of tenants, asked of tenant-service once in a while however many requests need one.

use std::{sync::Arc, time::Duration};

use events::TenantId;
use moka::future::Cache;

use super::{
    Upstream, UpstreamError,
    tenant::{self, Tenant},
};

const PROFILES_MAX: u64 = 10_000;
/// How long a profile that was changed at tenant-service may be taken for what it was.
const TTL: Duration = Duration::from_mins(5);
/// The profile of a tenant that may see what has no mark of compliance.
const STANDARD: &str = "standard";

/// Profiles of the last five minutes. Cheap to clone.
#[derive(Clone)]
pub struct Profiles {
    upstream: Upstream,
    known: Cache<TenantId, Option<Arc<Tenant>>>,
}

impl Profiles {
    pub fn new(upstream: Upstream) -> Self {
        let known = Cache::builder().max_capacity(PROFILES_MAX).time_to_live(TTL).build();
        Self { upstream, known }
    }

    /// A tenant's profile; `None` when tenant-service does not know the tenant.
    ///
    /// # Errors
    /// tenant-service did not answer and nothing is remembered.
    pub async fn of(
        &self,
        tenant_id: &TenantId,
    ) -> Result<Option<Arc<Tenant>>, Arc<UpstreamError>> {
        let asked = async {
            let profile = tenant::tenant(&self.upstream, tenant_id).await?;
            Ok(profile.map(Arc::new))
        };
        self.known.try_get_with_by_ref(tenant_id, asked).await
    }

    /// Whether the tenant works by the Sharia, or may: a profile that is not there, that cannot be
    /// had or that says something new hides what is not marked compliant.
    pub async fn works_by_sharia(&self, tenant_id: &TenantId) -> bool {
        match self.of(tenant_id).await {
            Ok(profile) => {
                let compliance = profile.as_deref().and_then(|it| it.compliance_profile.as_deref());
                compliance != Some(STANDARD)
            }
            Err(error) => {
                tracing::warn!(error = %error, "what is not marked compliant is hidden: no profile");
                true
            }
        }
    }
}
