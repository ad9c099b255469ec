//! An issuer's public keys: fetched in the background, kept while the issuer is down, asked for
//! anew at most every 30 seconds when a token names a key we do not know.

mod key_set;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);
const REFRESH_JITTER: f64 = 0.2;
/// A failed refresh is tried again after 1 s, then 2 s … 30 s.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// Keys older than this are not believed any more, whatever the issuer's state.
const STALE_MAX: Duration = Duration::from_hours(1);
/// Requests cause one fetch in this time, counted from the attempt, whatever came of it. The
/// background refresh does not count: it must not delay a key that a token names right after it.
const COOLDOWN: Duration = Duration::from_secs(30);
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Key ids that were asked for in vain, and how long no fetch is made for them.
const UNKNOWN_MAX: usize = 128;
const UNKNOWN_TTL: Duration = Duration::from_mins(1);

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
    /// Whether the last fetch brought keys.
    last_succeeded: AtomicBool,
    /// When a request last caused a fetch.
    last_asked: Mutex<Option<Instant>>,
    unknown: Mutex<HashMap<String, Instant>>,
    /// Held while a request fetches, so that the others wait for the same answer.
    flight: tokio::sync::Mutex<()>,
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
            last_succeeded: AtomicBool::new(false),
            last_asked: Mutex::new(None),
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
        let is_asked_now = self.flight.try_lock().is_err();
        if !self.is_unknown(kid) && (is_asked_now || !self.is_cooling()) {
            let _flight = self.flight.lock().await;
            if let Some(key) = self.known(kid, algorithm) {
                return Ok(key);
            }
            // Whoever held the flight before may have asked already.
            if !self.is_unknown(kid) && !self.is_cooling() {
                *lock(&self.last_asked) = Some(Instant::now());
                if let Err(error) = self.refresh().await {
                    self.warn(&error);
                }
            }
        }
        if let Some(key) = self.known(kid, algorithm) {
            return Ok(key);
        }
        // After a failed attempt nobody can say whether the issuer has a new key.
        let may_be_new = !self.last_succeeded.load(Ordering::Relaxed);
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
        self.last_succeeded.store(false, Ordering::Relaxed);
        let document = timeout(FETCH_TIMEOUT, (self.fetch)(self.url.clone()))
            .await
            .map_err(|_| FetchError::TimedOut)??;
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        let keys = KeySet::read(&document, &self.algorithms).ok_or(FetchError::Unusable)?;
        self.keys.store(Some(Arc::new(Fetched { keys, at: Instant::now() })));
        lock(&self.unknown).clear();
        self.last_succeeded.store(true, Ordering::Relaxed);
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
                    self.warn(&error);
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

    fn warn(&self, error: &FetchError) {
        let error: &dyn std::error::Error = error;
        tracing::warn!(url = %self.url, error, "key set not refreshed");
    }

    fn usable(&self) -> Option<Arc<Fetched>> {
        self.keys.load_full().filter(|fetched| fetched.at.elapsed() <= STALE_MAX)
    }

    fn known(&self, kid: &str, algorithm: Algorithm) -> Option<DecodingKey> {
        self.usable()?.keys.find(kid, algorithm).cloned()
    }

    fn is_cooling(&self) -> bool {
        lock(&self.last_asked).is_some_and(|at| at.elapsed() < COOLDOWN)
    }

    fn is_unknown(&self, kid: &str) -> bool {
        lock(&self.unknown).get(kid).is_some_and(|since| since.elapsed() < UNKNOWN_TTL)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::{FutureExt, future::join_all};
    use p256::{
        ecdsa::{SigningKey, signature::Signer},
        elliptic_curve::Generate,
    };
    use serde_json::{Value, json};
    use tokio::time::advance;

    use super::*;
    use crate::access::jws::encode;

    /// An issuer whose answers a test sets and whose requests it counts.
    #[derive(Default)]
    struct Issuer {
        document: Mutex<Option<Bytes>>,
        asked: AtomicUsize,
    }

    impl Issuer {
        fn serve(&self, document: &Value) {
            *lock(&self.document) = Some(Bytes::from(document.to_string()));
        }

        fn fail(&self) {
            *lock(&self.document) = None;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn jwks(issuer: &Arc<Issuer>) -> Jwks {
        let issuer = Arc::clone(issuer);
        let fetch: Fetch = Arc::new(move |_| {
            issuer.asked.fetch_add(1, Ordering::SeqCst);
            let answer = lock(&issuer.document).clone();
            async move {
                tokio::task::yield_now().await;
                answer.ok_or_else(|| FetchError::Failed("down".into()))
            }
            .boxed()
        });
        let url = "https://iam.example/jwks.json".parse().unwrap();
        Jwks::new(url, vec![Algorithm::Es256, Algorithm::EdDsa], fetch)
    }

    fn key(kid: &str) -> Value {
        key_of(&SigningKey::generate(), kid)
    }

    fn key_of(signer: &SigningKey, kid: &str) -> Value {
        let point = signer.verifying_key().to_sec1_point(false);
        let (x, y) = (encode(&point.as_bytes()[1..33]), encode(&point.as_bytes()[33..]));
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": x, "y": y })
    }

    fn keys(kids: &[&str]) -> Value {
        json!({ "keys": kids.iter().map(|kid| key(kid)).collect::<Vec<_>>() })
    }

    async fn find(jwks: &Jwks, kid: &str) -> Result<(), JwksError> {
        jwks.key(kid, Algorithm::Es256).await.map(|_| ())
    }

    #[tokio::test(start_paused = true)]
    async fn jw_01_02_keys_outlive_their_issuer_for_an_hour() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        issuer.serve(&keys(&["a"]));
        jwks.refresh().await.unwrap();
        issuer.fail();

        advance(Duration::from_hours(1)).await;
        assert!(jwks.refresh().await.is_err());
        assert_eq!(find(&jwks, "a").await, Ok(()));
        advance(Duration::from_secs(1)).await;
        assert_eq!(find(&jwks, "a").await, Err(JwksError::Unavailable));
        assert!(!jwks.is_usable());
    }

    #[tokio::test(start_paused = true)]
    async fn jw_03_a_flood_of_unknown_keys_makes_one_request_in_thirty_seconds() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        issuer.serve(&keys(&["a"]));
        jwks.refresh().await.unwrap();
        for round in 0..3 {
            advance(COOLDOWN).await;
            let flood = (0..10_000).map(|number| {
                let jwks = &jwks;
                async move { find(jwks, &format!("k{round}-{number}")).await }
            });
            let answers = join_all(flood).await;
            assert!(answers.iter().all(|answer| *answer == Err(JwksError::UnknownKey)));
            assert_eq!(find(&jwks, "a").await, Ok(()));
            assert_eq!(issuer.asked(), 2 + round);
            assert!(lock(&jwks.unknown).len() <= UNKNOWN_MAX);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn jw_03_an_attempt_that_brought_nothing_counts_as_well() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        issuer.serve(&keys(&["a"]));
        jwks.refresh().await.unwrap();
        issuer.serve(&json!({ "keys": [] }));
        for second in 0..60 {
            for number in 0..100 {
                let found = find(&jwks, &format!("k{second}-{number}")).await;
                assert_eq!(found, Err(JwksError::Unavailable), "the issuer gives no answer");
            }
            assert_eq!(find(&jwks, "a").await, Ok(()));
            assert_eq!(issuer.asked(), if second < 30 { 2 } else { 3 }, "after {second} s");
            advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_unknown_key_is_asked_for_once_a_minute() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        issuer.serve(&keys(&["a"]));
        jwks.refresh().await.unwrap();
        for (wait, asked) in [(30, 2), (31, 2), (30, 3)] {
            advance(Duration::from_secs(wait)).await;
            assert_eq!(find(&jwks, "b").await, Err(JwksError::UnknownKey));
            assert_eq!(issuer.asked(), asked, "{wait}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_anothers_question_does_not_ask_it_again() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        issuer.serve(&keys(&["a"]));
        let answers = tokio::join!(find(&jwks, "b"), find(&jwks, "b"));
        assert_eq!(answers, (Err(JwksError::UnknownKey), Err(JwksError::UnknownKey)));
        assert_eq!(issuer.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn jw_04_05_a_rotated_key_is_found_at_once_or_with_the_next_refresh() {
        let issuer = Arc::new(Issuer::default());
        let jwks = Arc::new(jwks(&issuer));
        issuer.serve(&keys(&["a"]));
        let shutdown = CancellationToken::new();
        let worker = async {
            jwks.run(shutdown.clone()).await;
        };
        let test = async {
            while !jwks.is_usable() {
                tokio::task::yield_now().await;
            }
            issuer.serve(&keys(&["b"]));
            assert_eq!(find(&jwks, "b").await, Ok(()), "asked for at once");
            assert_eq!(find(&jwks, "a").await, Err(JwksError::UnknownKey), "gone with its set");

            issuer.serve(&keys(&["c"]));
            assert_eq!(find(&jwks, "c").await, Err(JwksError::UnknownKey), "spent by an attacker");
            sleep(REFRESH_INTERVAL.mul_f64(1.0 + REFRESH_JITTER)).await;
            assert_eq!(find(&jwks, "c").await, Ok(()), "refreshed in the background");
            shutdown.cancel();
        };
        tokio::join!(worker, test);
    }

    #[tokio::test(start_paused = true)]
    async fn jw_05_in_a_rotation_with_overlap_nobody_is_refused() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        let (old, new) = (key("old"), key("new"));
        issuer.serve(&json!({ "keys": [old] }));
        jwks.refresh().await.unwrap();

        issuer.serve(&json!({ "keys": [new, old] }));
        for kid in ["old", "new", "old", "new"] {
            assert_eq!(find(&jwks, kid).await, Ok(()), "{kid}");
        }
        assert_eq!(issuer.asked(), 2, "one fetch for the key that was not known");

        issuer.serve(&json!({ "keys": [new] }));
        jwks.refresh().await.unwrap();
        assert_eq!(find(&jwks, "old").await, Err(JwksError::UnknownKey), "taken back");
        assert_eq!(find(&jwks, "new").await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn jw_07_a_key_swapped_under_its_id_is_the_new_one_from_the_next_refresh_on() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        let signer = SigningKey::generate();
        let other = SigningKey::generate();
        issuer.serve(&json!({ "keys": [key_of(&signer, "a")] }));
        jwks.refresh().await.unwrap();
        let is_good = async |by: &SigningKey| {
            let key = jwks.key("a", Algorithm::Es256).await.unwrap();
            let signature: p256::ecdsa::Signature = by.sign(b"e30.e30");
            let verified = jsonwebtoken::crypto::verify(
                &encode(signature.to_bytes()),
                b"e30.e30",
                &key,
                Algorithm::Es256.into(),
            );
            verified.unwrap()
        };
        assert!(is_good(&signer).await);

        issuer.serve(&json!({ "keys": [key_of(&other, "a")] }));
        assert!(is_good(&signer).await, "until the next refresh");
        jwks.refresh().await.unwrap();
        assert!(is_good(&other).await);
        assert!(!is_good(&signer).await);
    }

    #[tokio::test(start_paused = true)]
    async fn jw_06_what_is_no_key_set_leaves_the_last_good_one() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        issuer.serve(&keys(&["a"]));
        jwks.refresh().await.unwrap();
        let with = |kid: &str, name: &str, value: Value| {
            let mut key = key(kid);
            key[name] = value;
            json!({ "keys": [key] })
        };
        for (case, document) in [
            ("empty", json!({ "keys": [] })),
            ("text", json!("<html>")),
            ("no keys", json!({})),
            ("array", json!([[]])),
            ("duplicates", keys(&["x", "x"])),
            ("a duplicate of a key we cannot use", json!({ "keys": [key("x"), { "kid": "x" }] })),
            ("rsa", with("x", "kty", json!("RSA"))),
            ("oct", with("x", "kty", json!("oct"))),
            ("private", with("x", "d", json!("AA"))),
            ("encryption", with("x", "use", json!("enc"))),
            ("other algorithm", with("x", "alg", json!("ES384"))),
            ("no id", with("x", "kid", Value::Null)),
            ("empty id", with("x", "kid", json!(""))),
            ("off the curve", with("x", "y", json!(encode([1; 32])))),
            (
                "too many",
                json!({ "keys": (0..33).map(|n| key(&n.to_string())).collect::<Vec<_>>() }),
            ),
        ] {
            issuer.serve(&document);
            assert!(matches!(jwks.refresh().await, Err(FetchError::Unusable)), "{case}");
            assert_eq!(find(&jwks, "a").await, Ok(()), "{case}");
        }
        *lock(&issuer.document) = Some(Bytes::from(vec![b' '; DOCUMENT_BYTES_MAX + 1]));
        assert!(matches!(jwks.refresh().await, Err(FetchError::TooLarge)));
        issuer.serve(&json!({ "keys": [{ "kty": "RSA", "kid": "r" }, key("b")] }));
        jwks.refresh().await.unwrap();
        assert_eq!(find(&jwks, "b").await, Ok(()), "the rest of a mixed set is used");
    }

    #[tokio::test(start_paused = true)]
    async fn jw_06_an_issuer_that_drips_is_left_after_three_seconds() {
        let fetch: Fetch = Arc::new(|_| std::future::pending().boxed());
        let url = "https://iam.example/jwks.json".parse().unwrap();
        let jwks = Jwks::new(url, vec![Algorithm::Es256], fetch);
        let started = Instant::now();
        assert!(matches!(jwks.refresh().await, Err(FetchError::TimedOut)));
        assert_eq!(started.elapsed(), FETCH_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn jw_09_booting_without_the_issuer_is_not_ready_and_heals() {
        let issuer = Arc::new(Issuer::default());
        let jwks = Arc::new(jwks(&issuer));
        let shutdown = CancellationToken::new();
        let worker = jwks.run(shutdown.clone());
        let test = async {
            sleep(Duration::from_secs(10)).await;
            assert!(!jwks.is_usable());
            assert_eq!(find(&jwks, "a").await, Err(JwksError::Unavailable));
            issuer.serve(&keys(&["a"]));
            sleep(RETRY_DELAY_MAX).await;
            assert_eq!(find(&jwks, "a").await, Ok(()));
            shutdown.cancel();
        };
        tokio::join!(worker, test);
    }

    #[tokio::test(start_paused = true)]
    async fn jw_08_while_the_keys_are_fetched_known_ones_serve_and_the_rest_share_one_fetch() {
        let issuer = Arc::new(Issuer::default());
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let (answers, opened) = (Arc::clone(&issuer), Arc::clone(&gate));
        let fetch: Fetch = Arc::new(move |_| {
            answers.asked.fetch_add(1, Ordering::SeqCst);
            let (answer, opened) = (lock(&answers.document).clone(), Arc::clone(&opened));
            async move {
                opened.acquire().await.unwrap().forget();
                answer.ok_or(FetchError::TimedOut)
            }
            .boxed()
        });
        let url = "https://iam.example/jwks.json".parse().unwrap();
        let jwks = Jwks::new(url, vec![Algorithm::Es256], fetch);
        issuer.serve(&keys(&["a"]));
        gate.add_permits(1);
        jwks.refresh().await.unwrap();

        issuer.serve(&keys(&["a", "b"]));
        let unknown = join_all((0..1000).map(|_| find(&jwks, "b")));
        let known = async {
            tokio::task::yield_now().await;
            for answer in join_all((0..1000).map(|_| find(&jwks, "a"))).await {
                assert_eq!(answer, Ok(()), "while the issuer is slow");
            }
            gate.add_permits(1);
        };
        let (unknown, ()) = tokio::join!(unknown, known);

        assert!(unknown.iter().all(Result::is_ok));
        assert_eq!(issuer.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_no_verdict_while_the_issuer_is_down() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        issuer.serve(&keys(&["a"]));
        jwks.refresh().await.unwrap();
        issuer.fail();
        advance(COOLDOWN).await;
        assert_eq!(find(&jwks, "b").await, Err(JwksError::Unavailable));
        assert_eq!(find(&jwks, "a").await, Ok(()));
        issuer.serve(&keys(&["b"]));
        advance(COOLDOWN).await;
        assert_eq!(find(&jwks, "b").await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_for_its_own_algorithm_only() {
        let issuer = Arc::new(Issuer::default());
        let jwks = jwks(&issuer);
        // RFC 8037, appendix A.2.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let edwards = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "e", "x": x });
        issuer.serve(&json!({ "keys": [edwards, key("a")] }));
        jwks.refresh().await.unwrap();
        assert!(jwks.key("e", Algorithm::EdDsa).await.is_ok());
        assert!(jwks.key("e", Algorithm::Es256).await.is_err());
        assert!(jwks.key("a", Algorithm::EdDsa).await.is_err());
        assert_eq!(jwks.algorithm("EdDSA"), Some(Algorithm::EdDsa));
        assert_eq!(jwks.algorithm("RS256"), None);
    }
}
