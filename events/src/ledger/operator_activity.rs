//! Ledger `activity`, stream `act_…`, one a request: what an operator did at the desktop that
//! concerns no other service.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};

/// What one request told of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum OperatorActivityEvent {
    /// The operator did something; who, where and with which device is in the envelope.
    ///
    /// Source: one item of `POST /activity`, or sync-service for what was done offline.
    #[serde(rename = "melmastoon.bff.backoffice.activity.recorded.v1")]
    Recorded(Activity),

    /// Members of the operator's preferences have changed; their values are tenant-service's.
    ///
    /// Source: `PUT /preferences`.
    #[serde(rename = "melmastoon.bff.backoffice.preferences.changed.v1", rename_all = "camelCase")]
    PreferencesChanged { members: Vec<String>, at: DateTime<Utc> },

    /// Actions of the desktop have got other keys.
    ///
    /// Source: `PUT /shortcuts`, `PUT /shortcuts/tenant`.
    #[serde(rename = "melmastoon.bff.backoffice.shortcuts.changed.v1", rename_all = "camelCase")]
    ShortcutsChanged {
        /// Absent in older events: the operator's own.
        #[serde(default)]
        level: Level,
        members: Vec<String>,
        at: DateTime<Utc>,
    },
}

/// For whom keys were changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For the one who changed them.
    #[default]
    Operator,
    /// For everybody of the tenant who has not chosen differently.
    Tenant,
}

/// One thing an operator did. Ids and small values only, nothing personal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Of the catalogue of verbs, such as `board.opened`.
    pub verb: String,
    /// By the device's clock.
    pub at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Scalar>,
    pub origin: Origin,
    /// sync-service's id of the replay, where the origin is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_id: Option<String>,
}

/// What was acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// `reservation`, `task` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Opaque, 1–64 characters.
    pub id: String,
}

/// How we know of an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The desktop told us.
    Online,
    /// It was done without a network and came later, by way of sync-service.
    OfflineReplay,
}

/// A small value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    Switch(bool),
    Number(i64),
    /// An id or a word, 1–64 characters.
    Word(String),
}

impl LedgerEvent for OperatorActivityEvent {
    const LEDGER: Ledger = Ledger::Activity;

    fn kind(&self) -> &'static str {
        match self {
            Self::Recorded(_) => "melmastoon.bff.backoffice.activity.recorded.v1",
            Self::PreferencesChanged { .. } => "melmastoon.bff.backoffice.preferences.changed.v1",
            Self::ShortcutsChanged { .. } => "melmastoon.bff.backoffice.shortcuts.changed.v1",
        }
    }
}

domain_event!(OperatorActivityEvent);
