//! The hub: one a process, between the Redis streams and the desktops connected here.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use events::{DeviceId, TenantId};
use futures::StreamExt;
use redis::Script;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

use super::{
    Cursor, LiveError, Settings, Subject, Subscriber, Subscription,
    follower::Follower,
    registry::{End, Registry, is_meant},
    revocations::fence_key,
    steadiness::Life,
    streams::Streams,
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

/// Hands live events to the desktops connected to this process. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

pub(super) struct Shared {
    pub(super) redis: Redis,
    pub(super) settings: Settings,
    pub(super) shutdown: CancellationToken,
    pub(super) tracker: TaskTracker,
    /// True while the tail reads the streams.
    pub(super) ready: watch::Sender<bool>,
    /// A stream of this process alone: an entry in it ends the tail's blocking read.
    pub(super) wake_key: String,
    pub(super) registry: Registry,
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
        let (queue_max, subscriptions_max) = (settings.queue_max, settings.subscriptions_max);
        let cursor_keys = settings.cursor_keys.clone();
        let shared = Arc::new(Shared {
            redis: session_tier,
            settings,
            shutdown,
            tracker: tracker.clone(),
            ready: watch::Sender::new(false),
            wake_key: format!("g:live:wake:{}", Ulid::generate()),
            registry: Registry::new(queue_max, subscriptions_max, cursor_keys),
        });
        tracker.spawn(tail::run(Arc::clone(&shared)));
        Self(shared)
    }

    /// Opens the live stream of a device; an older one of the same device, on any instance, is told
    /// that it is superseded.
    ///
    /// A revocation that happens at any time after the caller was admitted is the first item, at
    /// the latest.
    ///
    /// # Errors
    /// See [`LiveError`]; the older stream may then have been ended already.
    pub async fn subscribe(&self, subscriber: Subscriber) -> Result<Subscription, LiveError> {
        let number = self.0.take_number(&subscriber).await?;
        let cursor = subscriber.cursor.map(|cursor| Cursor { hints: None, ..cursor });
        let subscriber = Subscriber { cursor, ..subscriber };
        let follower = self.0.follow(subscriber, Some(number)).await?;
        let life = Life::of(&self.0, &follower.subscriber, number);
        let start = follower.sealed_cursor();
        let items = futures::stream::unfold(follower, |mut follower| async move {
            follower.next().await.map(|item| (item, follower))
        });
        Ok(Subscription { start, items: items.boxed(), life })
    }

    /// Streams and polls open in this process.
    pub fn subscription_count(&self) -> usize {
        self.0.registry.len()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
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

    /// Joins the tenant's feed first, then looks at the fences, and reads the past last: whatever
    /// happens in between is seen by one of the three.
    pub(super) async fn follow(
        self: &Arc<Self>,
        subscriber: Subscriber,
        number: Option<u64>,
    ) -> Result<Follower, LiveError> {
        self.await_ready().await?;
        let subscriber = Arc::new(subscriber);
        let streams = Streams::of(&subscriber.tenant_id);
        let head = streams.head(&mut self.redis.shared(), self.redis.recovery_epoch()).await?;
        let (joined, is_first) = self.registry.join(&subscriber.tenant_id, head);
        if is_first {
            self.wake_tail().await?;
        }
        let (id, end) = self.registry.register(&subscriber, number)?;
        let registration = Registration { shared: Arc::clone(self), id };
        self.check_fences(&subscriber, number, id).await?;
        let sealer = self.settings.cursor_keys.sealer(&subscriber.tenant_id);
        Ok(Follower::new(registration, subscriber, sealer, (joined, end), head))
    }

    async fn await_ready(&self) -> Result<(), LiveError> {
        let mut ready = self.ready.subscribe();
        let is_ready = ready.wait_for(|is_ready| *is_ready);
        match tokio::time::timeout(READY_WAIT_MAX, is_ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LiveError::Unavailable),
        }
    }

    async fn wake_tail(&self) -> Result<(), LiveError> {
        let mut pipe = redis::pipe();
        pipe.cmd("XADD").arg(&self.wake_key).arg("MAXLEN").arg(1).arg("*").arg("w").arg(1).ignore();
        pipe.cmd("EXPIRE").arg(&self.wake_key).arg(60).ignore();
        pipe.exec_async(&mut self.redis.shared()).await?;
        Ok(())
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
                self.registry.end(id, End::ForceLogout { reason: "revoked".to_owned() });
            }
        }
        let newest = values.last().copied().flatten().and_then(|value| u64::try_from(value).ok());
        if number.is_some_and(|number| newest.is_some_and(|newest| number < newest)) {
            self.registry.end(id, End::Superseded);
        }
        Ok(())
    }
}

impl Registration {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.registry.forget(self.id);
    }
}

fn device_key(tenant_id: &TenantId, device_id: &DeviceId) -> TenantKey {
    TenantKey::new(tenant_id, "live").then("device").then(device_id.as_str())
}
