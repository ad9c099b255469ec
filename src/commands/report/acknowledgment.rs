//! What notification-service is told of an acknowledgment, and what is made of its answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use events::{
    OperatorId, PropertyId, TenantId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent,
};
use tokio::time::Instant;

use super::{Report, Told, Turn};
use crate::{
    aggregates::{
        AlertAcknowledgment,
        alert_acknowledgment::{Command, Forward, Rejection, Standing},
    },
    commands::Resources,
    upstream::{CallContext, notification},
};

/// How long the request that recorded an acknowledgment has for itself, before the worker tries.
const HEAD_START: Duration = Duration::from_secs(2);

/// What notification-service is told.
pub struct AcknowledgmentReport {
    pub standing: Standing,
    pub comment: Option<String>,
}

/// What an event means for the report of its alert.
pub(super) fn turn(event: &AlertAcknowledgmentEvent) -> Turn {
    match event {
        AlertAcknowledgmentEvent::Acknowledged { .. } => Turn::Opened { head_start: HEAD_START },
        AlertAcknowledgmentEvent::Forwarded { .. }
        | AlertAcknowledgmentEvent::ForwardFailed { .. } => Turn::Closed,
    }
}

impl Report for AcknowledgmentReport {
    type Rejection = Rejection;
    type Aggregate = AlertAcknowledgment;

    fn of(events: Vec<AlertAcknowledgmentEvent>) -> Option<Self> {
        let mut acknowledgment = AlertAcknowledgment::default();
        let mut comment = None;
        for event in events {
            if let AlertAcknowledgmentEvent::Acknowledged { comment: said, .. } = &event {
                comment.clone_from(said);
            }
            acknowledgment.apply(event);
        }
        let standing =
            acknowledgment.standing.filter(|_| acknowledgment.forward == Forward::Pending);
        standing.map(|standing| Self { standing, comment })
    }

    fn origin(&self) -> (&OperatorId, &PropertyId) {
        (&self.standing.by, &self.standing.property_id)
    }

    /// The upstream key is derived from the alert.
    async fn tell(
        &self,
        resources: &Resources,
        tenant_id: &TenantId,
        context: &CallContext,
        timeout: Duration,
    ) -> Told {
        let Standing { alert_id, by, at, .. } = &self.standing;
        let parts = [tenant_id.as_str().as_bytes(), alert_id.as_str().as_bytes()];
        let key = resources.secrets.derived_ulid("acknowledgment-upstream-key", &parts).to_string();
        let acknowledgment = notification::Acknowledgment {
            alert_id,
            acknowledged_by: by,
            acknowledged_at: *at,
            comment: self.comment.as_deref(),
            idempotency_key: &key,
            deadline: Some(Instant::now() + timeout),
        };
        let upstream = &resources.upstream;
        let answer = notification::acknowledge(upstream, tenant_id, context, acknowledgment);
        Told::of(answer.await)
    }

    fn record(told: Told, at: DateTime<Utc>) -> Option<Command> {
        match told {
            Told::Taken { already } => {
                Some(Command::RecordForwarded { at, already_acknowledged: already })
            }
            Told::Refused { status, code } => {
                Some(Command::RecordForwardFailed { at, status, code })
            }
            Told::NotYet => None,
        }
    }
}
