//! What is switched while the service runs: version floors, feature flags, sampling rates. One JSON
//! document in the session tier, read anew every half minute; a bad one changes nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    store::{SessionTier, StoreError},
    strict_json,
    version_floor::VersionFloor,
};

/// Where the document is. The name is the platform's, so it has no tenant and no `g:`.
pub const KEY: &str = "bff-backoffice-flags";
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// The document. Members that are not there are empty; others than these make it a bad one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Document {
    pub version_floor: VersionFloor,
    /// Features by name; one that is not there is off.
    pub flags: BTreeMap<String, bool>,
    /// Shares by name, each 0 to 1.
    pub sampling: BTreeMap<String, Share>,
}

/// A part of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(f64);

/// Why the last document that was good stays in force.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    #[error("the document of flags cannot be fetched")]
    Store(#[from] StoreError),
    #[error("the document of flags is not of its form")]
    Malformed,
}

/// The document in force. Cheap to clone.
#[derive(Clone)]
pub struct Flags {
    tier: SessionTier,
    interval: Duration,
    current: Arc<watch::Sender<Arc<Document>>>,
}

impl Share {
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Share {
    type Error = &'static str;

    fn try_from(share: f64) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err("not between 0 and 1") }
    }
}

impl Document {
    fn read(json: &[u8]) -> Option<Self> {
        if json.len() > DOCUMENT_BYTES_MAX { None } else { strict_json::object(json) }
    }
}

impl Flags {
    /// Nothing is in force before the first [`Self::refresh`].
    pub(super) fn new(tier: SessionTier, interval: Duration) -> Self {
        Self { tier, interval, current: Arc::new(watch::Sender::default()) }
    }

    pub fn current(&self) -> Arc<Document> {
        Arc::clone(&self.current.borrow())
    }

    /// Told of each change.
    pub fn watch(&self) -> watch::Receiver<Arc<Document>> {
        self.current.subscribe()
    }

    /// Fetches the document; where there is none, nothing is in force.
    ///
    /// # Errors
    /// What was in force stays so.
    pub async fn refresh(&self) -> Result<(), FlagsError> {
        let fetched = self.fetch().await;
        let is_good = if fetched.is_ok() { 1.0 } else { 0.0 };
        metrics::gauge!("bff_backoffice_flags_good").set(is_good);
        let document = fetched?;
        self.current.send_if_modified(|current| {
            let is_new = **current != document;
            if is_new {
                tracing::info!(version_floor = ?document.version_floor, "flags have changed");
                *current = Arc::new(document);
            }
            is_new
        });
        Ok(())
    }

    async fn fetch(&self) -> Result<Document, FlagsError> {
        match self.tier.get(KEY).await? {
            None => Ok(Document::default()),
            Some(json) => Document::read(&json).ok_or(FlagsError::Malformed),
        }
    }

    /// Keeps the document fresh until `shutdown`.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => (),
            }
            self.refresh_or_report().await;
        }
    }

    /// As [`Self::refresh`]; a failure is an alarm, and what was in force stays so.
    pub async fn refresh_or_report(&self) {
        if let Err(error) = self.refresh().await {
            let cause = std::error::Error::source(&error).map(tracing::field::display);
            tracing::error!(%error, cause, "the flags that were in force stay so");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AppPlatform;

    #[test]
    fn the_documented_form_is_read() {
        let document = Document::read(
            br#"{"versionFloor":{"win32":"1.2.3","linux":"1.4.0-rc.1"},
                 "flags":{"live-poll":true},"sampling":{"dashboard.viewed":0.25}}"#,
        )
        .unwrap();
        assert_eq!(document.version_floor.of(AppPlatform::Win32).unwrap().to_string(), "1.2.3");
        assert_eq!(document.version_floor.of(AppPlatform::Darwin), None);
        assert!(document.flags["live-poll"]);
        assert!((document.sampling["dashboard.viewed"].get() - 0.25).abs() < f64::EPSILON);
        assert_eq!(Document::read(b"{}"), Some(Document::default()));
    }

    #[test]
    fn another_form_is_no_document() {
        for bad in [
            "",
            "null",
            "[]",
            "{} {}",
            r#"{"versionFloors":{}}"#,
            r#"{"versionFloor":{"win32":"1.2"}}"#,
            r#"{"versionFloor":{"win32":null}}"#,
            r#"{"versionFloor":{"beos":"1.2.3"}}"#,
            r#"{"versionFloor":{"win32":"1.2.3"},"versionFloor":{}}"#,
            r#"{"flags":{"a":"yes"}}"#,
            r#"{"flags":null}"#,
            r#"{"sampling":{"a":1.5}}"#,
            r#"{"sampling":{"a":-0.1}}"#,
        ] {
            assert_eq!(Document::read(bad.as_bytes()), None, "{bad}");
        }
        let long = format!(r#"{{"flags":{{"{}":true}}}}"#, "x".repeat(DOCUMENT_BYTES_MAX));
        assert_eq!(Document::read(long.as_bytes()), None);
    }
}
