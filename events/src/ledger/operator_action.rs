//! Ledger `activity`, stream `act_…`: one mutation that an operator had an upstream service do.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ledger, LedgerEvent, domain_event, mfa_attestation::StepUpScope};
use crate::{AttestationId, PropertyId};

/// What begins the kinds of this aggregate, which share their ledger with others.
pub const KIND_PREFIX: &str = "melmastoon.bff.backoffice.mutation.";

/// What was to be done, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// `reservation.check-in`, `folio.refund` …
    pub verb: String,
    /// Method and template of our route: `POST /reservations/{id}/check-in`.
    pub route: String,
    /// `reservation-service` …
    pub upstream: String,
    /// The object it is done to, opaque; absent where the action makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,
    pub property_id: PropertyId,
}

/// The step-up that went with an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepUpUsed {
    pub attestation_id: AttestationId,
    pub scope: StepUpScope,
}

/// Why an action was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The upstream said no, and that stands.
    Upstream,
    /// The upstream was not asked, or turned the request away unread; the same key may ask again.
    NotSent,
    /// The step-up it needs was missing or not good enough; the same key may ask again.
    StepUp,
}

/// How an action ended that nobody knew the outcome of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    Completed,
    Refused,
}

/// What happened to one mutation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum OperatorActionEvent {
    /// The operator wants it done; the upstream is asked after this.
    ///
    /// Source: the proxied routes of the mutation table.
    #[serde(rename = "melmastoon.bff.backoffice.mutation.requested.v1", rename_all = "camelCase")]
    Requested {
        action: Action,
        /// Ids, amounts, dates and choices of the request; no text that somebody wrote.
        details: Map<String, Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step_up: Option<StepUpUsed>,
        /// `details` and `action` are the whole request: it can be made again from here. Absent in
        /// older events, which say nothing of it.
        #[serde(default)]
        repeatable: bool,
        requested_at: DateTime<Utc>,
    },

    /// The upstream did it.
    #[serde(rename = "melmastoon.bff.backoffice.mutation.completed.v1", rename_all = "camelCase")]
    Completed {
        action: Action,
        /// The upstream's HTTP status.
        status: u16,
        completed_at: DateTime<Utc>,
    },

    /// It was not done.
    #[serde(rename = "melmastoon.bff.backoffice.mutation.refused.v1", rename_all = "camelCase")]
    Refused {
        action: Action,
        reason: RefusalReason,
        /// The upstream's HTTP status, where it answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The problem code, empty when there was none.
        code: String,
        refused_at: DateTime<Utc>,
    },

    /// It was sent and not answered: it may have happened. The same key finds out.
    #[serde(
        rename = "melmastoon.bff.backoffice.mutation.outcome_unknown.v1",
        rename_all = "camelCase"
    )]
    OutcomeUnknown {
        action: Action,
        /// The upstream's HTTP status, where it answered 5xx.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        unknown_since: DateTime<Utc>,
    },

    /// What had become of it was found out, under the same upstream key.
    #[serde(rename = "melmastoon.bff.backoffice.mutation.resolved.v1", rename_all = "camelCase")]
    Resolved {
        action: Action,
        outcome: ActionOutcome,
        /// The upstream's HTTP status.
        status: u16,
        /// The upstream's problem code, empty when it gave none.
        code: String,
        resolved_at: DateTime<Utc>,
    },
}

impl LedgerEvent for OperatorActionEvent {
    const LEDGER: Ledger = Ledger::Activity;

    fn kind(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "melmastoon.bff.backoffice.mutation.requested.v1",
            Self::Completed { .. } => "melmastoon.bff.backoffice.mutation.completed.v1",
            Self::Refused { .. } => "melmastoon.bff.backoffice.mutation.refused.v1",
            Self::OutcomeUnknown { .. } => "melmastoon.bff.backoffice.mutation.outcome_unknown.v1",
            Self::Resolved { .. } => "melmastoon.bff.backoffice.mutation.resolved.v1",
        }
    }
}

domain_event!(OperatorActionEvent);
