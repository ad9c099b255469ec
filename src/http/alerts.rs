//! The alert inboxes of a caller, as routes read them.

use std::time::Duration;

use events::{AlertId, PropertyId};
use futures::future::join_all;
use projections::{AlertInbox, alert_inbox::Alert};

use super::{caller::Entrant, codes::Code, problem::Problem};
use crate::{app::App, commands::reconcile_alerts, projector::BuildError, views::alert_inbox};

/// How long the first reader of an inbox waits for what its upstream lists.
const RECONCILE_WAIT: Duration = Duration::from_millis(500);

/// What was read.
pub struct Inbox {
    pub alerts: Vec<Alert>,
    /// Every view was there.
    pub is_hit: bool,
}

/// The alerts of these properties, which are the caller's; a view that is missing is built first.
///
/// # Errors
/// `DEPENDENCY_UNAVAILABLE` when a view is missing and cannot be built in time.
pub async fn inbox(
    app: &App,
    entrant: &Entrant,
    properties: &[PropertyId],
) -> Result<Inbox, Problem> {
    let tenant_id = &entrant.caller.tenant_id;
    let mut inbox = Inbox { alerts: Vec::new(), is_hit: true };
    for property_id in properties {
        let standing = alert_inbox::list(app.cache_tier(), tenant_id, property_id).await;
        let alerts = if let Ok(Some(alerts)) = standing {
            reconcile(app, entrant, property_id, alerts.clone());
            alerts
        } else {
            // Missing, or in a tier that cannot be read: then the builder folds for this one
            // reader.
            inbox.is_hit = false;
            let alerts = build(app, entrant, property_id).await?;
            let reconciled = reconcile(app, entrant, property_id, alerts.clone());
            match tokio::time::timeout(RECONCILE_WAIT, reconciled).await {
                Ok(Ok(true)) => build(app, entrant, property_id).await?,
                _ => alerts,
            }
        };
        inbox.alerts.extend(alerts);
    }
    Ok(inbox)
}

/// The property of an alert that the caller may see.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` when none of the caller's properties has the alert, for whatever reason.
pub async fn property_of(
    app: &App,
    entrant: &Entrant,
    alert_id: &AlertId,
) -> Result<PropertyId, Problem> {
    let properties = super::caller::properties(entrant, None)?;
    // The views that stand first: an operator acknowledges what a screen shows.
    let (cache, tenant_id) = (app.cache_tier(), &entrant.caller.tenant_id);
    let looks = properties
        .iter()
        .map(|property_id| alert_inbox::get(cache, tenant_id, property_id, alert_id));
    let found = join_all(looks).await;
    let place = found.into_iter().position(|alert| {
        alert.is_ok_and(|alert| alert.flatten().is_some_and(|alert| is_raised(&alert)))
    });
    if let Some(place) = place {
        return Ok(properties[place].clone());
    }
    for property_id in properties {
        let inbox = inbox(app, entrant, std::slice::from_ref(&property_id)).await?;
        let alert = inbox.alerts.into_iter().find(|alert| alert.id == *alert_id);
        if alert.is_some_and(|alert| is_raised(&alert)) {
            return Ok(property_id);
        }
    }
    Err(Code::ResourceNotFound.into())
}

/// An acknowledgment alone does not make an alert.
fn is_raised(alert: &Alert) -> bool {
    alert.raised.is_some()
}

async fn build(
    app: &App,
    entrant: &Entrant,
    property_id: &PropertyId,
) -> Result<Vec<Alert>, Problem> {
    let built = app.builder().ensure_view::<AlertInbox>(&entrant.caller.tenant_id, property_id);
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
fn reconcile(
    app: &App,
    entrant: &Entrant,
    property_id: &PropertyId,
    known: Vec<Alert>,
) -> tokio::task::JoinHandle<bool> {
    let (app, tenant_id) = (app.clone(), entrant.caller.tenant_id.clone());
    let property_id = property_id.clone();
    app.tracker().clone().spawn(async move {
        let sources = reconcile_alerts::Sources {
            pools: app.pools(),
            cache_tier: app.cache_tier(),
            property: (&tenant_id, &property_id),
        };
        let reconciled = reconcile_alerts::if_due(app.commands(), sources, &known).await;
        reconciled.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "an inbox could not be compared with its upstream");
            false
        })
    })
}
