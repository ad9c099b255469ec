//! The lists of an upstream, page by page: asked for in one way everywhere.

use events::PropertyId;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Upstream, UpstreamError};

/// One page, newest first.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// As the service wrote them.
    pub items: Vec<Value>,
    /// Opaque; absent on the last page.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Which items of a list are wanted.
#[derive(Clone, Debug)]
pub struct PageQuery<'a> {
    pub property_id: &'a PropertyId,
    pub cursor: Option<String>,
    /// 1–100.
    pub limit: u32,
}

/// Makes `call`, which asks for a list, about one page of it.
///
/// # Errors
/// See [`UpstreamError`].
pub(super) async fn read(
    upstream: &Upstream,
    mut call: Call<'_>,
    query: PageQuery<'_>,
) -> Result<Page, UpstreamError> {
    call.query.push(("propertyId", query.property_id.to_string()));
    call.query.push(("limit", query.limit.to_string()));
    call.query.extend(query.cursor.map(|cursor| ("cursor", cursor)));
    upstream.call(&call).await?.read(call.service)
}
