//! An inbox is compared with notification-service's own list: what the inbox never heard of is
//! taken in as if it had been published.
//!
//! What is missing goes through the inbox table under an id derived from what it says. So a rebuild
//! sees it too, and two instances that reconcile at once add it once.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use events::{
    AlertId, PropertyId, TenantId,
    upstream::{
        UpstreamEvent,
        notification::{AlertAcknowledged, AlertRaised, AlertResolved},
    },
};
use projections::{Log, alert_inbox::Alert};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Resources;
use crate::{
    inbox::{envelope::Incoming, store},
    ledger::Pools,
    projector,
    upstream::{
        CallContext,
        notification::{self, AlertQuery},
    },
    views::{self, Redis, TenantKey},
};

/// How often an inbox that is being read is compared.
const INTERVAL: Duration = Duration::from_mins(10);
/// How often to look whether what was taken in is folded.
const FOLD_POLL: Duration = Duration::from_millis(20);
/// Alerts asked for in one call.
const PAGE: u32 = 100;
/// Newest alerts that are compared; older ones a desktop does not show.
const PAGES_MAX: usize = 5;
/// As the topic names it.
const PRODUCER: &str = "notification";

/// An alert as notification-service lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(flatten)]
    raised: AlertRaised,
    #[serde(default)]
    acknowledged_at: Option<DateTime<Utc>>,
    #[serde(default)]
    acknowledged_by: Option<String>,
    #[serde(default)]
    resolved_at: Option<DateTime<Utc>>,
}

/// Where an inbox is compared and what with.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub pools: &'a Pools,
    pub cache_tier: &'a Redis,
    pub property: (&'a TenantId, &'a PropertyId),
}

/// Compares an inbox with its upstream unless somebody did within the last ten minutes. True when
/// something was missing and has been folded.
///
/// # Errors
/// When notification-service, the inbox or the cache tier cannot be reached. After a failure it is
/// due again.
pub async fn if_due(
    resources: &Resources,
    sources: Sources<'_>,
    known: &[Alert],
) -> anyhow::Result<bool> {
    let (tenant_id, property_id) = sources.property;
    let key =
        TenantKey::new(tenant_id, "reconciled").then("alert-inbox").then(property_id.as_str());
    if !views::claim(sources.cache_tier, &key, INTERVAL).await? {
        return Ok(false);
    }
    let taken_in = run(resources, sources, known).await;
    if taken_in.is_err() {
        views::release(sources.cache_tier, &key).await?;
    }
    let Some(position) = taken_in? else { return Ok(false) };
    while projector::folded(sources.pools, Log::Inbox).await? < position {
        tokio::time::sleep(FOLD_POLL).await;
    }
    Ok(true)
}

/// Takes in what notification-service lists for a property and `known` does not have. Answers the
/// inbox position of the last event taken in; `None` when nothing was missing.
///
/// # Errors
/// When notification-service or the inbox cannot be reached; what was taken in before stays.
pub async fn run(
    resources: &Resources,
    sources: Sources<'_>,
    known: &[Alert],
) -> anyhow::Result<Option<i64>> {
    let (tenant_id, property_id) = sources.property;
    let known: HashMap<&AlertId, &Alert> = known.iter().map(|alert| (&alert.id, alert)).collect();
    let context = CallContext { property_id: Some(property_id.clone()), ..CallContext::internal() };
    let mut cursor = None;
    let mut position = None;
    for _ in 0..PAGES_MAX {
        let query = AlertQuery { property_id, cursor, limit: PAGE };
        let page = notification::alerts(&resources.upstream, tenant_id, &context, query).await?;
        let missing: Vec<Incoming> = page
            .items
            .into_iter()
            .filter_map(listed)
            .filter(|listed| listed.raised.property_id == *property_id)
            .flat_map(|listed| missing(tenant_id, &listed, known.get(&listed.raised.alert_id)))
            .collect();
        if !missing.is_empty() {
            let mut transaction = sources.pools.intake().begin().await?;
            let appended = store::append(&mut transaction, &missing, resources.clock.now()).await?;
            transaction.commit().await?;
            position = Some(appended.last_position);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(position)
}

/// An item that reads as an alert; another one is left to the next reconciliation.
fn listed(mut item: Value) -> Option<Listed> {
    // The list calls it `id`, the events `alertId`.
    if item.get("alertId").is_none() {
        let id = item.get("id")?.clone();
        item.as_object_mut()?.insert("alertId".to_owned(), id);
    }
    serde_json::from_value(item)
        .map_err(|error| tracing::warn!(error = %error, "an upstream alert cannot be read"))
        .ok()
}

/// The events that would bring `known` to what is listed.
fn missing(tenant_id: &TenantId, listed: &Listed, known: Option<&&Alert>) -> Vec<Incoming> {
    let lacks = |is_lacking: fn(&Alert) -> bool| known.is_none_or(|alert| is_lacking(alert));
    let raised = &listed.raised;
    let (alert_id, property_id) = (&raised.alert_id, &raised.property_id);
    let mut missing = Vec::new();
    if lacks(|alert| alert.raised.is_none()) {
        let event = UpstreamEvent::AlertRaised(raised.clone());
        missing.push(("raised", raised.raised_at, json!(raised), event));
    }
    if let Some(at) = listed.acknowledged_at
        && lacks(|alert| alert.acknowledged.is_none())
    {
        let by = listed.acknowledged_by.clone();
        let (alert_id, property_id) = (alert_id.clone(), property_id.clone());
        let event = AlertAcknowledged { alert_id, property_id, by, at };
        missing.push(("acknowledged", at, json!(event), UpstreamEvent::AlertAcknowledged(event)));
    }
    if let Some(at) = listed.resolved_at
        && lacks(|alert| alert.resolved_at.is_none())
    {
        let (alert_id, property_id) = (alert_id.clone(), property_id.clone());
        let event = AlertResolved { alert_id, property_id, by: None, at };
        missing.push(("resolved", at, json!(event), UpstreamEvent::AlertResolved(event)));
    }
    missing
        .into_iter()
        .map(|(what, occurred_at, payload, event)| Incoming {
            tenant_id: tenant_id.clone(),
            producer: PRODUCER.to_owned(),
            event_id: format!("listed:{alert_id}:{what}"),
            subject: format!("melmastoon.notification.alert.{what}.v1"),
            property_id: Some(property_id.clone()),
            occurred_at,
            payload,
            event,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_inbox_lacks_is_taken_in() {
        let item = json!({
            "id": "ntf_1", "propertyId": "ppt_1", "severity": "high", "category": "lock",
            "title": "Battery low", "source": "lock", "raisedAt": "2026-11-21T10:00:00Z",
            "state": "acknowledged", "acknowledgedAt": "2026-11-21T11:00:00Z",
            "acknowledgedBy": "usr_1",
        });
        let listed = listed(item).unwrap();

        let all = missing(&TenantId::system(), &listed, None);
        let ids: Vec<&str> = all.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!(ids, ["listed:ntf_1:raised", "listed:ntf_1:acknowledged"]);

        let known = folded(&all);
        assert!(missing(&TenantId::system(), &listed, Some(&&known)).is_empty());
    }

    fn folded(events: &[Incoming]) -> Alert {
        let facts = events.iter().zip(1..).map(|(incoming, position)| projections::Fact {
            tenant_id: incoming.tenant_id.clone(),
            log: projections::Log::Inbox,
            position,
            occurred_at: incoming.occurred_at,
            event: projections::FactEvent::Upstream(incoming.event.clone()),
        });
        facts
            .fold(None, |item, fact| {
                Some(<projections::AlertInbox as projections::Projection>::evolve(item, &fact))
            })
            .unwrap()
    }
}
