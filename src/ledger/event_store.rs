//! The ledger as the event store of `cqrs-es`, for one request: it knows the tenant, the claim and
//! where the receipt goes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use events::{LedgerEvent, Metadata, OperatorId, StreamId, TenantId};

use super::{
    Ledger, ReadError,
    append::{Append, AppendError, NewEvent, Receipt, StreamWrite},
    idempotency::ClaimWrite,
};
use crate::clock::SharedClock;

/// The event store of one request. Clones share the claim and the receipt.
pub struct TenantStore<A> {
    ledger: Ledger,
    clock: SharedClock,
    tenant_id: TenantId,
    metadata: Metadata,
    /// Whose personal fields the events hold.
    subject: Option<OperatorId>,
    /// Goes with the next commit.
    claim: Arc<Mutex<Option<ClaimWrite>>>,
    /// To other streams; they go with the next commit as well.
    companions: Arc<Mutex<Vec<StreamWrite>>>,
    receipt: Arc<Mutex<Option<Receipt>>>,
    /// As the last commit left it: the next command of the request need not read the stream again.
    committed: Arc<Mutex<Option<TenantContext<A>>>>,
    /// The streams are taken for empty, unread.
    presumes_new: bool,
    /// Of events that happened before they were told.
    occurred_at: Option<DateTime<Utc>>,
}

impl<A> Clone for TenantStore<A> {
    fn clone(&self) -> Self {
        Self {
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            tenant_id: self.tenant_id.clone(),
            metadata: self.metadata.clone(),
            subject: self.subject.clone(),
            claim: Arc::clone(&self.claim),
            companions: Arc::clone(&self.companions),
            receipt: Arc::clone(&self.receipt),
            committed: Arc::clone(&self.committed),
            presumes_new: self.presumes_new,
            occurred_at: self.occurred_at,
        }
    }
}

impl<A> TenantStore<A> {
    /// A store for the commands of one request of `tenant_id`; `metadata` goes with every event.
    ///
    /// Personal fields are encrypted for the operator in `metadata`.
    pub fn new(
        ledger: &Ledger,
        clock: &SharedClock,
        tenant_id: TenantId,
        metadata: Metadata,
    ) -> Self {
        Self {
            ledger: ledger.clone(),
            clock: clock.clone(),
            tenant_id,
            subject: metadata.operator_id.clone(),
            metadata,
            claim: Arc::default(),
            companions: Arc::default(),
            receipt: Arc::default(),
            committed: Arc::default(),
            presumes_new: false,
            occurred_at: None,
        }
    }

    /// Takes each stream for empty without reading it: right for a command that is the first of its
    /// stream nearly always. Where it is not, the commit is a conflict, and the caller decides again
    /// with a store that reads.
    #[must_use]
    pub fn presuming_new(self) -> Self {
        Self { presumes_new: true, ..self }
    }

    /// Takes a stream for as long as `version` says and the aggregate for what the caller knows of
    /// it, unread: right where the rule's state is kept elsewhere because the ledger forgets.
    #[must_use]
    pub fn knowing(self, stream: StreamId, version: i64, aggregate: A) -> Self {
        let context = TenantContext { stream, version, aggregate };
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(context);
        self
    }

    /// Dates the events back: they happened before they were told.
    #[must_use]
    pub fn occurring_at(self, at: DateTime<Utc>) -> Self {
        Self { occurred_at: Some(at), ..self }
    }

    /// Lets the next commit start or complete a claim, in its own transaction.
    #[must_use]
    pub fn with_claim(self, claim: ClaimWrite) -> Self {
        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = Some(claim);
        self
    }

    /// Lets the next commit write to other streams too, all or nothing; a conflict there is one of
    /// the command.
    #[must_use]
    pub fn with_writes(self, writes: Vec<StreamWrite>) -> Self {
        *self.companions.lock().unwrap_or_else(PoisonError::into_inner) = writes;
        self
    }

    /// Where the last commit's events stand; `None` before there was one.
    pub fn receipt(&self) -> Option<Receipt> {
        self.receipt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take_claim(&self) -> Option<ClaimWrite> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn take_companions(&self) -> Vec<StreamWrite> {
        std::mem::take(&mut self.companions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn append(&self, mut writes: Vec<StreamWrite>) -> Result<Receipt, AppendError> {
        writes.append(&mut self.take_companions());
        let receipt = self
            .ledger
            .append(Append {
                tenant_id: self.tenant_id.clone(),
                writes,
                claim: self.take_claim(),
                metadata: self.metadata.clone(),
            })
            .await?;
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt.clone());
        Ok(receipt)
    }
}

/// An aggregate as its stream has it, and the version that a commit must still find.
#[derive(Debug)]
pub struct TenantContext<A> {
    stream: StreamId,
    version: i64,
    aggregate: A,
}

impl<A: Aggregate> AggregateContext<A> for TenantContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

/// Errors: a conflict is `AggregateConflict`; what the database or its content is to blame for
/// carries a [`ReadError`] or [`AppendError`] as its source, for the caller to downcast.
impl<A> EventStore<A> for TenantStore<A>
where
    A: Aggregate,
    A::Event: LedgerEvent,
{
    type AC = TenantContext<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let stream = stream_id(aggregate_id)?;
        let recorded = self
            .ledger
            .read_stream::<A::Event>(&self.tenant_id, &stream)
            .await
            .map_err(read_error)?;
        Ok(recorded
            .into_iter()
            .map(|recorded| EventEnvelope {
                aggregate_id: aggregate_id.to_owned(),
                sequence: sequence(recorded.stream_version),
                payload: recorded.event,
                metadata: HashMap::new(),
            })
            .collect())
    }

    async fn load_aggregate(
        &self,
        aggregate_id: &str,
    ) -> Result<TenantContext<A>, AggregateError<A::Error>> {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committed) = committed.filter(|it| it.stream.as_str() == aggregate_id) {
            return Ok(committed);
        }
        let stream = stream_id(aggregate_id)?;
        let mut context =
            TenantContext { stream: stream.clone(), version: 0, aggregate: A::default() };
        if self.presumes_new {
            return Ok(context);
        }
        let recorded = self
            .ledger
            .read_stream::<A::Event>(&self.tenant_id, &stream)
            .await
            .map_err(read_error)?;
        for recorded in recorded {
            context.version = recorded.stream_version;
            context.aggregate.apply(recorded.event);
        }
        Ok(context)
    }

    /// The framework's own metadata map comes back in the envelopes and is not stored: [`Metadata`]
    /// is.
    async fn commit(
        &self,
        events: Vec<A::Event>,
        mut context: TenantContext<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let occurred_at = self.occurred_at.unwrap_or_else(|| self.clock.now());
        let new_events = events
            .iter()
            .map(|event| NewEvent::new(event, self.subject.as_ref(), occurred_at))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AggregateError::UnexpectedError(Box::new(error)))?;
        let has_events = !new_events.is_empty();
        let write = StreamWrite {
            stream: context.stream.clone(),
            ledger: A::Event::LEDGER,
            expected_version: context.version,
            events: new_events,
        };
        let writes = if has_events { vec![write] } else { Vec::new() };
        self.append(writes).await.map_err(append_error)?;
        let envelopes: Vec<EventEnvelope<A>> = (context.version + 1..)
            .zip(events)
            .map(|(version, payload)| EventEnvelope {
                aggregate_id: context.stream.to_string(),
                sequence: sequence(version),
                payload,
                metadata: metadata.clone(),
            })
            .collect();
        if let Some(last) = envelopes.last() {
            context.version = i64::try_from(last.sequence).expect("a version was an i64 before");
        }
        // The framework has applied the events to this aggregate already.
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(context);
        Ok(envelopes)
    }
}

fn stream_id<E: std::error::Error>(aggregate_id: &str) -> Result<StreamId, AggregateError<E>> {
    aggregate_id
        .parse()
        .map_err(|error: events::InvalidId| AggregateError::UnexpectedError(Box::new(error)))
}

fn sequence(version: i64) -> usize {
    usize::try_from(version).expect("versions count from 1")
}

fn read_error<E: std::error::Error>(error: ReadError) -> AggregateError<E> {
    match error {
        ReadError::Unavailable(_) => AggregateError::DatabaseConnectionError(Box::new(error)),
        _ => AggregateError::DeserializationError(Box::new(error)),
    }
}

fn append_error<E: std::error::Error>(error: AppendError) -> AggregateError<E> {
    match error {
        AppendError::Conflict { .. } => AggregateError::AggregateConflict,
        AppendError::Unavailable(_) => AggregateError::DatabaseConnectionError(Box::new(error)),
        _ => AggregateError::UnexpectedError(Box::new(error)),
    }
}
