//! The last state of each device, as far as the logs tell it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::{
    DeviceId, OperatorId, PropertyId,
    ledger::{device_sync::DeviceSyncEvent, operator_session::OperatorSessionEvent},
    upstream::UpstreamEvent,
};
use serde::Serialize;

use crate::{Fact, FactEvent, TableProjection};

/// Postgres: table `device_sync_status`, one row a device. Read by `GET /devices`,
/// `GET /devices/{id}/sync-status` and the widget of the devices' health.
///
/// Heartbeats write the table themselves; a share of them are facts. So a rebuild brings back a
/// device as it was at its last recorded heartbeat, and never makes a row older than it is.
pub struct DeviceSyncStatus;

/// What the logs know of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub id: DeviceId,
    pub report: Option<Report>,
    /// Where the operator who opened the last session on it works.
    pub used_at: Option<UsedAt>,
    /// Stream → where the device was moved to last. Not all that it has.
    pub cursors: BTreeMap<String, Cursor>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What a device said of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// First in the order, so that the last report is the greatest.
    pub at: DateTime<Utc>,
    pub operator_id: OperatorId,
    pub app_version: String,
    pub app_platform: String,
    pub network_mode: String,
    pub pending_actions: u32,
    pub last_sync_at: Option<DateTime<Utc>>,
    pub clock_skew_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsedAt {
    pub at: DateTime<Utc>,
    pub property_ids: Vec<PropertyId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cursor {
    pub at: DateTime<Utc>,
    /// Opaque.
    pub cursor: String,
}

impl Device {
    fn unknown(id: DeviceId) -> Self {
        Self { id, report: None, used_at: None, cursors: BTreeMap::new(), revoked_at: None }
    }

    fn move_cursor(&mut self, stream: &str, moved: Cursor) {
        let standing = self.cursors.get(stream);
        if standing.is_none_or(|standing| *standing < moved) {
            self.cursors.insert(stream.to_owned(), moved);
        }
    }

    fn take(&mut self, event: &DeviceSyncEvent, used_by: Option<(&OperatorId, &str)>) {
        match event {
            DeviceSyncEvent::Heartbeat {
                device_id: _,
                app_version,
                network_mode,
                pending_actions,
                last_sync_at,
                clock_skew_ms,
                at,
            } => {
                let Some((operator_id, app_platform)) = used_by else { return };
                let report = Report {
                    at: *at,
                    operator_id: operator_id.clone(),
                    app_version: app_version.clone(),
                    app_platform: app_platform.to_owned(),
                    network_mode: network_mode.clone(),
                    pending_actions: *pending_actions,
                    last_sync_at: *last_sync_at,
                    clock_skew_ms: *clock_skew_ms,
                };
                self.report = self.report.take().max(Some(report));
            }
            DeviceSyncEvent::CursorAdvanced { stream, cursor, at, .. } => {
                self.move_cursor(stream, Cursor { at: *at, cursor: cursor.clone() });
            }
            // The one names no cursors; the other is kept beside, for a week.
            DeviceSyncEvent::HandshakeCompleted { .. } | DeviceSyncEvent::QueueHinted { .. } => (),
        }
    }
}

impl TableProjection for DeviceSyncStatus {
    const NAME: &'static str = "device-sync-status";
    type Row = Device;

    fn row_id(fact: &Fact) -> Option<String> {
        device_of(&fact.event).map(ToString::to_string)
    }

    fn evolve(row: Option<Device>, fact: &Fact) -> Device {
        let Some(device_id) = device_of(&fact.event) else {
            return row.expect("only facts with a row are folded");
        };
        let mut device = row.unwrap_or_else(|| Device::unknown(device_id.clone()));
        match &fact.event {
            FactEvent::DeviceSync { event, operator_id, app_platform } => {
                device.take(event, operator_id.as_ref().zip(app_platform.as_deref()));
            }
            FactEvent::OperatorSession(OperatorSessionEvent::Opened {
                property_ids,
                opened_at,
                ..
            }) => {
                let used_at = UsedAt { at: *opened_at, property_ids: property_ids.clone() };
                device.used_at = device.used_at.take().max(Some(used_at));
            }
            FactEvent::Upstream(UpstreamEvent::CursorAdvanced(it)) => {
                device.move_cursor(&it.stream, Cursor { at: it.at, cursor: it.cursor.clone() });
            }
            FactEvent::Upstream(UpstreamEvent::DeviceRevoked(it)) => {
                device.revoked_at = device.revoked_at.max(Some(it.at));
            }
            FactEvent::OperatorSession(_)
            | FactEvent::AlertAcknowledgment(_)
            | FactEvent::SuggestionDecision(_)
            | FactEvent::System(_)
            | FactEvent::Upstream(_) => (),
        }
        device
    }
}

/// The device a fact is about.
fn device_of(event: &FactEvent) -> Option<&DeviceId> {
    match event {
        FactEvent::DeviceSync { event, .. } => match event {
            DeviceSyncEvent::Heartbeat { device_id, .. }
            | DeviceSyncEvent::CursorAdvanced { device_id, .. } => Some(device_id),
            DeviceSyncEvent::HandshakeCompleted { .. } | DeviceSyncEvent::QueueHinted { .. } => {
                None
            }
        },
        FactEvent::OperatorSession(OperatorSessionEvent::Opened { device_id, .. }) => {
            Some(device_id)
        }
        FactEvent::Upstream(UpstreamEvent::CursorAdvanced(it)) => Some(&it.device_id),
        FactEvent::Upstream(UpstreamEvent::DeviceRevoked(it)) => Some(&it.device_id),
        FactEvent::OperatorSession(
            OperatorSessionEvent::Refreshed { .. }
            | OperatorSessionEvent::Idled { .. }
            | OperatorSessionEvent::Closed { .. }
            | OperatorSessionEvent::ForceLoggedOut { .. },
        )
        | FactEvent::AlertAcknowledgment(_)
        | FactEvent::SuggestionDecision(_)
        | FactEvent::System(_)
        | FactEvent::Upstream(
            UpstreamEvent::AlertRaised(_)
            | UpstreamEvent::AlertAcknowledged(_)
            | UpstreamEvent::AlertResolved(_)
            | UpstreamEvent::LockHealthAlert(_)
            | UpstreamEvent::LockCredential(_)
            | UpstreamEvent::SessionRevoked(_)
            | UpstreamEvent::UserLocked(_)
            | UpstreamEvent::Tenant(_)
            | UpstreamEvent::Suggestion(_)
            | UpstreamEvent::ActivityReplayed(_),
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use events::{TenantId, upstream::sync::CursorAdvanced};
    use proptest::prelude::*;

    use super::*;
    use crate::Log;

    #[test]
    fn the_last_report_counts_whenever_it_arrives() {
        let (early, late) = (heartbeat(1, 10), heartbeat(2, 20));
        for facts in [[&early, &late], [&late, &early]] {
            let report = fold(facts).report.unwrap();
            assert_eq!((report.pending_actions, report.at), (2, at(20)));
            assert_eq!(report.operator_id.as_str(), "usr_1");
        }
    }

    #[test]
    fn cursors_of_both_logs_are_one_row_and_of_each_stream_the_last_counts() {
        let ours = own(DeviceSyncEvent::CursorAdvanced {
            device_id: device(),
            stream: "rooms".to_owned(),
            from: None,
            cursor: "c1".to_owned(),
            at: at(1),
        });
        let (theirs, other) = (moved("rooms", "c2", 2), moved("folios", "f1", 1));
        let cursors = fold([&theirs, &ours, &other]).cursors;
        let standing: Vec<_> =
            cursors.iter().map(|(name, it)| (name.as_str(), &*it.cursor)).collect();
        assert_eq!(standing, [("folios", "f1"), ("rooms", "c2")]);
    }

    #[test]
    fn a_heartbeat_that_does_not_say_who_used_the_device_tells_nothing() {
        let mut fact = heartbeat(1, 10);
        let FactEvent::DeviceSync { operator_id, .. } = &mut fact.event else { unreachable!() };
        *operator_id = None;
        assert_eq!(fold([&fact]).report, None);
    }

    proptest! {
        /// Any order, any repetition, folded at once or in two parts of which one is joined later:
        /// the same row.
        #[test]
        fn facts_may_arrive_in_any_order_and_more_than_once(
            order in Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(0..7_usize, 0..7),
        ) {
            let facts = facts();
            let in_order = fold(&facts);
            let shuffled = order.iter().chain(&again).map(|index| &facts[*index]);
            prop_assert_eq!(fold(shuffled), in_order);
        }
    }

    fn facts() -> [Fact; 7] {
        let revoked = |seconds| {
            let at = at(seconds);
            upstream(UpstreamEvent::DeviceRevoked(events::upstream::iam::DeviceRevoked {
                device_id: device(),
                user_id: None,
                at,
            }))
        };
        let opened = |property: &str, seconds| Fact {
            event: FactEvent::OperatorSession(OperatorSessionEvent::Opened {
                session_id: "bos_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
                operator_id: "usr_1".parse().unwrap(),
                device_id: device(),
                iam_session_id: None,
                property_ids: vec![property.parse().unwrap()],
                roles: Vec::new(),
                opened_at: at(seconds),
            }),
            ..heartbeat(0, 0)
        };
        [
            heartbeat(1, 10),
            heartbeat(2, 20),
            opened("ppt_1", 5),
            opened("ppt_2", 15),
            moved("rooms", "c1", 1),
            moved("rooms", "c2", 2),
            revoked(3),
        ]
    }

    fn fold<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Device {
        facts.into_iter().fold(None, |row, fact| Some(DeviceSyncStatus::evolve(row, fact))).unwrap()
    }

    fn heartbeat(pending_actions: u32, seconds: i64) -> Fact {
        own(DeviceSyncEvent::Heartbeat {
            device_id: device(),
            app_version: "1.4.2".to_owned(),
            network_mode: "good".to_owned(),
            pending_actions,
            last_sync_at: None,
            clock_skew_ms: None,
            at: at(seconds),
        })
    }

    fn own(event: DeviceSyncEvent) -> Fact {
        let event = FactEvent::DeviceSync {
            event,
            operator_id: Some("usr_1".parse().unwrap()),
            app_platform: Some("linux".to_owned()),
        };
        Fact {
            tenant_id: TenantId::system(),
            log: Log::Ledger,
            position: 1,
            occurred_at: at(0),
            event,
        }
    }

    fn moved(stream: &str, cursor: &str, seconds: i64) -> Fact {
        upstream(UpstreamEvent::CursorAdvanced(CursorAdvanced {
            device_id: device(),
            stream: stream.to_owned(),
            cursor: cursor.to_owned(),
            at: at(seconds),
        }))
    }

    fn upstream(event: UpstreamEvent) -> Fact {
        Fact { log: Log::Inbox, event: FactEvent::Upstream(event), ..heartbeat(0, 0) }
    }

    fn device() -> DeviceId {
        "dev_1".parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
