//! The inboxes of a caller, alerts and suggestions, as routes read them.

use std::time::Duration;

use events::PropertyId;
use futures::future::join_all;

use super::{caller::Entrant, codes::Code, problem::Problem};
use crate::{
    app::App,
    commands::reconcile::{self, Mirrored},
    projector::BuildError,
    views::view,
};

/// What was read.
pub struct Inbox<Item> {
    pub items: Vec<Item>,
    /// Every view was there.
    pub is_hit: bool,
}

/// The items of these properties, which are the caller's; a view that is missing is built first.
///
/// # Errors
/// `DEPENDENCY_UNAVAILABLE` when a view is missing and cannot be built in time.
pub async fn read<M: Mirrored>(
    app: &App,
    entrant: &Entrant,
    properties: &[PropertyId],
) -> Result<Inbox<M::Item>, Problem> {
    let tenant_id = &entrant.caller.tenant_id;
    let mut inbox = Inbox { items: Vec::new(), is_hit: true };
    for property_id in properties {
        let standing = view::list::<M>(app.cache_tier(), tenant_id, property_id).await;
        let items = if let Ok(Some(items)) = standing {
            reconcile::<M>(app, entrant, property_id, items.clone());
            items
        } else {
            // Missing, or in a tier that cannot be read: then the builder folds for this one
            // reader.
            inbox.is_hit = false;
            let items = build::<M>(app, entrant, property_id).await?;
            let reconciled = reconcile::<M>(app, entrant, property_id, items.clone());
            match tokio::time::timeout(M::WAIT, reconciled).await {
                Ok(Ok(true)) => build::<M>(app, entrant, property_id).await?,
                _ => items,
            }
        };
        inbox.items.extend(items);
    }
    Ok(inbox)
}

/// An item that the caller may see, with its property.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` when none of the caller's properties has the item, for whatever reason.
pub async fn find<M: Mirrored>(
    app: &App,
    entrant: &Entrant,
    item_id: &str,
) -> Result<(PropertyId, M::Item), Problem> {
    let properties = super::caller::properties(entrant, None)?;
    // The views that stand first: an operator acts on what a screen shows.
    let (cache, tenant_id) = (app.cache_tier(), &entrant.caller.tenant_id);
    let looks = properties
        .iter()
        .map(|property_id| view::get::<M>(cache, (tenant_id, property_id), item_id));
    let found = join_all(looks).await.into_iter().map(|item| item.ok().flatten().flatten());
    for (property_id, item) in properties.iter().zip(found) {
        if let Some(item) = item.filter(M::is_offered) {
            return Ok((property_id.clone(), item));
        }
    }
    for property_id in properties {
        let inbox = read::<M>(app, entrant, std::slice::from_ref(&property_id)).await?;
        let item = inbox.items.into_iter().find(|item| M::id(item) == item_id);
        if let Some(item) = item.filter(M::is_offered) {
            return Ok((property_id, item));
        }
    }
    Err(Code::ResourceNotFound.into())
}

async fn build<M: Mirrored>(
    app: &App,
    entrant: &Entrant,
    property_id: &PropertyId,
) -> Result<Vec<M::Item>, Problem> {
    let built = app.builder().ensure_view::<M>(&entrant.caller.tenant_id, property_id);
    built.await.map_err(|error| {
        let wait = match &error {
            BuildError::NotYet => Duration::from_secs(1),
            BuildError::Database(_) | BuildError::View(_) => Duration::from_secs(3),
        };
        Problem::new(Code::DependencyUnavailable).retry_after(wait).cause(error)
    })
}

/// Compares with the upstream's list when that is due, in a task of its own; true when something
/// was taken in and folded.
fn reconcile<M: Mirrored>(
    app: &App,
    entrant: &Entrant,
    property_id: &PropertyId,
    known: Vec<M::Item>,
) -> tokio::task::JoinHandle<bool> {
    let (app, tenant_id) = (app.clone(), entrant.caller.tenant_id.clone());
    let property_id = property_id.clone();
    app.tracker().clone().spawn(async move {
        let sources = reconcile::Sources {
            pools: app.pools(),
            cache_tier: app.cache_tier(),
            property: (&tenant_id, &property_id),
        };
        let reconciled = reconcile::if_due::<M>(app.commands(), sources, &known).await;
        reconciled.unwrap_or_else(|error| {
            tracing::warn!(
                inbox = M::NAME,
                error = %error,
                "an inbox could not be compared with its upstream"
            );
            false
        })
    })
}
