//! A dead letter is put on record: `relay.dead_lettered` in the tenant's `system` ledger, once an
//! event.

use events::{Metadata, StreamId, ledger::system::SystemEvent};

use super::{
    super::{Append, AppendError, NewEvent, StreamWrite},
    Relay, RelayError,
    parked::{self, GivenUp, Unfinished},
};

const PAGE_MAX: i64 = 100;

/// Declares every dead letter that is not declared yet; false when some have to wait for another
/// time.
///
/// # Errors
/// When the relay's tables fail. A ledger that takes nothing at the moment is no error.
pub(super) async fn all(relay: Relay) -> Result<bool, RelayError> {
    let mut after = 0;
    loop {
        let page =
            parked::dead_letters(&relay.pool, Unfinished::Undeclared, after, PAGE_MAX).await?;
        let Some(last) = page.last() else { return Ok(true) };
        after = last.place.position;
        for dead_letter in page {
            match relay.ledger.append(declaration(&relay, &dead_letter)?).await {
                // A conflict: it was declared before, and only the note of it was lost.
                Ok(_) | Err(AppendError::Conflict { .. }) => {
                    let id = (&dead_letter.key.tenant_id, &dead_letter.event_id);
                    let now = relay.clock.now();
                    parked::finish(&relay.pool, Unfinished::Undeclared, id, now).await?;
                }
                Err(error) => {
                    tracing::warn!(event_id = %dead_letter.event_id, error = %error,
                        "a dead letter cannot be declared yet");
                    return Ok(false);
                }
            }
        }
    }
}

/// The stream is derived from the event, so that the version check lets one declaration in.
fn declaration(relay: &Relay, dead_letter: &GivenUp) -> Result<Append, RelayError> {
    let GivenUp { key, place, event_id, reason, at } = dead_letter;
    let corrupt = || RelayError::Corrupt { position: place.position };
    let event = SystemEvent::RelayDeadLettered {
        event_id: event_id.clone(),
        topic: key.ledger.topic(),
        position: place.position,
        reason: reason.clone(),
        at: *at,
    };
    let stream: StreamId = format!("rdl:{event_id}").parse().map_err(|_| corrupt())?;
    let new = NewEvent::new(&event, None, *at).map_err(|_| corrupt())?;
    let write = StreamWrite {
        stream,
        ledger: events::Ledger::System,
        expected_version: 0,
        events: vec![new],
    };
    let metadata = Metadata {
        producer_instance: relay.settings.instance.clone(),
        sampling_per_mille: 1_000,
        ..Metadata::default()
    };
    Ok(Append { tenant_id: key.tenant_id.clone(), writes: vec![write], claim: None, metadata })
}
