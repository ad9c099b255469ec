//! The widgets that no upstream is asked for: counts over our own inboxes, and the devices.

use chrono::Duration;
use events::PropertyId;
use projections::{
    AlertInbox, SuggestionInbox, alert_inbox::AlertState, suggestion_inbox::SuggestionState,
};
use serde_json::{Map, Value, json};

use super::{counted, frames::Widget, message};
use crate::{
    app::App,
    commands::device_sync::health,
    composition::screens::{Content, Widget as Row},
    http::{caller::Entrant, inbox, listing::name},
};

/// A device that has not been heard of for so long is not counted.
const HEARD_WITHIN: Duration = Duration::hours(24);

pub(super) async fn widget(
    app: &App,
    entrant: &Entrant,
    (row, property_id): (&'static Row, &PropertyId),
) -> Widget {
    let counting = async {
        match row.content {
            Content::Alerts => alerts(app, entrant, property_id).await,
            Content::Suggestions => suggestions(app, entrant, property_id).await,
            Content::SyncHealth => sync_health(app, entrant, property_id).await,
            Content::Parts(..) => None,
        }
    };
    let counted = tokio::time::timeout(row.deadline(), counting).await;
    match counted {
        Ok(Some(data)) => Widget {
            as_of: Some(app.clock().now()),
            source: Some("live"),
            data: Some(data),
            ..Widget::of(row, "ok")
        },
        unanswered => {
            let status = if unanswered.is_ok() { "error" } else { "timeout" };
            let user_message = message(entrant.context.language(), status);
            Widget { user_message, ..Widget::of(row, status) }
        }
    }
}

async fn alerts(
    app: &App,
    entrant: &Entrant,
    property_id: &PropertyId,
) -> Option<Map<String, Value>> {
    let properties = std::slice::from_ref(property_id);
    let inbox = inbox::read::<AlertInbox>(app, entrant, properties).await.ok()?;
    let now = app.clock().now();
    let raised = inbox.items.iter().filter(|alert| alert.state(now) == AlertState::Raised);
    let severities = raised.filter_map(|alert| Some(name(&alert.raised.as_ref()?.severity)));
    Some(by("bySeverity", counted(severities)))
}

async fn suggestions(
    app: &App,
    entrant: &Entrant,
    property_id: &PropertyId,
) -> Option<Map<String, Value>> {
    let properties = std::slice::from_ref(property_id);
    let (is_by_sharia, inbox) = tokio::join!(
        app.profiles().works_by_sharia(&entrant.caller.tenant_id),
        inbox::read::<SuggestionInbox>(app, entrant, properties),
    );
    let now = app.clock().now();
    let inbox = inbox.ok()?;
    let open = inbox.items.iter().filter(|suggestion| {
        let is_open = suggestion.state(now) == SuggestionState::Proposed;
        is_open && (!is_by_sharia || suggestion.is_sharia_compliant())
    });
    let categories =
        open.filter_map(|suggestion| Some(suggestion.proposed.as_ref()?.category.clone()));
    Some(by("byCategory", counted(categories)))
}

async fn sync_health(
    app: &App,
    entrant: &Entrant,
    property_id: &PropertyId,
) -> Option<Map<String, Value>> {
    let since = app.clock().now() - HEARD_WITHIN;
    let tenant_id = &entrant.caller.tenant_id;
    match health::of_property(app.pools(), tenant_id, (property_id, since)).await {
        Ok(health) => json!(health).as_object().cloned(),
        Err(error) => {
            tracing::warn!(error = %error, "the health of devices cannot be read");
            None
        }
    }
}

fn by(name: &str, counts: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), Value::Object(counts))])
}
