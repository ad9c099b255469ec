//! Who hears which event, at once: live streams from Redis to every connected desktop.
//!
//! The projector's lane publishes into one Redis stream a tenant and log; one [`Hub`] a process
//! follows the streams of the tenants that have desktops here and hands each event to them, encoded
//! once. A desktop resumes on any instance by its [`Cursor`].

pub mod cursor;
mod follower;
mod hints;
mod hub;
pub mod memberships;
mod poll;
mod registry;
pub mod revocations;
mod steadiness;
pub mod streams;
mod tail;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, PropertyId, TenantId};
use futures::{Stream, stream::BoxStream};
use projections::Channel;

pub use cursor::{Cursor, CursorKeys};
pub use hub::Hub;
pub use revocations::{Revocation, Subject};
pub use streams::Retention;

use crate::clock::SharedClock;

/// What the hub needs to know beside its Redis tier.
#[derive(Clone)]
pub struct Settings {
    pub cursor_keys: CursorKeys,
    /// Events a tenant's slowest desktop may be behind before it is sent away to reconnect.
    pub queue_max: usize,
    /// Live streams and polls of this process at one time.
    pub subscriptions_max: usize,
    /// How long one blocking read waits. Only bounds how long a dead connection goes unnoticed.
    pub block: Duration,
    pub clock: SharedClock,
    /// Over what time streams are sent away at shutdown, so that not all come back in one moment.
    pub drain_spread: Duration,
}

impl Settings {
    pub fn new(cursor_keys: CursorKeys, clock: SharedClock) -> Self {
        Self {
            cursor_keys,
            clock,
            queue_max: 256,
            subscriptions_max: 12_000,
            block: Duration::from_secs(5),
            drain_spread: Duration::from_secs(3),
        }
    }
}

/// Who listens, to what, and from where on.
#[derive(Clone, Debug)]
pub struct Subscriber {
    pub tenant_id: TenantId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// iam's session, the token's `sid`.
    pub sid: String,
    /// The token's `iat`: a fence of operator, device or tenant that is older was of an earlier
    /// sign-in.
    pub authenticated_at: DateTime<Utc>,
    /// Events of other properties are not heard; none are when it is empty.
    pub property_ids: Vec<PropertyId>,
    pub channels: Vec<Channel>,
    /// Whether the tenant works by the Sharia, or may: then what is not marked compliant is not
    /// heard.
    pub works_by_sharia: bool,
    /// `None` to hear what happens from now on.
    pub cursor: Option<Cursor>,
}

/// One event, encoded once for all who are at the same place.
#[derive(Debug)]
pub struct Delivery {
    /// Sealed; what `Last-Event-ID` and `after` bring back.
    pub cursor: String,
    pub channel: Channel,
    pub property_id: PropertyId,
    /// JSON on one line.
    pub data: Bytes,
    /// The whole SSE frame with its empty line: `id`, `event`, `data`.
    pub frame: Bytes,
}

/// A refresh hint, encoded once for all desktops of its tenant.
#[derive(Debug)]
pub struct Hinted {
    id: cursor::EntryId,
    pub property_id: PropertyId,
    /// JSON on one line.
    pub data: Bytes,
    /// The whole SSE frame with its empty line: `event`, `data`. It has no `id`.
    pub frame: Bytes,
}

/// What a live stream says.
#[derive(Clone, Debug)]
pub enum LiveItem {
    Event(Arc<Delivery>),
    /// A screen has new content. No part of the past: the cursor stays, and nobody resumes it.
    Hint(Arc<Hinted>),
    /// Events may be missing: fetch everything again, then go on from here.
    Reset {
        cursor: String,
    },
    /// A newer stream of this device took over. The last item.
    Superseded,
    /// Access was revoked. The last item.
    ForceLogout {
        reason: String,
    },
    /// The desktop is too slow, Redis cannot be read, or the instance stops: come back with the
    /// cursor. The last item.
    Reconnect,
}

/// A live stream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("the session tier did not answer as expected")]
    Redis(#[from] redis::RedisError),
    /// The hub has not reached the session tier yet, or has lost it.
    #[error("live streams are not available")]
    Unavailable,
    #[error("this instance has as many live streams as it may")]
    Full,
}

/// The items of one live stream. Dropping it ends it.
pub struct Subscription {
    start: String,
    items: BoxStream<'static, LiveItem>,
    life: steadiness::Life,
}

impl Subscription {
    /// The sealed cursor the stream starts behind, for the `hello` frame's `id`.
    pub fn cursor(&self) -> &str {
        &self.start
    }

    /// What ends it from here on is not the network.
    pub fn ends_in_time(&mut self) {
        self.life.ends_in_time();
    }
}

impl Stream for Subscription {
    type Item = LiveItem;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<LiveItem>> {
        self.items.as_mut().poll_next(context)
    }
}

/// The answer to a long poll.
#[derive(Debug)]
pub struct Polled {
    /// At most 256; empty when nothing happened in the time.
    pub items: Vec<LiveItem>,
    /// The sealed cursor to poll with next.
    pub next: String,
}
