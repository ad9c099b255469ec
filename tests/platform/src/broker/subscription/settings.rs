//! What a subscription was asked to do, checked and with Pub/Sub's defaults filled in.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pubsub;
use tokio::time::Duration;
use tonic::Status;

use super::Published;

const ACK_DEADLINE_DEFAULT_SECONDS: i32 = 10;
const ACK_DEADLINE_MAX_SECONDS: i32 = 600;
const BACKOFF_MIN_DEFAULT: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_mins(10);
const ATTEMPTS_DEFAULT: i32 = 5;
const ATTEMPTS_MAX: i32 = 100;

/// How a subscription delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a lease lasts where the stream asks for nothing else; 10 to 600 s.
    pub ack_deadline: Duration,
    pub is_ordered: bool,
    /// Wait before a redelivery; none redelivers at once.
    pub backoff: Option<Backoff>,
    /// Whether deliveries say which attempt they are.
    pub counts_attempts: bool,
    /// Absent also while the dead-letter topic does not exist: then messages stay and come again.
    pub dead_letter: Option<DeadLetterRule>,
}

/// Doubling wait between the redeliveries of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

/// Where a message goes after how many attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRule {
    pub topic: String,
    /// 5 to 100.
    pub attempts_max: i32,
}

impl Backoff {
    /// The wait after this many failed attempts, at least one.
    pub fn after(self, failures: i32) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(16);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }
}

impl Settings {
    /// The ordering key this message has to keep to, if any.
    pub fn key_of<'a>(&self, message: &'a Published) -> Option<&'a str> {
        let key = message.message.ordering_key.as_str();
        (self.is_ordered && !key.is_empty()).then_some(key)
    }

    /// Reads a subscription resource.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a value out of range, `UNIMPLEMENTED` for what this broker has not.
    pub fn read(resource: &pubsub::Subscription) -> Result<Self, Status> {
        refuse_unserved(resource)?;
        Ok(Self {
            ack_deadline: ack_deadline(resource.ack_deadline_seconds)?,
            is_ordered: resource.enable_message_ordering,
            backoff: resource.retry_policy.as_ref().map(backoff).transpose()?,
            counts_attempts: resource.dead_letter_policy.is_some(),
            dead_letter: resource.dead_letter_policy.as_ref().map(dead_letter).transpose()?,
        })
    }
}

/// Reads an ack deadline of a subscription or stream: 10 to 600 s, 0 for the default of 10 s.
///
/// # Errors
/// `INVALID_ARGUMENT` outside that range.
pub fn ack_deadline(seconds: i32) -> Result<Duration, Status> {
    let seconds = if seconds == 0 { ACK_DEADLINE_DEFAULT_SECONDS } else { seconds };
    if seconds < ACK_DEADLINE_DEFAULT_SECONDS {
        return Err(Status::invalid_argument("the ack deadline must be at least 10 seconds"));
    }
    lease_extension(seconds)
}

/// Reads the deadline of one lease: 0 (nack) to 600 s.
///
/// # Errors
/// `INVALID_ARGUMENT` outside that range.
pub fn lease_extension(seconds: i32) -> Result<Duration, Status> {
    match u64::try_from(seconds) {
        Ok(whole) if seconds <= ACK_DEADLINE_MAX_SECONDS => Ok(Duration::from_secs(whole)),
        _ => Err(Status::invalid_argument("the ack deadline must be 0 to 600 seconds")),
    }
}

fn backoff(policy: &pubsub::RetryPolicy) -> Result<Backoff, Status> {
    let read = |value: Option<prost_types::Duration>, default| match value.map(Duration::try_from) {
        None => Ok(default),
        Some(Ok(value)) if value <= BACKOFF_MAX => Ok(value),
        Some(_) => Err(Status::invalid_argument("a backoff must be 0 to 600 seconds")),
    };
    let min = read(policy.minimum_backoff, BACKOFF_MIN_DEFAULT)?;
    let max = read(policy.maximum_backoff, BACKOFF_MAX)?;
    if min > max {
        return Err(Status::invalid_argument("the minimum backoff exceeds the maximum"));
    }
    Ok(Backoff { min, max })
}

fn dead_letter(policy: &pubsub::DeadLetterPolicy) -> Result<DeadLetterRule, Status> {
    let attempts_max = match policy.max_delivery_attempts {
        0 => ATTEMPTS_DEFAULT,
        attempts @ ATTEMPTS_DEFAULT..=ATTEMPTS_MAX => attempts,
        _ => return Err(Status::invalid_argument("delivery attempts must be 5 to 100")),
    };
    Ok(DeadLetterRule { topic: policy.dead_letter_topic.clone(), attempts_max })
}

fn refuse_unserved(resource: &pubsub::Subscription) -> Result<(), Status> {
    let is_push = resource.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty());
    let unserved = [
        (is_push, "push delivery"),
        (resource.bigquery_config.is_some(), "BigQuery delivery"),
        (resource.cloud_storage_config.is_some(), "Cloud Storage delivery"),
        (resource.bigtable_config.is_some(), "Bigtable delivery"),
        (!resource.filter.is_empty(), "filtering"),
        (resource.enable_exactly_once_delivery, "exactly-once delivery"),
        (!resource.message_transforms.is_empty(), "message transforms"),
    ];
    match unserved.into_iter().find(|(is_asked, _)| *is_asked) {
        Some((_, what)) => Err(Status::unimplemented(format!("the embedded broker has no {what}"))),
        None => Ok(()),
    }
}
