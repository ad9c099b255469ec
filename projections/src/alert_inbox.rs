//! The alerts of a property: raised, acknowledged and resolved, from both logs.

use chrono::{DateTime, Utc};
use events::{
    AlertId, PropertyId,
    ledger::alert_acknowledgment::AlertAcknowledgmentEvent,
    upstream::{
        UpstreamEvent,
        notification::{Localized, Severity},
    },
};
use serde::{Deserialize, Serialize};

use crate::{Fact, FactEvent, Projection, Route};

/// Redis: hash `{tenant}:view:alert-inbox:<revision>:<propertyId>`, one field an alert. Read by
/// `GET /alerts`.
pub struct AlertInbox;

/// What is known of one alert. An acknowledgment may be known before the alert itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    pub id: AlertId,
    pub property_id: PropertyId,
    #[serde(default)]
    pub raised: Option<Raised>,
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
    /// notification-service has our acknowledgment.
    #[serde(default)]
    pub forwarded: bool,
    #[serde(default)]
    pub resolved_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Raised {
    pub severity: Severity,
    pub category: String,
    pub title: Localized,
    #[serde(default)]
    pub body: Option<Localized>,
    pub source: String,
    pub at: DateTime<Utc>,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledged {
    /// First in the order, so that the earliest acknowledgment is the least.
    pub at: DateTime<Utc>,
    /// The operator, or whatever name the upstream gives.
    pub by: String,
}

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    Raised,
    Acknowledged,
    Resolved,
    Expired,
}

impl Alert {
    fn unknown(id: AlertId, property_id: PropertyId) -> Self {
        Self {
            id,
            property_id,
            raised: None,
            acknowledged: None,
            forwarded: false,
            resolved_at: None,
        }
    }

    /// The state at `now`: an alert nobody took up expires.
    pub fn state(&self, now: DateTime<Utc>) -> AlertState {
        let expires_at = self.raised.as_ref().and_then(|raised| raised.expires_at);
        if self.resolved_at.is_some() {
            AlertState::Resolved
        } else if self.acknowledged.is_some() {
            AlertState::Acknowledged
        } else if expires_at.is_some_and(|expires_at| expires_at <= now) {
            AlertState::Expired
        } else {
            AlertState::Raised
        }
    }

    fn acknowledge(&mut self, at: DateTime<Utc>, by: String) {
        let new = Acknowledged { at, by };
        self.acknowledged = Some(match self.acknowledged.take() {
            Some(standing) => standing.min(new),
            None => new,
        });
    }

    fn raise(&mut self, new: Raised) {
        if self.raised.as_ref().is_none_or(|standing| standing.at <= new.at) {
            self.raised = Some(new);
        }
    }

    fn resolve(&mut self, at: DateTime<Utc>) {
        self.resolved_at = Some(self.resolved_at.map_or(at, |standing| standing.min(at)));
    }
}

impl Projection for AlertInbox {
    const NAME: &'static str = "alert-inbox";
    const REVISION: u32 = 1;
    type Item = Alert;

    fn route(fact: &Fact) -> Option<Route> {
        let (alert_id, property_id) = subject(&fact.event)?;
        Some(Route { property_id: property_id.clone(), item_id: alert_id.to_string() })
    }

    fn evolve(item: Option<Alert>, fact: &Fact) -> Alert {
        let Some((alert_id, property_id)) = subject(&fact.event) else {
            return item.expect("only facts with a route are folded");
        };
        let mut alert =
            item.unwrap_or_else(|| Alert::unknown(alert_id.clone(), property_id.clone()));
        match &fact.event {
            FactEvent::Upstream(event) => apply_upstream(&mut alert, event),
            FactEvent::AlertAcknowledgment(event) => apply_own(&mut alert, event),
            FactEvent::DeviceSync { .. }
            | FactEvent::OperatorSession(_)
            | FactEvent::SuggestionDecision(_)
            | FactEvent::System(_) => (),
        }
        alert
    }
}

/// The alert a fact is about.
fn subject(event: &FactEvent) -> Option<(&AlertId, &PropertyId)> {
    match event {
        FactEvent::Upstream(UpstreamEvent::AlertRaised(it)) => {
            Some((&it.alert_id, &it.property_id))
        }
        FactEvent::Upstream(UpstreamEvent::AlertAcknowledged(it)) => {
            Some((&it.alert_id, &it.property_id))
        }
        FactEvent::Upstream(UpstreamEvent::AlertResolved(it)) => {
            Some((&it.alert_id, &it.property_id))
        }
        FactEvent::Upstream(UpstreamEvent::LockHealthAlert(it)) => {
            Some((&it.lock_id, &it.property_id))
        }
        FactEvent::AlertAcknowledgment(
            AlertAcknowledgmentEvent::Acknowledged { alert_id, property_id, .. }
            | AlertAcknowledgmentEvent::Forwarded { alert_id, property_id, .. }
            | AlertAcknowledgmentEvent::ForwardFailed { alert_id, property_id, .. },
        ) => Some((alert_id, property_id)),
        FactEvent::DeviceSync { .. }
        | FactEvent::OperatorSession(_)
        | FactEvent::SuggestionDecision(_)
        | FactEvent::System(_)
        | FactEvent::Upstream(
            UpstreamEvent::LockCredential(_)
            | UpstreamEvent::SessionRevoked(_)
            | UpstreamEvent::UserLocked(_)
            | UpstreamEvent::DeviceRevoked(_)
            | UpstreamEvent::Tenant(_)
            | UpstreamEvent::Suggestion(_)
            | UpstreamEvent::ActivityReplayed(_)
            | UpstreamEvent::CursorAdvanced(_),
        ) => None,
    }
}

fn apply_upstream(alert: &mut Alert, event: &UpstreamEvent) {
    match event {
        UpstreamEvent::AlertRaised(raised) => alert.raise(Raised {
            severity: raised.severity,
            category: raised.category.clone(),
            title: raised.title.clone(),
            body: raised.body.clone(),
            source: raised.source.clone(),
            at: raised.raised_at,
            expires_at: raised.expires_at,
        }),
        UpstreamEvent::LockHealthAlert(health) => alert.raise(Raised {
            severity: health.severity,
            category: "lock-health".to_owned(),
            title: Localized::One(health.kind.clone()),
            body: None,
            source: format!("lock-integration-service room {}", health.room_id),
            at: health.at,
            expires_at: None,
        }),
        UpstreamEvent::AlertAcknowledged(ack) => {
            alert.acknowledge(ack.at, ack.by.clone().unwrap_or_default());
        }
        UpstreamEvent::AlertResolved(resolved) => alert.resolve(resolved.at),
        UpstreamEvent::LockCredential(_)
        | UpstreamEvent::SessionRevoked(_)
        | UpstreamEvent::UserLocked(_)
        | UpstreamEvent::DeviceRevoked(_)
        | UpstreamEvent::Tenant(_)
        | UpstreamEvent::Suggestion(_)
        | UpstreamEvent::ActivityReplayed(_)
        | UpstreamEvent::CursorAdvanced(_) => (),
    }
}

fn apply_own(alert: &mut Alert, event: &AlertAcknowledgmentEvent) {
    match event {
        AlertAcknowledgmentEvent::Acknowledged { acknowledged_by, acknowledged_at, .. } => {
            alert.acknowledge(*acknowledged_at, acknowledged_by.to_string());
        }
        AlertAcknowledgmentEvent::Forwarded { .. } => alert.forwarded = true,
        AlertAcknowledgmentEvent::ForwardFailed { .. } => (),
    }
}

#[cfg(test)]
mod tests {
    use events::upstream::notification::{AlertAcknowledged, AlertRaised, AlertResolved};
    use proptest::prelude::*;

    use super::*;
    use crate::Log;

    proptest! {
        #[test]
        fn the_two_logs_may_arrive_interleaved_in_any_way(
            times in prop::collection::vec(0_i64..1_000, 6),
            picks in prop::collection::vec(any::<bool>(), 6),
        ) {
            let inbox = [
                upstream(1, raised(times[0])),
                upstream(2, acknowledged_upstream(times[1])),
                upstream(3, resolved(times[2])),
            ];
            let ledger =
                [own(1, acknowledged(times[3])), own(2, forwarded(times[4]))];
            let one_after_the_other = fold(inbox.iter().chain(&ledger));

            let mixed = interleave(&inbox, &ledger, &picks);

            prop_assert_eq!(fold(mixed.into_iter()), one_after_the_other);
        }
    }

    #[test]
    fn a_repeated_fact_changes_nothing() {
        let facts = [upstream(1, raised(1)), own(1, acknowledged(5)), upstream(2, resolved(9))];
        assert_eq!(fold(facts.iter().chain(&facts)), fold(facts.iter()));
    }

    #[test]
    fn the_earliest_acknowledgment_stands() {
        let alert = fold([own(1, acknowledged(7)), upstream(1, acknowledged_upstream(3))].iter());
        assert_eq!(alert.acknowledged.map(|ack| ack.by), Some("usr_upstream".to_owned()));
    }

    #[test]
    fn an_alert_nobody_took_up_expires() {
        let mut alert = fold([upstream(1, raised(0))].iter());
        assert_eq!(alert.state(at(10)), AlertState::Raised);
        if let Some(raised) = alert.raised.as_mut() {
            raised.expires_at = Some(at(10));
        }
        assert_eq!(alert.state(at(10)), AlertState::Expired);
    }

    fn fold<'a>(facts: impl Iterator<Item = &'a Fact>) -> Alert {
        facts.fold(None, |item, fact| Some(AlertInbox::evolve(item, fact))).unwrap()
    }

    fn interleave<'a>(inbox: &'a [Fact], ledger: &'a [Fact], picks: &[bool]) -> Vec<&'a Fact> {
        let (mut inbox, mut ledger) = (inbox.iter().peekable(), ledger.iter().peekable());
        let mut mixed = Vec::new();
        for pick in picks.iter().copied().chain([true, true, true, false, false]) {
            mixed.extend(if pick { inbox.next() } else { ledger.next() });
        }
        mixed.extend(inbox);
        mixed.extend(ledger);
        mixed
    }

    fn upstream(position: i64, event: UpstreamEvent) -> Fact {
        fact(Log::Inbox, position, FactEvent::Upstream(event))
    }

    fn own(position: i64, event: AlertAcknowledgmentEvent) -> Fact {
        fact(Log::Ledger, position, FactEvent::AlertAcknowledgment(event))
    }

    fn fact(log: Log, position: i64, event: FactEvent) -> Fact {
        let tenant_id = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap();
        Fact { tenant_id, log, position, occurred_at: at(position), event }
    }

    fn raised(seconds: i64) -> UpstreamEvent {
        UpstreamEvent::AlertRaised(AlertRaised {
            alert_id: alert_id(),
            property_id: property_id(),
            severity: Severity::High,
            category: "lock".to_owned(),
            title: Localized::One("Battery low".to_owned()),
            body: None,
            source: "lock".to_owned(),
            raised_at: at(seconds),
            expires_at: None,
        })
    }

    fn acknowledged_upstream(seconds: i64) -> UpstreamEvent {
        UpstreamEvent::AlertAcknowledged(AlertAcknowledged {
            alert_id: alert_id(),
            property_id: property_id(),
            by: Some("usr_upstream".to_owned()),
            at: at(seconds),
        })
    }

    fn resolved(seconds: i64) -> UpstreamEvent {
        UpstreamEvent::AlertResolved(AlertResolved {
            alert_id: alert_id(),
            property_id: property_id(),
            by: None,
            at: at(seconds),
        })
    }

    fn acknowledged(seconds: i64) -> AlertAcknowledgmentEvent {
        AlertAcknowledgmentEvent::Acknowledged {
            alert_id: alert_id(),
            property_id: property_id(),
            acknowledged_by: "usr_own".parse().unwrap(),
            acknowledged_at: at(seconds),
            comment: None,
        }
    }

    fn forwarded(seconds: i64) -> AlertAcknowledgmentEvent {
        AlertAcknowledgmentEvent::Forwarded {
            alert_id: alert_id(),
            property_id: property_id(),
            forwarded_at: at(seconds),
            already_acknowledged: false,
        }
    }

    fn alert_id() -> AlertId {
        "ntf_1".parse().unwrap()
    }

    fn property_id() -> PropertyId {
        "ppt_1".parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
