//! The events of an action on a lock, written from what led to them.

use chrono::{DateTime, Utc};
use events::ledger::lock_action::{LockActionEvent, LockFinding, LockResolution};

use super::{Denial, Failure, Outcome, Wanted};

pub(super) fn requested(wanted: Wanted) -> LockActionEvent {
    let Wanted { action_id, lock_id, property_id, vendor, demand, upstream_key, at } = wanted;
    LockActionEvent::Requested {
        action_id,
        lock_id,
        property_id,
        vendor,
        demand,
        upstream_key,
        requested_at: at,
    }
}

pub(super) fn denied(denial: Denial) -> LockActionEvent {
    let Denial { action_id, action, lock_id, failure, at: failed_at } = denial;
    let Failure { reason, status, code } = failure;
    LockActionEvent::Failed { action_id, action, lock_id, reason, status, code, failed_at }
}

/// The outcome of what was never lost sight of.
pub(super) fn concluded(wanted: &Wanted, outcome: Outcome, at: DateTime<Utc>) -> LockActionEvent {
    let (action_id, lock_id) = (wanted.action_id.clone(), wanted.lock_id.clone());
    match outcome {
        Outcome::Done(key_credential_id) => {
            LockActionEvent::Completed { action_id, lock_id, key_credential_id, completed_at: at }
        }
        Outcome::Failed(failure) => {
            let action = wanted.demand.kind();
            denied(Denial { action_id, action, lock_id, failure, at })
        }
    }
}

/// The outcome of what had been lost sight of, and how it was found.
pub(super) fn resolved(
    wanted: &Wanted,
    outcome: Outcome,
    found_by: LockFinding,
    resolved_at: DateTime<Utc>,
) -> LockActionEvent {
    let (outcome, key_credential_id, failure) = match outcome {
        Outcome::Done(key) => (LockResolution::Completed, Some(key), None),
        Outcome::Failed(failure) => (LockResolution::Failed, None, Some(failure)),
    };
    LockActionEvent::Resolved {
        action_id: wanted.action_id.clone(),
        lock_id: wanted.lock_id.clone(),
        outcome,
        found_by,
        key_credential_id,
        reason: failure.as_ref().map(|failure| failure.reason),
        status: failure.as_ref().and_then(|failure| failure.status),
        code: failure.map(|failure| failure.code).unwrap_or_default(),
        resolved_at,
    }
}
