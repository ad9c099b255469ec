//! What notification-service is told of an acknowledgment, and what it says to that.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use events::{AlertId, StreamId, TenantId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent};
use tokio::time::Instant;

use crate::{
    aggregates::{
        AlertAcknowledgment,
        alert_acknowledgment::{Command, Forward, Standing},
    },
    commands::Resources,
    ledger::ReadError,
    upstream::{
        CallContext, UpstreamError,
        notification::{self, Acknowledged},
    },
};

/// What notification-service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has the acknowledgment, ours or one before it.
    Forwarded { already_acknowledged: bool },
    /// It will never take it.
    Refused { status: u16, code: String },
    /// It did not answer, or may answer otherwise later.
    NotYet,
}

/// What notification-service is told.
pub struct Report {
    pub standing: Standing,
    pub comment: Option<String>,
}

impl Report {
    /// The report of an acknowledgment that notification-service has not answered; `None` when
    /// there is none to make.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn open(
        resources: &Resources,
        tenant_id: &TenantId,
        alert_id: &AlertId,
    ) -> Result<Option<Self>, ReadError> {
        let stream = StreamId::alert_acknowledgment(alert_id);
        let recorded =
            resources.ledger.read_stream::<AlertAcknowledgmentEvent>(tenant_id, &stream).await?;
        let mut acknowledgment = AlertAcknowledgment::default();
        let mut comment = None;
        for recorded in recorded {
            if let AlertAcknowledgmentEvent::Acknowledged { comment: said, .. } = &recorded.event {
                comment.clone_from(said);
            }
            acknowledgment.apply(recorded.event);
        }
        let standing =
            acknowledgment.standing.filter(|_| acknowledgment.forward == Forward::Pending);
        Ok(standing.map(|standing| Self { standing, comment }))
    }

    /// Calls notification-service, for at most `timeout`. The upstream key is derived from the
    /// alert: whoever repeats the call, it has one effect.
    pub async fn tell(
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
        match notification::acknowledge(&resources.upstream, tenant_id, context, acknowledgment)
            .await
        {
            Ok(Acknowledged::Recorded) => Told::Forwarded { already_acknowledged: false },
            Ok(Acknowledged::Already) => Told::Forwarded { already_acknowledged: true },
            Ok(Acknowledged::Unknown) => Told::Refused { status: 404, code: String::new() },
            Err(UpstreamError::Problem(problem)) if is_final(problem.status.as_u16()) => {
                let code = problem.code.unwrap_or_default();
                Told::Refused { status: problem.status.as_u16(), code }
            }
            Err(error) => {
                tracing::warn!(%alert_id, error = %error, "notification-service was not told yet");
                Told::NotYet
            }
        }
    }
}

/// Refusals that the same call will meet again. Not: our identity, a timeout, a conflict of timing,
/// a rate limit.
fn is_final(status: u16) -> bool {
    !matches!(status, 401 | 403 | 408 | 409 | 425 | 429)
}

impl Told {
    /// What the ledger is to record of it; `None` while there is no answer.
    pub fn command(self, at: DateTime<Utc>) -> Option<Command> {
        match self {
            Self::Forwarded { already_acknowledged } => {
                Some(Command::RecordForwarded { at, already_acknowledged })
            }
            Self::Refused { status, code } => {
                Some(Command::RecordForwardFailed { at, status, code })
            }
            Self::NotYet => None,
        }
    }
}
