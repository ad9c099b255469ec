//! Lists by page, and the property a request is about: the same at all upstreams.

use serde::Serialize;
use serde_json::json;

use super::exchange::{Answer, Request};
use crate::{
    problem::Problem,
    world::{Item, World, tenancy::Property},
};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 100;

/// A page `{items, nextCursor}` of the items of `propertyId` and `state`, where the query names
/// them, in the order given. The cursor is the last item's id.
///
/// # Errors
/// 400 when `limit` is not 1–100 or the cursor's item is not in the list.
pub fn page<'item, T: Item + Serialize + 'item>(
    request: &Request,
    items: impl IntoIterator<Item = &'item T>,
    state_of: impl Fn(&T) -> &'static str,
) -> Result<Answer, Problem> {
    let wanted = |name: &str| request.query.get(name).filter(|text| !text.is_empty());
    let property_id = wanted("propertyId");
    let state = wanted("state");
    let matching: Vec<&T> = items
        .into_iter()
        .filter(|item| property_id.is_none_or(|id| id == item.property_id()))
        .filter(|item| state.is_none_or(|state| state == state_of(item)))
        .collect();
    let start = match wanted("cursor") {
        None => 0,
        Some(cursor) => {
            let last = matching.iter().position(|item| item.id() == cursor);
            last.ok_or_else(|| Problem::invalid("the cursor is not of this list"))? + 1
        }
    };
    let end = matching.len().min(start + limit(request)?);
    let next_cursor = (end < matching.len()).then(|| matching[end - 1].id());
    Ok(Answer::ok(json!({ "items": &matching[start..end], "nextCursor": next_cursor })))
}

fn limit(request: &Request) -> Result<usize, Problem> {
    let Some(text) = request.query.get("limit") else {
        return Ok(LIMIT_DEFAULT);
    };
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Problem::invalid(format!("limit must be a number from 1 to {LIMIT_MAX}")))
}

/// The property named by the query or by `X-Property-Id`.
///
/// # Errors
/// 400 when none is named, 404 when the tenant has no such property.
pub fn property<'world>(
    world: &'world World,
    request: &Request,
) -> Result<&'world Property, Problem> {
    let id = request
        .query
        .get("propertyId")
        .map(String::as_str)
        .or_else(|| request.header("x-property-id"))
        .ok_or_else(|| {
            Problem::invalid("name a property: propertyId in the query or X-Property-Id")
        })?;
    property_by_id(world, &request.tenant_id, id)
}

/// # Errors
/// 404 when the tenant has no such property.
pub fn property_by_id<'world>(
    world: &'world World,
    tenant_id: &str,
    id: &str,
) -> Result<&'world Property, Problem> {
    world
        .tenant(tenant_id)
        .and_then(|tenant| tenant.properties.iter().find(|property| property.id == id))
        .ok_or_else(|| Problem::not_found(format!("no property {id}")))
}
