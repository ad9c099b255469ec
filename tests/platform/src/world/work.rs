//! What housekeeping and maintenance have to do.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::item;

/// A housekeeping task.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    pub room_id: String,
    pub kind: &'static str,
    pub priority: &'static str,
    pub state: TaskState,
    pub scheduled_for: DateTime<Utc>,
    pub version: u32,
}
item!(Task);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Created,
    Started,
    Completed,
    Inspected,
}

impl TaskState {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Inspected => "inspected",
        }
    }
}

/// A maintenance work order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrder {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    pub room_id: Option<String>,
    pub title: String,
    pub category: String,
    pub severity: String,
    pub state: WorkOrderState,
    pub assigned_to: Option<String>,
    pub opened_at: DateTime<Utc>,
    pub version: u32,
}
item!(WorkOrder);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkOrderState {
    Open,
    Assigned,
    Blocked,
    Resolved,
    Verified,
}

impl WorkOrderState {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Assigned => "assigned",
            Self::Blocked => "blocked",
            Self::Resolved => "resolved",
            Self::Verified => "verified",
        }
    }
}
