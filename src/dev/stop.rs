//! Notices that it is time to stop: a signal, or the end of the process that started this one.

use std::{os::unix::process::parent_id, time::Duration};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A killed parent cannot tell; so it is looked after.
const PARENT_INTERVAL: Duration = Duration::from_millis(500);

/// Listens from the moment it is made.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    parent: u32,
}

impl StopSignal {
    /// # Errors
    /// The operating system refuses a signal handler.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            parent: parent_id(),
        })
    }

    /// Waits for the first reason to stop, and names it.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "told to end",
            _ = self.hang_up.recv() => "the terminal is gone",
            () = parent_ended(self.parent) => "the process that started this one is gone",
        }
    }
}

async fn parent_ended(parent: u32) {
    while parent_id() == parent {
        tokio::time::sleep(PARENT_INTERVAL).await;
    }
}
