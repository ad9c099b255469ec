//! What a dashboard is answered with.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::composition::screens::Widget as Row;

/// One line of `application/x-ndjson`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "frame", rename_all = "lowercase")]
#[schema(as = DashboardFrame)]
pub enum Frame {
    Skeleton(Skeleton),
    Widget(Widget),
    End(End),
}

/// Which widgets there will be.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DashboardSkeleton)]
pub struct Skeleton {
    /// `dsh_<ULID>`, of this answer alone.
    pub dashboard_id: String,
    pub property_id: String,
    pub widgets: Vec<Announced>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DashboardWidgetAnnounced)]
pub struct Announced {
    pub id: &'static str,
    /// In the caller's language.
    pub title: String,
    /// `counter`, `figure`, `breakdown` or `card`.
    pub kind: &'static str,
    /// How long it is waited for.
    pub deadline_ms: u64,
}

/// One widget.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DashboardWidget)]
pub struct Widget {
    pub id: &'static str,
    /// `ok`, `stale`, `timeout`, `error` or `forbidden`.
    pub status: &'static str,
    /// When its upstream said so; the oldest of its parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// `snapshot` or `live`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// For the operator, when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_message: Option<String>,
    /// By the widget; null when nothing is known.
    pub data: Option<Map<String, Value>>,
}

/// How it went.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DashboardEnd)]
pub struct End {
    /// Every widget that the caller may see is `ok`.
    pub complete: bool,
    /// The widgets that are not.
    pub partial: Vec<&'static str>,
    /// Since the request came in.
    pub elapsed_ms: u64,
}

/// All frames in one document.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Dashboard)]
pub struct Document {
    pub dashboard_id: String,
    pub property_id: String,
    /// In the order of the skeleton.
    pub widgets: Vec<Widget>,
    #[serde(flatten)]
    pub end: End,
}

impl Widget {
    pub(super) const fn of(row: &Row, status: &'static str) -> Self {
        let (as_of, source, user_message, data) = (None, None, None, None);
        Self { id: row.id, status, as_of, source, user_message, data }
    }
}
