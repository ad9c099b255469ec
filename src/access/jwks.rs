//! An issuer's public keys: fetched in the background, kept while the issuer is down, asked for anew
//! at most every 30 seconds when a token names a key we do not know.

mod key_set;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::future::BoxFuture;
use jsonwebtoken::DecodingKey;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use self::key_set::Algorithm;
use self::key_set::KeySet;

/// The background refresh comes every 5 min ± 20 %.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
const REFRESH_JITTER: f64 = 0.2;
/// A failed refresh is tried again after 1 s, then 2 s … 30 s.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// Keys older than this are not believed any more, whatever the issuer's state.
const STALE_MAX: Duration = Duration::from_secs(3600);
/// Requests cause one fetch in this time, counted from the attempt, whatever came of it.
const COOLDOWN: Duration = Duration::from_secs(30);
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Key ids that were asked for in vain, and how long no fetch is made for them.
const UNKNOWN_MAX: usize = 128;
const UNKNOWN_TTL: Duration = Duration::from_secs(60);

/// Fetches a document: no redirects followed, an error for any status but 200.
pub type Fetch = Arc<dyn Fn(Url) -> BoxFuture<'static, Result<Bytes, FetchError>> + Send + Sync>;

/// The key set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the issuer did not answer with a key set")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the issuer did not answer in 3 s")]
    TimedOut,
    #[error("the key set is larger than 256 KiB")]
    TooLarge,
    #[error("the document holds no usable key set")]
    Unusable,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// The issuer has no such key: the token is not good.
    #[error("unknown key")]
    UnknownKey,
    /// We have no keys to judge by.
    #[error("the issuer's keys are not available")]
    Unavailable,
}

/// The keys of one issuer.
pub struct Jwks {
    url: Url,
    fetch: Fetch,
    algorithms: Vec<Algorithm>,
    keys: ArcSwapOption<Fetched>,
    last_attempt: Mutex<Option<Attempt>>,
    unknown: Mutex<HashMap<String, Instant>>,
    /// Held while a request fetches, so that the others wait for the same answer.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Attempt {
    at: Instant,
    succeeded: bool,
}

struct Fetched {
    keys: KeySet,
    at: Instant,
}

impl Jwks {
    /// `algorithms` are the only ones a token of this issuer may be signed with.
    pub fn new(url: Url, algorithms: Vec<Algorithm>, fetch: Fetch) -> Self {
        Self {
            url,
            fetch,
            algorithms,
            keys: ArcSwapOption::empty(),
            last_attempt: Mutex::new(None),
            unknown: Mutex::new(HashMap::new()),
            flight: tokio::sync::Mutex::new(()),
        }
    }

    /// The algorithm a token's header names, if this issuer uses it.
    pub fn algorithm(&self, name: &str) -> Option<Algorithm> {
        self.algorithms.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// Whether there are keys to judge by, not older than an hour.
    pub fn is_usable(&self) -> bool {
        self.usable().is_some()
    }

    /// The key `kid`, for `algorithm`. Waits for one fetch (≤ 3 s) when it is not known.
    ///
    /// # Errors
    /// `UnknownKey` when the issuer does not have it, `Unavailable` when that cannot be known.
    pub async fn key(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, JwksError> {
        if let Some(key) = self.known(kid, algorithm) {
            return Ok(key);
        }
        if self.may_ask_for(kid) {
            let _flight = self.flight.lock().await;
            if let Some(key) = self.known(kid, algorithm) {
                return Ok(key);
            }
            // Whoever held the flight before may have asked already.
            if self.may_ask_for(kid)
                && let Err(error) = self.refresh().await
            {
                tracing::warn!(url = %self.url, error = %error, "key set not refreshed");
            }
        }
        if let Some(key) = self.known(kid, algorithm) {
            return Ok(key);
        }
        // After a failed attempt nobody can say whether the issuer has a new key.
        let may_be_new = !lock(&self.last_attempt).is_some_and(|attempt| attempt.succeeded);
        if may_be_new || !self.is_usable() {
            return Err(JwksError::Unavailable);
        }
        self.note_unknown(kid);
        Err(JwksError::UnknownKey)
    }

    /// Fetches the key set once and keeps it if at least one key in it is usable.
    ///
    /// # Errors
    /// What went wrong; the keys that were there before stay.
    pub async fn refresh(&self) -> Result<(), FetchError> {
        *lock(&self.last_attempt) = Some(Attempt { at: Instant::now(), succeeded: false });
        let document = timeout(FETCH_TIMEOUT, (self.fetch)(self.url.clone()))
            .await
            .map_err(|_| FetchError::TimedOut)??;
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        let keys = KeySet::read(&document).ok_or(FetchError::Unusable)?;
        self.keys.store(Some(Arc::new(Fetched { keys, at: Instant::now() })));
        lock(&self.unknown).clear();
        *lock(&self.last_attempt) = Some(Attempt { at: Instant::now(), succeeded: true });
        Ok(())
    }

    /// Keeps the keys fresh until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut retry_delay = RETRY_DELAY_MIN;
        loop {
            let delay = match self.refresh().await {
                Ok(()) => {
                    retry_delay = RETRY_DELAY_MIN;
                    let factor = 1.0 + rand::rng().random_range(-REFRESH_JITTER..=REFRESH_JITTER);
                    REFRESH_INTERVAL.mul_f64(factor)
                }
                Err(error) => {
                    tracing::warn!(url = %self.url, error = %error, "key set not refreshed");
                    let delay = retry_delay;
                    retry_delay = (retry_delay * 2).min(RETRY_DELAY_MAX);
                    delay
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(delay) => (),
            }
        }
    }

    fn usable(&self) -> Option<Arc<Fetched>> {
        self.keys.load_full().filter(|fetched| fetched.at.elapsed() <= STALE_MAX)
    }

    fn known(&self, kid: &str, algorithm: Algorithm) -> Option<DecodingKey> {
        self.usable()?.keys.find(kid, algorithm).cloned()
    }

    fn may_ask_for(&self, kid: &str) -> bool {
        let is_cooling =
            lock(&self.last_attempt).is_some_and(|attempt| attempt.at.elapsed() < COOLDOWN);
        let is_unknown =
            lock(&self.unknown).get(kid).is_some_and(|since| since.elapsed() < UNKNOWN_TTL);
        !is_cooling && !is_unknown
    }

    fn note_unknown(&self, kid: &str) {
        let mut unknown = lock(&self.unknown);
        unknown.retain(|_, since| since.elapsed() < UNKNOWN_TTL);
        if unknown.len() < UNKNOWN_MAX {
            unknown.entry(kid.to_owned()).or_insert_with(Instant::now);
        }
    }
}

/// Nothing panics while these locks are held; a poisoned one holds what it held.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
