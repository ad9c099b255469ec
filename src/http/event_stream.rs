//! The body of `GET /live`: what a subscription hears, with heartbeats, until the session, the
//! token or the service ends.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream};
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::live::{LiveItem, Subscription};

/// Shorter than the idle timeouts of the proxies on the way.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long before the end of its token a stream asks for another one.
const REAUTH_BEFORE: Duration = Duration::from_secs(30);
/// Cloud Run ends a request after an hour; streams end before, and not all at once.
const LIFETIME: std::ops::Range<u64> = 50 * 60..56 * 60;
/// How long a desktop waits before it comes back, spread for the same reason.
const RETRY_MS: std::ops::RangeInclusive<u64> = 3_000..=10_000;

const SUPERSEDED: &str = "superseded";

/// What a stream asks before each heartbeat, and what it needs to say goodbye.
pub struct Session {
    /// Whether nobody revoked it; `None` when that cannot be found out.
    pub stands: Arc<dyn Fn() -> BoxFuture<'static, Option<bool>> + Send + Sync>,
    /// A nonce for the desktop's next proof, where nonces are required.
    pub nonce: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Comes when the desktop has become too old, with what it is told then.
    pub version_blocked: BoxFuture<'static, Value>,
    /// When the access token ends.
    pub expires_at: Instant,
    /// Members of the `hello` event.
    pub hello: Value,
}

/// What comes next on a stream.
enum Next {
    Heard(Option<LiveItem>),
    Heartbeat,
    Reauth,
    Expired,
    VersionBlocked(Value),
    Lived,
}

struct State {
    subscription: Subscription,
    session: Session,
    heartbeat: Interval,
    reauth_at: Option<Instant>,
    lives_until: Instant,
    /// Frames that wait to be written; the stream ends after them when `ending`.
    opening: Option<Bytes>,
    ending: bool,
}

/// The stream as a body; its first bytes are ready at once.
pub fn body(subscription: Subscription, session: Session) -> Body {
    let now = Instant::now();
    let mut heartbeat = interval_at(now + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reauth_at = session.expires_at.checked_sub(REAUTH_BEFORE).filter(|at| now < *at);
    let opening = [
        Bytes::from_static(b": connected\n"),
        Bytes::from(format!("retry: {}\n\n", rand::rng().random_range(RETRY_MS))),
        session_frame("hello", session.hello.clone(), Some(subscription.cursor())),
    ]
    .concat();
    let lives_until = now + Duration::from_secs(rand::rng().random_range(LIFETIME));
    let state = State {
        subscription,
        session,
        heartbeat,
        reauth_at,
        lives_until,
        opening: Some(opening.into()),
        ending: false,
    };
    Body::from_stream(stream::unfold(state, |state| async { step(state).await }))
}

/// What a device hears for a stream that would break: to poll, and for how long. It is whole at once,
/// so that also who holds streams back passes it on.
pub fn advice_to_poll(wait: Duration, nonce: Option<String>) -> Body {
    let retry_after = wait.as_secs() + u64::from(0 < wait.subsec_nanos());
    let mut told = json!({ "retryAfter": retry_after });
    if let Some(nonce) = nonce {
        told["nonce"] = nonce.into();
    }
    Body::from(session_frame("poll", told, None))
}

async fn step(mut state: State) -> Option<(Result<Bytes, Infallible>, State)> {
    if let Some(opening) = state.opening.take() {
        return Some((Ok(opening), state));
    }
    if state.ending {
        return None;
    }
    let next = state.next().await;
    let frame = state.frame(next).await;
    Some((Ok(frame), state))
}

impl State {
    async fn next(&mut self) -> Next {
        let reauth_at = self.reauth_at.unwrap_or(self.session.expires_at);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(self.session.expires_at) => Next::Expired,
            () = tokio::time::sleep_until(reauth_at), if self.reauth_at.is_some() => Next::Reauth,
            () = tokio::time::sleep_until(self.lives_until) => Next::Lived,
            told = &mut self.session.version_blocked => Next::VersionBlocked(told),
            _ = self.heartbeat.tick() => Next::Heartbeat,
            item = self.subscription.next() => Next::Heard(item),
        }
    }

    async fn frame(&mut self, next: Next) -> Bytes {
        match next {
            Next::Heard(Some(LiveItem::Event(delivery))) => delivery.frame.clone(),
            Next::Heard(Some(LiveItem::Hint(hinted))) => hinted.frame.clone(),
            Next::Heard(Some(LiveItem::Reset { cursor })) => {
                session_frame("reset", json!({}), Some(&cursor))
            }
            Next::Heard(Some(LiveItem::Superseded)) => self.end(SUPERSEDED, json!({})),
            Next::Heard(Some(LiveItem::ForceLogout { reason })) => {
                self.end("force-logout", json!({ "reason": reason }))
            }
            Next::Heard(Some(LiveItem::Reconnect) | None) | Next::Lived => self.reconnect(),
            Next::Heartbeat => match (self.session.stands)().await {
                Some(true) => Bytes::from_static(b": heartbeat\n\n"),
                Some(false) => self.end("force-logout", json!({ "reason": "revoked" })),
                None => self.reconnect(),
            },
            Next::Reauth => {
                self.reauth_at = None;
                session_frame("reauth", self.with_nonce(), None)
            }
            Next::VersionBlocked(told) => self.end("version-blocked", told),
            Next::Expired => {
                let nonce = self.with_nonce();
                self.end("reauth", nonce)
            }
        }
    }

    fn reconnect(&mut self) -> Bytes {
        let nonce = self.with_nonce();
        self.end("reconnect", nonce)
    }

    fn end(&mut self, kind: &str, members: Value) -> Bytes {
        self.ending = true;
        // A device that opens a newer one may have lost this one long ago.
        if kind != SUPERSEDED {
            self.subscription.ends_in_time();
        }
        session_frame(kind, members, None)
    }

    fn with_nonce(&self) -> Value {
        (self.session.nonce)().map_or(json!({}), |nonce| json!({ "nonce": nonce }))
    }
}

/// `event: session`; with a cursor, a client that comes back goes on from there.
fn session_frame(kind: &str, members: Value, cursor: Option<&str>) -> Bytes {
    let mut data = json!({ "kind": kind });
    if let (Some(data), Value::Object(members)) = (data.as_object_mut(), members) {
        data.extend(members);
    }
    let id = cursor.map_or_else(String::new, |cursor| format!("id: {cursor}\n"));
    Bytes::from(format!("{id}event: session\ndata: {data}\n\n"))
}
