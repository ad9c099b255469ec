//! Worker: the road of its own for revocations, whose fence stands before the message is
//! acknowledged.

mod feed;

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{
    DeviceId, OperatorId, TenantId,
    upstream::{UpstreamEvent, tenant::TenantEvent},
};
use futures::{
    StreamExt,
    future::{BoxFuture, try_join_all},
    stream::FuturesUnordered,
};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

pub use self::feed::Feed;
use self::feed::Flow;
use super::envelope;
use crate::pubsub::{self, Delivery, Pubsub, PubsubError, Subscription};

/// How long a fence may take to be written before the message is asked for again.
const SINK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long Pub/Sub may take to say that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
/// Fences written at the same time: a slow one must not hold up the others.
const CONCURRENT_MAX: usize = 64;

/// Somebody or something may no longer act, from `at` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub tenant_id: TenantId,
    pub subject: RevokedSubject,
    /// iam's word, such as `admin` or `refresh_replay`; `user_locked`, `device_revoked`,
    /// `membership_ended`, `membership_changed` and `tenant_suspended` for those events.
    pub reason: String,
    pub at: DateTime<Utc>,
    /// The producer's id of the event.
    pub event_id: String,
}

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedSubject {
    /// iam's session, the token's `sid`.
    Session(String),
    Operator(OperatorId),
    Device(DeviceId),
    Tenant,
    /// The operator is no member any more.
    Membership(OperatorId),
    /// Roles or properties of the operator may be others now; nobody is shut out.
    Rights(OperatorId),
}

impl Revocation {
    /// The revocation that an event means, if it means one.
    pub fn of(incoming: envelope::Incoming) -> Option<Self> {
        let (subject, reason, at) = match incoming.event {
            UpstreamEvent::SessionRevoked(revoked) => {
                (RevokedSubject::Session(revoked.session_id), revoked.reason, revoked.revoked_at)
            }
            UpstreamEvent::UserLocked(locked) => {
                (RevokedSubject::Operator(locked.user_id), "user_locked".to_owned(), locked.at)
            }
            UpstreamEvent::DeviceRevoked(revoked) => {
                (RevokedSubject::Device(revoked.device_id), "device_revoked".to_owned(), revoked.at)
            }
            UpstreamEvent::Tenant(event) => of_tenant_event(event),
            UpstreamEvent::AlertRaised(_)
            | UpstreamEvent::AlertAcknowledged(_)
            | UpstreamEvent::AlertResolved(_)
            | UpstreamEvent::LockCredential(_)
            | UpstreamEvent::LockHealthAlert(_)
            | UpstreamEvent::Suggestion(_)
            | UpstreamEvent::ActivityReplayed(_)
            | UpstreamEvent::CursorAdvanced(_) => return None,
        };
        let (tenant_id, event_id) = (incoming.tenant_id, incoming.event_id);
        Some(Self { tenant_id, subject, reason, at, event_id })
    }
}

fn of_tenant_event(event: TenantEvent) -> (RevokedSubject, String, DateTime<Utc>) {
    match event {
        TenantEvent::Suspended(suspended) => {
            (RevokedSubject::Tenant, "tenant_suspended".to_owned(), suspended.at)
        }
        TenantEvent::MembershipEnded(moved) => {
            (RevokedSubject::Membership(moved.operator_id), "membership_ended".to_owned(), moved.at)
        }
        TenantEvent::MembershipChanged(moved) => {
            (RevokedSubject::Rights(moved.operator_id), "membership_changed".to_owned(), moved.at)
        }
    }
}

/// Hands every revocation to `sink` until `shutdown`, and acknowledges it when `sink` has written
/// it; else it comes again. Tells `feed` how far it has come.
///
/// What cannot be read is acknowledged: intake, which reads the same topics, keeps it as a dead
/// letter.
///
/// # Errors
/// When a subscription cannot be read. The supervisor starts it again, with backoff.
pub async fn run<F>(
    pubsub: &Pubsub,
    sink: F,
    feed: &Feed,
    shutdown: &CancellationToken,
) -> Result<(), PubsubError>
where
    F: Fn(Revocation) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync,
{
    let sink = &sink;
    let followed = pubsub::REVOCATION_TOPICS.iter().enumerate().map(|(number, topic)| async move {
        follow(pubsub, topic, sink, &feed.flow(number), shutdown).await
    });
    try_join_all(followed).await.map(drop)
}

async fn follow<F>(
    pubsub: &Pubsub,
    topic: &'static str,
    sink: &F,
    flow: &Flow<'_>,
    shutdown: &CancellationToken,
) -> Result<(), PubsubError>
where
    F: Fn(Revocation) -> BoxFuture<'static, anyhow::Result<()>>,
{
    let name = pubsub::revocation_subscription(topic);
    tokio::select! {
        taken = take(pubsub.subscribe(&name), (topic, sink), flow, shutdown) => taken,
        () = probe(pubsub, &name, flow) => Ok(()),
    }
}

async fn take<F>(
    mut subscription: Subscription,
    (topic, sink): (&'static str, &F),
    flow: &Flow<'_>,
    shutdown: &CancellationToken,
) -> Result<(), PubsubError>
where
    F: Fn(Revocation) -> BoxFuture<'static, anyhow::Result<()>>,
{
    let mut writing = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(()) = writing.next() => (),
            delivery = subscription.next(), if writing.len() < CONCURRENT_MAX => match delivery? {
                Some(delivery) => writing.push(fence(topic, delivery, sink, flow)),
                None => break,
            },
        }
    }
    // What has begun is brought to its end; each has its own deadline.
    while writing.next().await.is_some() {}
    subscription.close().await;
    Ok(())
}

/// Asks again and again whether Pub/Sub is there, and notes if it is. Beside the pull and not in
/// its loop: a pull that is interrupted while it connects leaves a stream behind, to which the
/// broker hands messages that nobody reads.
async fn probe(pubsub: &Pubsub, subscription: &str, flow: &Flow<'_>) {
    let mut probes = interval(feed::PROBE_INTERVAL);
    loop {
        probes.tick().await;
        match timeout(PROBE_TIMEOUT, pubsub.reach_subscription(subscription)).await {
            Ok(Ok(())) => flow.reached(),
            Ok(Err(error)) => {
                tracing::warn!(subscription, error = %error, "no word of revocations");
            }
            Err(_) => tracing::warn!(subscription, "no word of revocations in time"),
        }
    }
}

async fn fence<F>(topic: &str, delivery: Delivery, sink: &F, flow: &Flow<'_>)
where
    F: Fn(Revocation) -> BoxFuture<'static, anyhow::Result<()>>,
{
    let message_id = delivery.message_id.clone();
    flow.received(&message_id, delivery.published_at);
    let is_fenced = deliver(topic, delivery, sink).await;
    flow.dealt_with(&message_id, is_fenced);
}

/// Whether nothing of the message is left to fence.
async fn deliver<F>(topic: &str, delivery: Delivery, sink: &F) -> bool
where
    F: Fn(Revocation) -> BoxFuture<'static, anyhow::Result<()>>,
{
    let read = envelope::read(topic, &delivery.attributes, &delivery.data);
    let Some(revocation) = read.ok().flatten().and_then(Revocation::of) else {
        delivery.ack();
        return true;
    };
    let event_id = revocation.event_id.clone();
    let written = timeout(SINK_TIMEOUT, sink(revocation)).await;
    let outcome = match written {
        Ok(Ok(())) => {
            delivery.ack();
            "written"
        }
        Ok(Err(error)) => {
            tracing::error!(
                event_id,
                error = format!("{error:#}"),
                "a revocation cannot be written and will be tried again"
            );
            delivery.nack();
            "failed"
        }
        Err(_) => {
            tracing::error!(
                event_id,
                "a revocation was not written in time and will be tried again"
            );
            delivery.nack();
            "timed_out"
        }
    };
    metrics::counter!("bff_backoffice_revocations_total", "outcome" => outcome).increment(1);
    outcome == "written"
}
