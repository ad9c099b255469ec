//! The hub: one a process, between the Redis streams and the desktops connected here.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use events::{DeviceId, TenantId};
use futures::StreamExt;
use redis::Script;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

use super::{
    Cursor, Delivery, LiveError, Polled, Revocation, Settings, Subject, Subscriber, Subscription,
    cursor::CursorSealer,
    follower::Follower,
    revocations::fence_key,
    streams::{Entry, Streams},
    tail,
};
use crate::views::{Redis, TenantKey, key::SUPERSEDE};

static NUMBER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("supersede.lua")));

/// Announcements kept for instances that were cut off for a while.
const ANNOUNCEMENTS_MAX: u32 = 10_000;
/// Longer than any live stream lives.
const NUMBER_LIFETIME: Duration = Duration::from_hours(24);
/// How long a new stream waits for the hub to reach Redis.
const READY_WAIT_MAX: Duration = Duration::from_secs(2);
/// Items in the answer to one poll.
const POLL_ITEMS_MAX: usize = 256;

/// Hands live events to the desktops connected to this process. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

pub(super) struct Shared {
    pub(super) redis: Redis,
    pub(super) settings: Settings,
    pub(super) shutdown: CancellationToken,
    /// True while the tail reads the streams.
    pub(super) ready: watch::Sender<bool>,
    /// A stream of this process alone: an entry in it ends the tail's blocking read.
    pub(super) wake_key: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    feeds: HashMap<TenantId, Feed>,
    registered: HashMap<u64, Registered>,
    next_id: u64,
}

/// One tenant with desktops here.
struct Feed {
    sender: broadcast::Sender<Broadcast>,
    /// Everything up to here has been handed out.
    cursor: Cursor,
    sealer: CursorSealer,
}

/// What a tenant's followers receive.
#[derive(Clone)]
pub(super) enum Broadcast {
    Event { cursor: Cursor, entry: Arc<Entry>, log: projections::Log, delivery: Arc<Delivery> },
    Reset(Cursor),
}

/// Why a stream has to end.
pub(super) enum End {
    Superseded,
    ForceLogout { reason: String },
}

struct Registered {
    subscriber: Arc<Subscriber>,
    /// Streams of the same device with a lower number end when a higher one appears; `None` for a poll.
    number: Option<u64>,
    end: oneshot::Sender<End>,
}

/// A place in the registry, given up when dropped.
pub(super) struct Registration {
    shared: Arc<Shared>,
    id: u64,
}

impl Hub {
    /// Starts following; subscribing waits until Redis is reached.
    pub fn start(
        session_tier: Redis,
        settings: Settings,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            redis: session_tier,
            settings,
            shutdown,
            ready: watch::Sender::new(false),
            wake_key: format!("g:live:wake:{}", Ulid::generate()),
            state: Mutex::default(),
        });
        tracker.spawn(tail::run(Arc::clone(&shared)));
        Self(shared)
    }

    /// Opens the live stream of a device; an older one of the same device, on any instance, is told that it is superseded.
    ///
    /// A revocation that happens at any time after the caller was admitted is the first item, at the latest.
    ///
    /// # Errors
    /// See [`LiveError`]; the older stream may then have been ended already.
    pub async fn subscribe(&self, subscriber: Subscriber) -> Result<Subscription, LiveError> {
        let number = self.0.take_number(&subscriber).await?;
        let follower = self.0.follow(subscriber, Some(number)).await?;
        let start = follower.sealed_cursor();
        let items = futures::stream::unfold(follower, |mut follower| async move {
            follower.next().await.map(|item| (item, follower))
        });
        Ok(Subscription { start, items: items.boxed() })
    }

    /// The same events by long poll: answers at once when there are some after the cursor, else as soon as one happens, else after
    /// `wait` with none.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub async fn poll(&self, subscriber: Subscriber, wait: Duration) -> Result<Polled, LiveError> {
        let mut follower = self.0.follow(subscriber, None).await?;
        let mut items = Vec::new();
        let mut patience = wait;
        while items.len() < POLL_ITEMS_MAX {
            match tokio::time::timeout(patience, follower.next()).await {
                Ok(Some(item)) => items.push(item),
                Ok(None) | Err(_) => break,
            }
            patience = Duration::ZERO;
        }
        let next = follower.cursor_after(items.last());
        Ok(Polled { items, next })
    }

    /// Streams and polls open in this process.
    pub fn subscription_count(&self) -> usize {
        self.0.state().registered.len()
    }
}

impl Shared {
    async fn take_number(&self, subscriber: &Subscriber) -> Result<u64, LiveError> {
        let number = NUMBER
            .key(device_key(&subscriber.tenant_id, &subscriber.device_id))
            .key(SUPERSEDE)
            .arg(subscriber.tenant_id.as_str())
            .arg(subscriber.device_id.as_str())
            .arg(ANNOUNCEMENTS_MAX)
            .arg(u64::try_from(NUMBER_LIFETIME.as_millis()).unwrap_or(u64::MAX))
            .invoke_async(&mut self.redis.shared())
            .await?;
        Ok(number)
    }

    /// Joins the tenant's feed first, then looks at the fences, and reads the past last: whatever happens in between is seen by one
    /// of the three.
    async fn follow(
        self: &Arc<Self>,
        subscriber: Subscriber,
        number: Option<u64>,
    ) -> Result<Follower, LiveError> {
        self.await_ready().await?;
        let subscriber = Arc::new(subscriber);
        let streams = Streams::of(&subscriber.tenant_id);
        let head = streams.head(&mut self.redis.shared(), self.redis.recovery_epoch()).await?;
        let (receiver, is_first) = self.join(&subscriber.tenant_id, head);
        if is_first {
            self.wake_tail().await?;
        }
        let (registration, end) = self.register(&subscriber, number)?;
        self.check_fences(&subscriber, number, registration.id).await?;
        let sealer = self.settings.cursor_keys.sealer(&subscriber.tenant_id);
        Ok(Follower::new(registration, subscriber, sealer, (receiver, end), head))
    }

    async fn await_ready(&self) -> Result<(), LiveError> {
        let mut ready = self.ready.subscribe();
        let is_ready = ready.wait_for(|is_ready| *is_ready);
        match tokio::time::timeout(READY_WAIT_MAX, is_ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LiveError::Unavailable),
        }
    }

    fn join(&self, tenant_id: &TenantId, head: Cursor) -> (broadcast::Receiver<Broadcast>, bool) {
        let mut state = self.state();
        if let Some(feed) = state.feeds.get(tenant_id) {
            return (feed.sender.subscribe(), false);
        }
        let (sender, receiver) = broadcast::channel(self.settings.queue_max);
        let sealer = self.settings.cursor_keys.sealer(tenant_id);
        state.feeds.insert(tenant_id.clone(), Feed { sender, cursor: head, sealer });
        (receiver, true)
    }

    async fn wake_tail(&self) -> Result<(), LiveError> {
        let mut pipe = redis::pipe();
        pipe.cmd("XADD").arg(&self.wake_key).arg("MAXLEN").arg(1).arg("*").arg("w").arg(1).ignore();
        pipe.cmd("EXPIRE").arg(&self.wake_key).arg(60).ignore();
        pipe.exec_async(&mut self.redis.shared()).await?;
        Ok(())
    }

    fn register(
        self: &Arc<Self>,
        subscriber: &Arc<Subscriber>,
        number: Option<u64>,
    ) -> Result<(Registration, oneshot::Receiver<End>), LiveError> {
        let mut state = self.state();
        if state.registered.len() >= self.settings.subscriptions_max {
            return Err(LiveError::Full);
        }
        let (end, ended) = oneshot::channel();
        let id = state.next_id;
        state.next_id += 1;
        state.registered.insert(id, Registered { subscriber: Arc::clone(subscriber), number, end });
        metrics::gauge!("bff_backoffice_live_streams").increment(1.0);
        Ok((Registration { shared: Arc::clone(self), id }, ended))
    }

    async fn check_fences(
        &self,
        subscriber: &Subscriber,
        number: Option<u64>,
        id: u64,
    ) -> Result<(), LiveError> {
        let tenant_id = &subscriber.tenant_id;
        let subjects = [
            Subject::Session(subscriber.sid.clone()),
            Subject::Operator(subscriber.operator_id.clone()),
            Subject::Device(subscriber.device_id.clone()),
            Subject::Tenant,
        ];
        let mut keys: Vec<TenantKey> =
            subjects.iter().map(|subject| fence_key(tenant_id, subject)).collect();
        keys.push(device_key(tenant_id, &subscriber.device_id));
        let values: Vec<Option<i64>> =
            redis::cmd("MGET").arg(&keys).query_async(&mut self.redis.shared()).await?;
        for (subject, revoked_ms) in subjects.iter().zip(&values) {
            let at = revoked_ms.and_then(chrono::DateTime::from_timestamp_millis);
            if at.is_some_and(|at| is_meant(subscriber, tenant_id, subject, at)) {
                self.end(id, End::ForceLogout { reason: "revoked".to_owned() });
            }
        }
        let newest = values.last().copied().flatten().and_then(|value| u64::try_from(value).ok());
        if number.is_some_and(|number| newest.is_some_and(|newest| number < newest)) {
            self.end(id, End::Superseded);
        }
        Ok(())
    }

    /// Ends every stream here that a revocation means.
    pub(super) fn revoke(&self, revocation: &Revocation) {
        let meant = self.ids_where(|registered| {
            let Revocation { tenant_id, subject, at, .. } = revocation;
            is_meant(&registered.subscriber, tenant_id, subject, *at)
        });
        for id in meant {
            metrics::counter!("bff_backoffice_live_force_logouts_total").increment(1);
            self.end(id, End::ForceLogout { reason: revocation.reason.clone() });
        }
    }

    /// Ends the streams of a device that are older than `number`.
    pub(super) fn supersede(&self, tenant_id: &str, device_id: &str, number: u64) {
        let older = self.ids_where(|registered| {
            registered.number.is_some_and(|own| own < number)
                && registered.subscriber.device_id.as_str() == device_id
                && registered.subscriber.tenant_id.as_str() == tenant_id
        });
        for id in older {
            self.end(id, End::Superseded);
        }
    }

    fn ids_where(&self, is_meant: impl Fn(&Registered) -> bool) -> Vec<u64> {
        let state = self.state();
        state.registered.iter().filter(|(_, it)| is_meant(it)).map(|(id, _)| *id).collect()
    }

    fn end(&self, id: u64, end: End) {
        let registered = self.state().registered.remove(&id);
        if let Some(registered) = registered {
            metrics::gauge!("bff_backoffice_live_streams").decrement(1.0);
            // Nobody receives it when the stream was dropped meanwhile, which ends it as well.
            let _ = registered.end.send(end);
        }
    }

    /// The tenants with desktops here and how far each has been handed out; forgets tenants without.
    pub(super) fn feeds(&self) -> Vec<(TenantId, Cursor)> {
        let mut state = self.state();
        state.feeds.retain(|_, feed| 0 < feed.sender.receiver_count());
        state.feeds.iter().map(|(tenant_id, feed)| (tenant_id.clone(), feed.cursor)).collect()
    }

    /// Hands an entry out; `false` when it is of another epoch than what was handed out before.
    pub(super) fn hand_out(
        &self,
        tenant_id: &TenantId,
        log: projections::Log,
        entry: Entry,
    ) -> bool {
        let mut state = self.state();
        let Some(feed) = state.feeds.get_mut(tenant_id) else { return true };
        if entry.epoch != feed.cursor.epoch {
            return false;
        }
        if entry.id <= feed.cursor.of(log) {
            return true;
        }
        feed.cursor.set(log, entry.id);
        let cursor = feed.cursor;
        let delivery = Arc::new(entry.delivery(feed.sealer.seal(&cursor)));
        // An error only means that the last follower has just left.
        let _ =
            feed.sender.send(Broadcast::Event { cursor, entry: Arc::new(entry), log, delivery });
        true
    }

    /// Moves an entry that nobody here can read out of the way.
    pub(super) fn skip(
        &self,
        tenant_id: &TenantId,
        log: projections::Log,
        id: super::cursor::EntryId,
    ) {
        if let Some(feed) = self.state().feeds.get_mut(tenant_id) {
            feed.cursor.set(log, id);
        }
    }

    /// Tells a tenant's followers that events may be missing, and goes on from `head`.
    pub(super) fn reset(&self, tenant_id: &TenantId, head: Cursor) {
        if let Some(feed) = self.state().feeds.get_mut(tenant_id) {
            feed.cursor = head;
            let _ = feed.sender.send(Broadcast::Reset(head));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.shared.state().registered.remove(&self.id).is_some() {
            metrics::gauge!("bff_backoffice_live_streams").decrement(1.0);
        }
    }
}

/// Whether a revocation ends what `subscriber` was admitted with.
fn is_meant(
    subscriber: &Subscriber,
    tenant_id: &TenantId,
    subject: &Subject,
    at: chrono::DateTime<chrono::Utc>,
) -> bool {
    let is_earlier_sign_in = subscriber.authenticated_at <= at;
    subscriber.tenant_id == *tenant_id
        && match subject {
            Subject::Session(sid) => subscriber.sid == *sid,
            Subject::Operator(operator_id) => {
                is_earlier_sign_in && subscriber.operator_id == *operator_id
            }
            Subject::Device(device_id) => is_earlier_sign_in && subscriber.device_id == *device_id,
            Subject::Tenant => is_earlier_sign_in,
        }
}

fn device_key(tenant_id: &TenantId, device_id: &DeviceId) -> TenantKey {
    TenantKey::new(tenant_id, "live").then("device").then(device_id.as_str())
}
