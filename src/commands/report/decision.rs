//! What ai-orchestrator-service is told of a decision, and what is made of its answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use events::{
    OperatorId, PropertyId, TenantId, ledger::suggestion_decision::SuggestionDecisionEvent,
};
use tokio::time::Instant;

use super::{Report, Told, Turn};
use crate::{
    aggregates::{
        SuggestionDecision,
        suggestion_decision::{Command, Rejection, Reporting, Standing},
    },
    commands::Resources,
    upstream::{CallContext, ai},
};

/// What the orchestrator is told.
pub struct DecisionReport {
    standing: Standing,
    comment: Option<String>,
}

/// What an event means for the report of its suggestion. No request waits for the orchestrator.
pub(super) fn turn(event: &SuggestionDecisionEvent) -> Turn {
    match event {
        SuggestionDecisionEvent::Decided { .. } => Turn::Opened { head_start: Duration::ZERO },
        SuggestionDecisionEvent::Reported { .. } | SuggestionDecisionEvent::ReportFailed { .. } => {
            Turn::Closed
        }
    }
}

impl Report for DecisionReport {
    type Rejection = Rejection;
    type Aggregate = SuggestionDecision;

    fn of(events: Vec<SuggestionDecisionEvent>) -> Option<Self> {
        let mut decision = SuggestionDecision::default();
        let mut comment = None;
        for event in events {
            if let SuggestionDecisionEvent::Decided { comment: said, .. } = &event {
                comment.clone_from(said);
            }
            decision.apply(event);
        }
        let standing = decision.standing.filter(|_| decision.reporting == Reporting::Pending);
        standing.map(|standing| Self { standing, comment })
    }

    fn origin(&self) -> (&OperatorId, &PropertyId) {
        (&self.standing.by, &self.standing.property_id)
    }

    /// The upstream key is derived from the suggestion.
    async fn tell(
        &self,
        resources: &Resources,
        tenant_id: &TenantId,
        context: &CallContext,
        timeout: Duration,
    ) -> Told {
        let standing = &self.standing;
        let parts = [tenant_id.as_str().as_bytes(), standing.suggestion_id.as_str().as_bytes()];
        let key = resources.secrets.derived_ulid("decision-upstream-key", &parts).to_string();
        let decision = ai::ReportedDecision {
            suggestion_id: &standing.suggestion_id,
            decision: standing.decision,
            modification: standing.modification.as_ref(),
            reason_code: standing.reason_code.as_deref(),
            decided_by: &standing.by,
            decided_at: standing.at,
            comment: self.comment.as_deref(),
            idempotency_key: &key,
            deadline: Some(Instant::now() + timeout),
        };
        Told::of(ai::decide(&resources.upstream, tenant_id, context, decision).await)
    }

    fn record(told: Told, at: DateTime<Utc>) -> Option<Command> {
        match told {
            Told::Taken { already } => {
                Some(Command::RecordReported { at, already_decided: already })
            }
            Told::Refused { status, code } => {
                Some(Command::RecordReportFailed { at, status, code })
            }
            Told::NotYet => None,
        }
    }
}
