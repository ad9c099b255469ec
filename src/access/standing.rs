//! Whether iam's session still stands, asked of iam where its revocations may not have reached us.
//!
//! Two sources can vouch for a session: the feed of revocations, whose fences are looked at with
//! every request, and iam itself. While the feed is current it is enough for a session that is
//! open. An opening is vouched for by iam as well; when iam does not answer, the feed is enough if
//! it has fenced everything since the token was issued. While the feed lags, iam must vouch for
//! every request. Where neither can, nobody enters. iam's answers are kept for a minute.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use events::TenantId;
use futures::future::BoxFuture;
use moka::future::Cache;
use redis::Script;

use super::{
    claims::Claims,
    refusal::Reason,
    store::{SessionTier, StoreError},
};

/// From this lag on the feed vouches for nobody.
pub const FEED_LAG_MAX: Duration = Duration::from_mins(1);
const ANSWER_TTL: Duration = Duration::from_mins(1);
const ANSWERS_MAX: u64 = 50_000;
/// Unix milliseconds from which on every revocation was fenced: set when the tier is new or was
/// emptied, by whoever takes revocations in.
const COMPLETE_SINCE: &str = "g:fences:since";
/// Tokens tell the time of their issue in whole seconds, cut off.
const ISSUE_GRAIN: Duration = Duration::from_secs(1);

/// Asks iam whether a session is active; `false` also for one it does not know.
pub type Validate =
    Arc<dyn Fn(TenantId, String) -> BoxFuture<'static, Result<bool, ValidateError>> + Send + Sync>;

/// How long ago the feed of revocations was last known to be current.
pub type FeedLag = Arc<dyn Fn() -> Duration + Send + Sync>;

/// iam did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("iam-service did not answer")]
pub struct ValidateError(#[source] pub Arc<dyn std::error::Error + Send + Sync>);

/// Whoever vouches for sessions.
pub struct Standing {
    validate: Validate,
    feed_lag: FeedLag,
    answers: Cache<(TenantId, String), bool>,
}

impl Standing {
    pub fn new(validate: Validate, feed_lag: FeedLag) -> Self {
        let answers = Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(ANSWER_TTL).build();
        Self { validate, feed_lag, answers }
    }

    /// For every request, before its proof is used up.
    ///
    /// # Errors
    /// `SessionRevoked`, or `Unavailable` when neither source vouches.
    pub async fn check(&self, claims: &Claims) -> Result<(), Reason> {
        if self.feed_is_current() {
            return Ok(());
        }
        match self.ask(claims).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::SessionRevoked),
            Err(error) => {
                tracing::warn!(error = %error, "neither iam nor its revocations can be heard");
                Err(Reason::Unavailable("iam-service"))
            }
        }
    }

    /// For a request that opens a session.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub async fn check_opening(&self, claims: &Claims, tier: &SessionTier) -> Result<(), Reason> {
        match self.ask(claims).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::SessionRevoked),
            Err(error) => {
                tracing::warn!(error = %error, "iam cannot be asked about a session to open");
                let complete_since =
                    complete_since(tier).await.map_err(|_| Reason::Unavailable("session tier"))?;
                let is_fenced_enough =
                    complete_since.is_some_and(|at| at <= claims.issued_at + ISSUE_GRAIN);
                if self.feed_is_current() && is_fenced_enough {
                    return Ok(());
                }
                Err(Reason::Unavailable("iam-service"))
            }
        }
    }

    fn feed_is_current(&self) -> bool {
        (self.feed_lag)() <= FEED_LAG_MAX
    }

    async fn ask(&self, claims: &Claims) -> Result<bool, Arc<ValidateError>> {
        let key = (claims.tenant_id.clone(), claims.sid.clone());
        let asked = async { (self.validate)(claims.tenant_id.clone(), claims.sid.clone()).await };
        let answer = self.answers.try_get_with(key, asked).await;
        let outcome = match answer {
            Ok(true) => "active",
            Ok(false) => "ended",
            Err(_) => "unanswered",
        };
        metrics::counter!("bff_backoffice_session_validations_total", "outcome" => outcome)
            .increment(1);
        answer
    }
}

/// Notes that revocations are fenced from `now` on; a note that stands keeps its time.
///
/// # Errors
/// The session tier did not answer in time.
pub async fn note_fencing(tier: &SessionTier, now: DateTime<Utc>) -> Result<(), StoreError> {
    let script = Script::new("return redis.call('SETNX', KEYS[1], ARGV[1])");
    let mut call = script.prepare_invoke();
    call.key(COMPLETE_SINCE).arg(now.timestamp_millis());
    let _is_new: i64 = tier.run(&call).await?;
    Ok(())
}

async fn complete_since(tier: &SessionTier) -> Result<Option<DateTime<Utc>>, StoreError> {
    let stored = tier.get(COMPLETE_SINCE).await?;
    Ok(stored
        .and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok())
        .and_then(DateTime::from_timestamp_millis))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    #[derive(Clone, Copy)]
    enum Iam {
        Active,
        Ended,
        Silent,
    }

    fn standing(iam: Iam, lag: Duration) -> (Standing, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let validate: Validate = Arc::new(move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move {
                match iam {
                    Iam::Active => Ok(true),
                    Iam::Ended => Ok(false),
                    Iam::Silent => Err(ValidateError(Arc::from(Box::from("down")))),
                }
            }
            .boxed()
        });
        (Standing::new(validate, Arc::new(move || lag)), asked)
    }

    fn claims() -> Claims {
        Claims {
            tenant_id: TenantId::system(),
            operator_id: "usr_1".parse().unwrap(),
            device_id: "dev_1".parse().unwrap(),
            sid: "ses_1".to_owned(),
            jkt: "jkt".to_owned(),
            roles: Vec::new(),
            property_ids: None,
            locale: None,
            issued_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn while_the_feed_is_current_iam_is_not_asked() {
        let (standing, asked) = standing(Iam::Ended, FEED_LAG_MAX);
        assert!(standing.check(&claims()).await.is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn while_the_feed_lags_iam_decides_and_is_asked_once_a_minute() {
        let lag = FEED_LAG_MAX + Duration::from_secs(1);
        let (active, asked) = standing(Iam::Active, lag);
        for _ in 0..5 {
            assert!(active.check(&claims()).await.is_ok());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let (ended, _) = standing(Iam::Ended, lag);
        assert!(matches!(ended.check(&claims()).await, Err(Reason::SessionRevoked)));
    }

    #[tokio::test]
    async fn where_neither_the_feed_nor_iam_vouches_nobody_enters() {
        let lag = FEED_LAG_MAX + Duration::from_secs(1);
        let (silent, asked) = standing(Iam::Silent, lag);
        for _ in 0..2 {
            let refused = silent.check(&claims()).await;
            assert!(matches!(refused, Err(Reason::Unavailable("iam-service"))));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "no answer is not remembered");
    }
}
