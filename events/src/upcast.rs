//! Old schema versions become current ones at read; what is stored never changes.

use serde_json::Value;

/// A kind that no reader of this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reader for kind {0}")]
pub struct UnknownKind(pub String);

/// The kinds of [`crate::ledger`] in their current versions.
pub const CURRENT_KINDS: &[&str] = &[
    "melmastoon.bff.backoffice.alert.acknowledged.v1",
    "melmastoon.bff.backoffice.acknowledgment.forwarded.v1",
    "melmastoon.bff.backoffice.acknowledgment.forward_failed.v1",
    "melmastoon.bff.backoffice.session.opened.v1",
    "melmastoon.bff.backoffice.session.refreshed.v1",
    "melmastoon.bff.backoffice.session.idled.v1",
    "melmastoon.bff.backoffice.session.closed.v1",
    "melmastoon.bff.backoffice.session.force_logged_out.v1",
    "melmastoon.bff.backoffice.mfa.stepped_up.v1",
    "melmastoon.bff.backoffice.mfa.consumed.v1",
    "melmastoon.bff.backoffice.mfa.refused.v1",
    "melmastoon.bff.backoffice.suggestion.decided.v1",
    "melmastoon.bff.backoffice.decision.reported.v1",
    "melmastoon.bff.backoffice.decision.report_failed.v1",
    "melmastoon.bff.backoffice.mutation.requested.v1",
    "melmastoon.bff.backoffice.mutation.completed.v1",
    "melmastoon.bff.backoffice.mutation.refused.v1",
    "melmastoon.bff.backoffice.mutation.outcome_unknown.v1",
    "melmastoon.bff.backoffice.mutation.resolved.v1",
    "melmastoon.bff.backoffice.lock_action.requested.v1",
    "melmastoon.bff.backoffice.lock_action.completed.v1",
    "melmastoon.bff.backoffice.lock_action.failed.v1",
    "melmastoon.bff.backoffice.lock_action.outcome_unknown.v1",
    "melmastoon.bff.backoffice.lock_action.resolved.v1",
    "melmastoon.bff.backoffice.device.heartbeat.v1",
    "melmastoon.bff.backoffice.sync.handshake_completed.v1",
    "melmastoon.bff.backoffice.sync.cursor_advanced.v1",
    "melmastoon.bff.backoffice.offline_queue.hinted.v1",
    "melmastoon.bff.backoffice.dashboard.viewed.v1",
    "melmastoon.bff.backoffice.workbench.viewed.v1",
    "melmastoon.bff.backoffice.activity.recorded.v1",
    "melmastoon.bff.backoffice.preferences.changed.v1",
    "melmastoon.bff.backoffice.shortcuts.changed.v1",
    "melmastoon.bff.backoffice.relay.dead_lettered.v1",
    "melmastoon.bff.backoffice.projection.rebuilt.v1",
];

/// Brings the `data` of a stored event to its kind's current version.
///
/// # Errors
/// [`UnknownKind`] for a kind that has no path to a current one: a newer binary wrote it.
pub fn upcast(kind: &str, data: Value) -> Result<(&'static str, Value), UnknownKind> {
    CURRENT_KINDS
        .iter()
        .find(|current| **current == kind)
        .map(|current| (*current, data))
        .ok_or_else(|| UnknownKind(kind.to_owned()))
}
