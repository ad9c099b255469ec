//! Reading what a screen shows of one property: the part that all services have in common.

use events::{PropertyId, TenantId};
use http::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::Instant;

use super::{Call, CallContext, Service, Upstream, UpstreamError, page::Page};

/// Pages of a list that are read at most: 1,000 items. No property has as many rooms.
const PAGES_MAX: usize = 10;
const PAGE_SIZE: &str = "100";

/// Which property is read, on whose behalf, and until when.
#[derive(Clone)]
pub struct Reading<'a> {
    pub upstream: &'a Upstream,
    pub tenant_id: &'a TenantId,
    pub property_id: &'a PropertyId,
    pub context: &'a CallContext,
    /// Of all calls together.
    pub deadline: Instant,
}

/// A list of a property, whole unless it is longer than 1,000 items.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T> {
    pub items: Vec<T>,
    /// There are more, which were not read.
    pub truncated: bool,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

impl Reading<'_> {
    /// The document `{data}` at `path`.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        (service, path): (Service, String),
    ) -> Result<T, UpstreamError> {
        let answer = self.upstream.call(&self.call(service, path)).await?;
        answer.read::<Data<T>>(service).map(|document| document.data)
    }

    /// The list at `path`, page by page. An item that cannot be read is left out and reported: it
    /// must not take the others with it.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        (service, path): (Service, &str),
        filter: &[(&'static str, String)],
    ) -> Result<List<T>, UpstreamError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut call = self.call(service, path.to_owned());
            call.query.extend_from_slice(filter);
            call.query.push(("limit", PAGE_SIZE.to_owned()));
            call.query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page = self.upstream.call(&call).await?.read(service)?;
            items.extend(page.items.into_iter().filter_map(|item| readable(service, item)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(List { items, truncated: cursor.is_some() })
    }

    fn call(&self, service: Service, path: String) -> Call<'_> {
        let mut call = Call::new(service, Method::GET, path, self.tenant_id, self.context);
        call.query.push(("propertyId", self.property_id.to_string()));
        call.deadline = Some(self.deadline);
        call
    }
}

fn readable<T: DeserializeOwned>(service: Service, item: Value) -> Option<T> {
    match serde_json::from_value(item) {
        Ok(item) => Some(item),
        Err(error) => {
            metrics::counter!("bff_backoffice_upstream_unreadable_items_total",
                "upstream" => service.name())
            .increment(1);
            tracing::warn!(
                upstream = service.name(),
                reason = ?error.classify(),
                "an item of a list cannot be read and is left out"
            );
            None
        }
    }
}
