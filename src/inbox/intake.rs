//! Worker: moves messages of other services from Pub/Sub into the inbox, each once, and
//! acknowledges after the commit.
//!
//! A crash between commit and acknowledgment brings a message again; the inbox knows it by producer
//! and event id.

mod sorted;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use sqlx::PgPool;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{dead_letter, envelope::Heard, store};
use sorted::{Sorted, letter_of};

use crate::{
    clock::SharedClock,
    pubsub::{self, Delivery, Pubsub, PubsubError, Subscription},
};

/// How intake batches and how long it waits for the store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Topics to take in; each has the subscription `bff-backoffice.<topic>`.
    pub topics: Vec<String>,
    /// Messages a transaction takes at most.
    pub batch_max: usize,
    /// How long the first message of a batch waits for others.
    pub linger: Duration,
    /// How long a batch may take to be stored before it is given back.
    pub store_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            topics: pubsub::INTAKE_TOPICS.map(str::to_owned).to_vec(),
            batch_max: 256,
            linger: Duration::from_millis(5),
            store_timeout: Duration::from_secs(10),
        }
    }
}

/// Why intake stopped. Nothing is lost: what was not acknowledged comes again.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Pubsub(#[from] PubsubError),
    #[error("the inbox cannot be written")]
    Database(#[from] sqlx::Error),
    #[error("the inbox did not take a batch in time")]
    Timeout,
    #[error("a subscription ended or its task failed")]
    Ended,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub stored: u64,
    /// Delivered before, by producer and event id.
    pub duplicate: u64,
    /// Of subjects nothing here is made from.
    pub ignored: u64,
    pub dead_lettered: u64,
}

/// Told what messages say has changed, before they are acknowledged.
pub type Listener = Arc<dyn Fn(Vec<Heard>) -> BoxFuture<'static, ()> + Send + Sync>;

/// The worker. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    pool: PgPool,
    pubsub: Pubsub,
    settings: Settings,
    clock: SharedClock,
    head: watch::Sender<i64>,
    listener: Option<Listener>,
}

impl Intake {
    /// `pool` is the one of the role `intake`.
    pub fn new(pool: PgPool, pubsub: Pubsub, settings: Settings, clock: SharedClock) -> Self {
        Self { pool, pubsub, settings, clock, head: watch::Sender::new(0), listener: None }
    }

    #[must_use]
    pub fn listened_to_by(self, listener: Listener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// The highest position this process has stored; only a wake-up, since others store too.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// One intake a topic, so that a subscription that cannot be read stops no other.
    pub fn by_topic(&self) -> Vec<Self> {
        let of_topic = |topic: &String| {
            let settings = Settings { topics: vec![topic.clone()], ..self.settings.clone() };
            Self { settings, ..self.clone() }
        };
        self.settings.topics.iter().map(of_topic).collect()
    }

    /// Takes in until `shutdown`. Any number of instances may run: Pub/Sub spreads the keys over
    /// them.
    ///
    /// # Errors
    /// The first failure, see [`IntakeError`]. The supervisor starts it again, with backoff.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<(), IntakeError> {
        let mut pulls = JoinSet::new();
        for topic in &self.settings.topics {
            let (intake, topic, shutdown) = (self.clone(), topic.clone(), shutdown.clone());
            pulls.spawn(async move { intake.take_topic(&topic, &shutdown).await });
        }
        while let Some(ended) = pulls.join_next().await {
            ended.map_err(|_| IntakeError::Ended)??;
        }
        if shutdown.is_cancelled() { Ok(()) } else { Err(IntakeError::Ended) }
    }

    async fn take_topic(
        &self,
        topic: &str,
        shutdown: &CancellationToken,
    ) -> Result<(), IntakeError> {
        let mut subscription = self.pubsub.subscribe(&pubsub::subscription_of(topic));
        while let Some(batch) = self.next_batch(&mut subscription, shutdown).await? {
            self.take(topic, batch).await?;
        }
        subscription.close().await;
        Ok(())
    }

    /// Stores a batch and acknowledges it.
    ///
    /// # Errors
    /// See [`Intake::store`]; nothing is acknowledged then.
    pub async fn take(&self, topic: &str, batch: Vec<Delivery>) -> Result<Taken, IntakeError> {
        let taken = self.store(topic, &batch).await?;
        batch.into_iter().for_each(Delivery::ack);
        Ok(taken)
    }

    /// Stores a batch in one transaction: events in the inbox, the unreadable as dead letters.
    /// Acknowledges nothing.
    ///
    /// # Errors
    /// [`IntakeError::Database`] or [`IntakeError::Timeout`]; the transaction is rolled back.
    pub async fn store(&self, topic: &str, batch: &[Delivery]) -> Result<Taken, IntakeError> {
        let mut sorted = Sorted::of(topic, batch);
        let heard = std::mem::take(&mut sorted.heard);
        let taken = match self.write_in_time(&sorted).await? {
            Ok(taken) => taken,
            Err(error) if is_refused_value(&error) => self.store_one_by_one(topic, batch).await?,
            Err(error) => return Err(error.into()),
        };
        if let Some(listener) = self.listener.as_ref().filter(|_| !heard.is_empty()) {
            listener(heard.into_iter().collect()).await;
        }
        taken.count(topic);
        Ok(taken)
    }

    async fn next_batch(
        &self,
        subscription: &mut Subscription,
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<Delivery>>, IntakeError> {
        let first = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            first = subscription.next() => first?,
        };
        let Some(first) = first else { return Err(IntakeError::Ended) };
        let mut batch = vec![first];
        let full_at = Instant::now() + self.settings.linger;
        while batch.len() < self.settings.batch_max {
            match timeout_at(full_at, subscription.next()).await {
                Ok(Ok(Some(delivery))) => batch.push(delivery),
                // An end or a failure is met again by the next call, after this batch.
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            }
        }
        Ok(Some(batch))
    }

    async fn write_in_time(&self, sorted: &Sorted) -> Result<sqlx::Result<Taken>, IntakeError> {
        let written = timeout(self.settings.store_timeout, self.write(sorted)).await;
        written.map_err(|_| IntakeError::Timeout)
    }

    async fn write(&self, sorted: &Sorted) -> sqlx::Result<Taken> {
        let mut taken = Taken { ignored: sorted.ignored, ..Taken::default() };
        if sorted.events.is_empty() && sorted.dead_letters.is_empty() {
            return Ok(taken);
        }
        let now = self.clock.now();
        let mut transaction = self.pool.begin().await?;
        for letter in &sorted.dead_letters {
            dead_letter::insert(&mut transaction, letter, now).await?;
            taken.dead_lettered += 1;
        }
        // Last, since it holds the head until the commit.
        let appended = match sorted.events.as_slice() {
            [] => None,
            events => Some(store::append(&mut transaction, events, now).await?),
        };
        transaction.commit().await?;
        if let Some(appended) = appended {
            taken.stored = appended.stored.unsigned_abs();
            taken.duplicate = sorted.events.len() as u64 - taken.stored;
            self.head.send_if_modified(|head| {
                let ahead = appended.last_position > *head;
                *head = appended.last_position.max(*head);
                ahead
            });
        }
        Ok(taken)
    }

    /// After the database has refused a value of the batch: so that only the culprit is set aside.
    async fn store_one_by_one(
        &self,
        topic: &str,
        batch: &[Delivery],
    ) -> Result<Taken, IntakeError> {
        let mut all = Taken::default();
        for delivery in batch {
            let alone = std::slice::from_ref(delivery);
            let taken = match self.write_in_time(&Sorted::of(topic, alone)).await? {
                Err(error) if is_refused_value(&error) => {
                    let letter = letter_of(topic, delivery, "the database refuses a value");
                    let dead_letters = vec![letter];
                    self.write_in_time(&Sorted { dead_letters, ..Sorted::default() }).await??
                }
                written => written?,
            };
            all.add(taken);
        }
        Ok(all)
    }
}

impl Taken {
    fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.ignored += other.ignored;
        self.dead_lettered += other.dead_lettered;
    }

    fn count(self, topic: &str) {
        let outcomes = [
            ("stored", self.stored),
            ("duplicate", self.duplicate),
            ("ignored", self.ignored),
            ("dead_lettered", self.dead_lettered),
        ];
        for (outcome, count) in outcomes {
            metrics::counter!("bff_backoffice_inbox_messages_total",
                "topic" => topic.to_owned(), "outcome" => outcome)
            .increment(count);
        }
    }
}

/// Classes 22 (data), 23 (constraint) and 54 (longer than an index takes): the value is at fault
/// and would be refused again.
fn is_refused_value(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}
