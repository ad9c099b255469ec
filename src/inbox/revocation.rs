//! Worker: the road of its own for revocations, whose fence stands before the message is
//! acknowledged.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, TenantId, upstream::UpstreamEvent};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::envelope;
use crate::pubsub::{self, Delivery, Pubsub, PubsubError};

/// How long a fence may take to be written before the message is asked for again.
const SINK_TIMEOUT: Duration = Duration::from_secs(5);
/// Fences written at the same time: a slow one must not hold up the others.
const CONCURRENT_MAX: usize = 64;

/// Somebody or something may no longer act, from `at` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub tenant_id: TenantId,
    pub subject: RevokedSubject,
    /// iam's word, such as `admin` or `refresh_replay`; `user_locked` and `device_revoked` for
    /// those events.
    pub reason: String,
    pub at: DateTime<Utc>,
    /// iam's id of the event.
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
            UpstreamEvent::AlertRaised(_)
            | UpstreamEvent::AlertAcknowledged(_)
            | UpstreamEvent::AlertResolved(_)
            | UpstreamEvent::LockHealthAlert(_) => return None,
        };
        let (tenant_id, event_id) = (incoming.tenant_id, incoming.event_id);
        Some(Self { tenant_id, subject, reason, at, event_id })
    }
}

/// Hands every revocation to `sink` until `shutdown`, and acknowledges it when `sink` has written
/// it; else it comes again.
///
/// What cannot be read is acknowledged: intake, which reads the same topic, keeps it as a dead
/// letter.
///
/// # Errors
/// When the subscription cannot be read. The supervisor starts it again, with backoff.
pub async fn run<F>(
    pubsub: &Pubsub,
    sink: F,
    shutdown: &CancellationToken,
) -> Result<(), PubsubError>
where
    F: Fn(Revocation) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync,
{
    let mut subscription = pubsub.subscribe(&pubsub::revocation_subscription());
    let mut writing = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(()) = writing.next() => (),
            delivery = subscription.next(), if writing.len() < CONCURRENT_MAX => match delivery? {
                Some(delivery) => writing.push(deliver(delivery, &sink)),
                None => break,
            },
        }
    }
    // What has begun is brought to its end; each has its own deadline.
    while writing.next().await.is_some() {}
    subscription.close().await;
    Ok(())
}

async fn deliver<F>(delivery: Delivery, sink: &F)
where
    F: Fn(Revocation) -> BoxFuture<'static, anyhow::Result<()>>,
{
    let read = envelope::read(pubsub::IAM_EVENTS, &delivery.attributes, &delivery.data);
    let Some(revocation) = read.ok().flatten().and_then(Revocation::of) else {
        delivery.ack();
        return;
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
}
