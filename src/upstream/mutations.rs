//! Every mutation that is passed on to an upstream service: one table. Adding one is one row here
//! and its scope in `http/requirements.rs`.

pub mod body;
mod rows;

use std::time::Duration;

use events::{AttestationId, TenantId, ledger::mfa_attestation::StepUpScope};
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value};
use tokio::time::Instant;

use self::body::Member;
pub use self::rows::ROWS;
use super::{
    Call, CallContext, Service, Upstream,
    ending::{self, Ending},
};

const X_MFA_ATTESTATION: HeaderName = HeaderName::from_static("x-mfa-attestation");

/// Beside the timeouts of its attempts, for the pauses between them.
const PAUSES: Duration = Duration::from_millis(250);

/// One mutation: our route, and what the upstream is asked.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// Names it in the ledger: `reservation.check-in`. The scope that it needs has the same name or
    /// one that is close.
    pub verb: &'static str,
    /// Path of our route, below the base path; asked by POST.
    pub route: &'static str,
    pub operation_id: &'static str,
    /// One line for people who read the interface's documentation.
    pub summary: &'static str,
    pub service: Service,
    /// Path at the service, from its base; asked by POST. `{id}` is that of our route.
    pub path: &'static str,
    pub step_up: StepUp,
    /// What the body may hold, and nothing else.
    pub body: &'static [Member],
    /// What the service answers when it has done it.
    pub success: u16,
    /// The service gives the object an `ETag` and honours `If-Match`.
    pub versioned: bool,
    /// The boards whose content it changes, as their routes name them.
    pub boards: &'static [&'static str],
    /// The widgets of the dashboard whose content it changes.
    pub widgets: &'static [&'static str],
}

/// Whether a second factor is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepUp {
    Never,
    Always(StepUpScope),
    /// For an `amount` at or above the tenant's threshold, see
    /// [`super::tenant::Tenant::large_charge_threshold`].
    AtThreshold(StepUpScope),
}

/// One mutation to be passed on.
#[derive(Clone, Debug)]
pub struct Sending<'a> {
    pub mutation: &'static Mutation,
    /// Of the object it is done to.
    pub target_id: Option<&'a str>,
    /// Checked against the mutation's members.
    pub body: &'a Map<String, Value>,
    /// As the client sent it.
    pub if_match: Option<&'a HeaderValue>,
    /// The step-up that goes with it.
    pub attestation_id: Option<&'a AttestationId>,
    /// The key under which the service recognises a repetition.
    pub idempotency_key: &'a str,
}

/// Asks the service to do it; safe to repeat under the same key.
pub async fn send(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    sending: Sending<'_>,
) -> Ending {
    let Sending { mutation, target_id, .. } = sending;
    let path = mutation.path_to(target_id);
    let mut call = Call::new(mutation.service, Method::POST, path, tenant_id, context);
    call.body = Some(Value::Object(sending.body.clone()));
    call.idempotency_key = Some(sending.idempotency_key);
    call.deadline = Some(Instant::now() + mutation.deadline());
    if let Some(tag) = sending.if_match {
        call.headers.insert(header::IF_MATCH, tag.clone());
    }
    if let Some(id) = sending.attestation_id {
        let id = HeaderValue::from_str(id.as_str()).expect("a prefix and a ULID fit in a header");
        call.headers.insert(X_MFA_ATTESTATION, id);
    }
    ending::of_mutation(mutation.service, upstream.call(&call).await)
}

impl Mutation {
    /// What all rows have in common.
    const BASE: Self = Self {
        verb: "",
        route: "",
        operation_id: "",
        summary: "",
        service: Service::Reservation,
        path: "",
        step_up: StepUp::Never,
        body: &[],
        success: 200,
        versioned: false,
        boards: &[],
        widgets: &[],
    };

    /// The service's path for the object with this id.
    pub fn path_to(&self, id: Option<&str>) -> String {
        self.path.replace("{id}", id.unwrap_or_default())
    }

    /// Our route for the object with this id, below the base path.
    pub fn route_to(&self, id: Option<&str>) -> String {
        self.route.replace("{id}", id.unwrap_or_default())
    }

    /// How long the service is asked at most, all attempts of the catalogue's row together.
    pub fn deadline(&self) -> Duration {
        let row = self.service.row();
        let attempts = u32::try_from(row.retries(true) + 1).unwrap_or(u32::MAX);
        row.timeout(true).saturating_mul(attempts).saturating_add(PAUSES)
    }

    /// Whether the property stands in the body; else it is named by `X-Property-Id` or the query.
    pub fn names_property(&self) -> bool {
        self.body.iter().any(|member| member.name == body::PROPERTY)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_one_route_one_verb_and_one_operation() {
        for names in [
            ROWS.iter().map(|row| row.verb).collect::<BTreeSet<&str>>(),
            ROWS.iter().map(|row| row.route).collect(),
            ROWS.iter().map(|row| row.operation_id).collect(),
        ] {
            assert_eq!(names.len(), ROWS.len());
            assert!(!names.contains(""));
        }
    }

    #[test]
    fn every_row_leads_to_the_object_its_route_names() {
        for row in ROWS {
            assert_eq!(row.route.contains("{id}"), row.path.contains("{id}"), "{}", row.verb);
            assert!(row.path.starts_with("/api/v1/") && row.route.starts_with('/'), "{}", row.verb);
            assert!(!row.boards.is_empty() || !row.widgets.is_empty(), "{}", row.verb);
            assert!(row.route.contains("{id}") || row.names_property(), "{}", row.verb);
        }
        let row = &ROWS[0];
        assert_eq!(row.path_to(Some("rsv_1")), "/api/v1/reservations/rsv_1/check-in");
    }

    #[test]
    fn a_service_has_all_its_attempts_within_what_the_operator_waits() {
        for row in ROWS {
            let timeout = row.service.row().timeout(true);
            assert!(timeout < row.deadline(), "{}", row.verb);
            assert!(row.deadline() < Duration::from_secs(10), "{}", row.verb);
        }
    }

    #[test]
    fn an_amount_that_is_compared_is_asked_for() {
        for row in ROWS {
            if matches!(row.step_up, StepUp::AtThreshold(_)) {
                let amount = row.body.iter().find(|member| member.name == body::AMOUNT);
                assert!(amount.is_some_and(|member| member.required), "{}", row.verb);
            }
        }
    }
}
