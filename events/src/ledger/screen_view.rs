//! Ledger `activity`, stream `act_…`, one a view: which screens operators look at. A sample, by the
//! envelope's sampling rate.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};
use crate::PropertyId;

/// Somebody has looked at a screen; who and where is in the envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum ScreenViewEvent {
    /// The dashboard of a property was shown whole.
    ///
    /// Source: `GET /dashboard`.
    #[serde(rename = "melmastoon.bff.backoffice.dashboard.viewed.v1", rename_all = "camelCase")]
    DashboardViewed {
        property_id: PropertyId,
        /// Widgets that were not fresh: what was there of them, if anything, was old.
        partial: Vec<String>,
        /// From the request to the last widget, milliseconds.
        elapsed_ms: u64,
        at: DateTime<Utc>,
    },

    /// A board of a property was shown.
    ///
    /// Source: `GET /today`, `/arrivals` and the other boards.
    #[serde(rename = "melmastoon.bff.backoffice.workbench.viewed.v1", rename_all = "camelCase")]
    WorkbenchViewed {
        property_id: PropertyId,
        /// As its route names it.
        board: String,
        /// Sections that were not fresh.
        partial: Vec<String>,
        elapsed_ms: u64,
        at: DateTime<Utc>,
    },
}

impl LedgerEvent for ScreenViewEvent {
    const LEDGER: Ledger = Ledger::Activity;

    fn kind(&self) -> &'static str {
        match self {
            Self::DashboardViewed { .. } => "melmastoon.bff.backoffice.dashboard.viewed.v1",
            Self::WorkbenchViewed { .. } => "melmastoon.bff.backoffice.workbench.viewed.v1",
        }
    }
}

domain_event!(ScreenViewEvent);
