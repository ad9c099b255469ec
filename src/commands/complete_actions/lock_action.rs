//! An action on a lock without an outcome: looked for, and recorded when it is found.

use super::{Completer, Due, REPEATED_FOR, alarm, context, finding::Search};
use crate::{
    aggregates::{
        LockAction,
        lock_action::{Command, Progress},
    },
    commands::{
        CommandError,
        lock_action::{Loaded, load},
    },
};

/// Looks for the outcome, and records it.
///
/// # Errors
/// When the database fails.
pub(super) async fn complete(completer: &Completer, due: &Due) -> anyhow::Result<()> {
    let Completer { resources, jobs, .. } = completer;
    let Loaded { action, metadata } =
        load(&resources.ledger, &due.tenant_id, &due.stream).await.map_err(CommandError::from)?;
    let (Progress::Open(wanted), Some(metadata)) = (action.progress(), metadata) else {
        // It has an outcome by now; its row goes when the cursor gets there.
        return Ok(());
    };
    let context = context(&metadata);
    let search = Search { resources, jobs, due, wanted, metadata: &metadata, context: &context };
    let found = search.outcome().await?;
    let at = resources.clock.now();
    let command = match found {
        Some((outcome, found_by)) => Command::Settle { outcome, found_by, at },
        None if REPEATED_FOR <= due.age && !action.is_lost() => Command::LoseSight { at },
        None => {
            alarm(due);
            return Ok(());
        }
    };
    completer.record::<LockAction>(due, (command, None), (metadata, &context)).await
}
