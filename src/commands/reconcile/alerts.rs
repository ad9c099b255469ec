//! The alerts of a property, as notification-service lists them.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use events::{
    PropertyId, TenantId,
    upstream::{
        UpstreamEvent,
        notification::{AlertAcknowledged, AlertRaised, AlertResolved},
    },
};
use projections::{AlertInbox, alert_inbox::Alert};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Mirrored, Missing, named_as_in_events};
use crate::upstream::{
    CallContext, Upstream, UpstreamError, notification,
    page::{Page, PageQuery},
};

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

impl Mirrored for AlertInbox {
    const PRODUCER: &'static str = "notification";
    const WAIT: Duration = Duration::from_millis(500);

    fn id(alert: &Alert) -> &str {
        alert.id.as_str()
    }

    fn is_offered(alert: &Alert) -> bool {
        alert.raised.is_some()
    }

    async fn page(
        upstream: &Upstream,
        tenant_id: &TenantId,
        context: &CallContext,
        query: PageQuery<'_>,
    ) -> Result<Page, UpstreamError> {
        notification::alerts(upstream, tenant_id, context, query).await
    }

    fn missing(
        listed: Value,
        property_id: &PropertyId,
        known: &HashMap<&str, &Alert>,
    ) -> Result<Vec<Missing>, serde_json::Error> {
        let listed: Listed = serde_json::from_value(named_as_in_events(listed, "alertId"))?;
        if listed.raised.property_id != *property_id {
            return Ok(Vec::new());
        }
        let known = known.get(listed.raised.alert_id.as_str()).copied();
        Ok(listed.missing(known))
    }
}

impl Listed {
    fn missing(self, known: Option<&Alert>) -> Vec<Missing> {
        let lacks = |is_lacking: fn(&Alert) -> bool| known.is_none_or(is_lacking);
        let (alert_id, property_id) =
            (self.raised.alert_id.clone(), self.raised.property_id.clone());
        let item_id = alert_id.to_string();
        let mut missing = Vec::new();
        if lacks(|alert| alert.raised.is_none()) {
            missing.push(Missing {
                item_id: item_id.clone(),
                what: "raised",
                subject: "melmastoon.notification.alert.raised.v1",
                occurred_at: self.raised.raised_at,
                payload: json!(self.raised),
                event: UpstreamEvent::AlertRaised(self.raised),
            });
        }
        if let Some(at) = self.acknowledged_at
            && lacks(|alert| alert.acknowledged.is_none())
        {
            let (alert_id, property_id) = (alert_id.clone(), property_id.clone());
            let event = AlertAcknowledged { alert_id, property_id, by: self.acknowledged_by, at };
            missing.push(Missing {
                item_id: item_id.clone(),
                what: "acknowledged",
                subject: "melmastoon.notification.alert.acknowledged.v1",
                occurred_at: at,
                payload: json!(event),
                event: UpstreamEvent::AlertAcknowledged(event),
            });
        }
        if let Some(at) = self.resolved_at
            && lacks(|alert| alert.resolved_at.is_none())
        {
            let event = AlertResolved { alert_id, property_id, by: None, at };
            missing.push(Missing {
                item_id,
                what: "resolved",
                subject: "melmastoon.notification.alert.resolved.v1",
                occurred_at: at,
                payload: json!(event),
                event: UpstreamEvent::AlertResolved(event),
            });
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{folded, kinds},
        *,
    };

    #[test]
    fn only_what_the_inbox_lacks_is_taken_in() {
        let item = json!({
            "id": "ntf_1", "propertyId": "ppt_1", "severity": "high", "category": "lock",
            "title": "Battery low", "source": "lock", "raisedAt": "2026-11-21T10:00:00Z",
            "state": "acknowledged", "acknowledgedAt": "2026-11-21T11:00:00Z",
            "acknowledgedBy": "usr_1",
        });
        let property_id = "ppt_1".parse().unwrap();
        let missing = |known: &HashMap<&str, &Alert>| {
            AlertInbox::missing(item.clone(), &property_id, known).unwrap()
        };

        let all = missing(&HashMap::new());
        assert_eq!(kinds(&all), ["raised", "acknowledged"]);

        let known = folded::<AlertInbox>(&all);
        assert!(missing(&HashMap::from([("ntf_1", &known)])).is_empty());
    }

    #[test]
    fn an_alert_of_another_property_is_not_taken_in() {
        let item = json!({
            "id": "ntf_1", "propertyId": "ppt_2", "severity": "high", "category": "lock",
            "title": "Battery low", "raisedAt": "2026-11-21T10:00:00Z",
        });
        let missing = AlertInbox::missing(item, &"ppt_1".parse().unwrap(), &HashMap::new());
        assert!(missing.unwrap().is_empty());
    }
}
