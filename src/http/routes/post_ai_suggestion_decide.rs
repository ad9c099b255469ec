//! `POST /ai/suggestions/{id}/decide`: recorded once and for all; the orchestrator is told later.

use axum::{extract::State, response::Response};
use events::{SuggestionId, ledger::suggestion_decision::Decision};
use garde::Validate;
use http::request::Parts;
use projections::{
    SuggestionInbox,
    suggestion_inbox::{Suggestion, SuggestionState},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        decide_suggestion::{self, Offer, Refusal, SuggestionDecided, Wish},
        idempotency::{KeyedRequest, StoredResponse},
    },
    http::{
        body::Json,
        caller::Entrant,
        codes::Code,
        extract::Path,
        inbox, keyed,
        openapi::IdempotencyKey,
        problem::{PROBLEM_JSON, Problem},
        request_context::RequestContext,
        validators::fulfils,
    },
};

/// Of a modification, written without spaces.
const MODIFICATION_BYTES_MAX: usize = 8 * 1024;
const MODIFICATION_DEPTH_MAX: usize = 8;
/// Up to here every integer is a number of its own in JavaScript, and in the ledger's canonical
/// JSON.
const EXACT_MAX: u64 = (1 << 53) - 1;

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DecideSuggestion)]
pub struct Request {
    /// `accept`, `reject` or `modify`.
    #[garde(custom(fulfils(is_decision)))]
    #[schema(example = "accept")]
    decision: String,
    /// With `modify` only: what shall be done instead; at most 8 KiB and 8 levels deep, with
    /// integers that JavaScript can hold.
    #[serde(default)]
    #[garde(custom(is_modification_of(&self.decision)))]
    #[schema(value_type = Option<Object>)]
    modification: Option<Map<String, Value>>,
    /// A word of the desktop's list.
    #[serde(default)]
    #[garde(inner(custom(fulfils(is_word))))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    reason_code: Option<String>,
    /// For the colleagues; kept encrypted, told to the orchestrator, never published.
    #[serde(default)]
    #[garde(length(chars, min = 1, max = 1000))]
    #[schema(min_length = 1, max_length = 1000)]
    comment: Option<String>,
}

#[utoipa::path(
    post,
    path = "/ai/suggestions/{id}/decide",
    operation_id = "decideSuggestion",
    summary = "Records what the operator makes of a suggestion; the first decision stands",
    tag = "ai",
    params(
        ("id" = String, Path, description = "The orchestrator's suggestion id"),
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = SuggestionDecided,
            description = "The decision, which stands whether or not the orchestrator can be told"),
        (status = 410, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Path(id): Path<String>,
    parts: Parts,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    let key = keyed::key(&app, &parts.headers)?;
    let suggestion_id: SuggestionId =
        id.parse().map_err(|_| Problem::new(Code::ResourceNotFound))?;
    let actor = entrant.actor();
    let query = parts.uri.query().unwrap_or_default();
    let route = format!("POST /ai/suggestions/{suggestion_id}/decide?{query}");
    let keyed = KeyedRequest::new(app.commands(), &actor, key, &route, &json!(request));
    let suggestion = visible(&app, &entrant, &suggestion_id).await?;
    let wish = wish(&app, request, suggestion)?;
    let (commands, context) = (app.commands().clone(), entrant.context.clone());
    let keyed_request = keyed.clone();
    let deciding = async move {
        let render = |refusal| refused(&context, refusal);
        let request = decide_suggestion::Request {
            actor: &actor,
            wish: &wish,
            keyed: &keyed,
            render: &render,
        };
        decide_suggestion::run(&commands, request).await
    };
    let outcome = keyed::in_turn(&app, &keyed_request, deciding).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}

/// A suggestion for one of the caller's properties that the caller's tenant may see.
async fn visible(
    app: &App,
    entrant: &Entrant,
    suggestion_id: &SuggestionId,
) -> Result<Suggestion, Problem> {
    let (_, suggestion) =
        inbox::find::<SuggestionInbox>(app, entrant, suggestion_id.as_str()).await?;
    if !suggestion.is_sharia_compliant()
        && app.profiles().works_by_sharia(&entrant.caller.tenant_id).await
    {
        return Err(Code::ResourceNotFound.into());
    }
    Ok(suggestion)
}

/// The validated request about a suggestion, in the words of the command.
fn wish(app: &App, request: Request, suggestion: Suggestion) -> Result<Wish, Problem> {
    let decision = decision(&request.decision).ok_or(Code::ValidationFailed)?;
    let proposed = suggestion.proposed.as_ref().ok_or(Code::ResourceNotFound)?;
    let offer = match suggestion.state(app.clock().now()) {
        SuggestionState::Decided => Offer::Decided,
        SuggestionState::Withdrawn => Offer::Withdrawn,
        SuggestionState::Proposed | SuggestionState::Expired => {
            Offer::Open { until: proposed.expires_at }
        }
    };
    Ok(Wish {
        category: proposed.category.clone(),
        suggestion_id: suggestion.id,
        property_id: suggestion.property_id,
        offer,
        decision,
        modification: request.modification,
        reason_code: request.reason_code,
        comment: request.comment,
    })
}

/// The problem that is kept and told again; with the decision that stands, where it is known.
fn refused(context: &RequestContext, refusal: Refusal) -> StoredResponse {
    let (code, standing) = match refusal {
        Refusal::AlreadyDecided(standing) => (Code::AlreadyDecided, standing),
        Refusal::Expired => (Code::SuggestionExpired, None),
    };
    let problem = Problem::new(code);
    let mut document = json!(problem.document(context));
    if let Some(standing) = standing {
        document["standing"] = json!(standing);
    }
    let content_type = PROBLEM_JSON.to_str().unwrap_or_default().to_owned();
    let headers = [
        ("content-type".to_owned(), content_type),
        ("content-language".to_owned(), context.language().tag().to_owned()),
    ];
    StoredResponse::new(problem.status().as_u16(), headers, document.to_string().into_bytes())
}

fn decision(word: &str) -> Option<Decision> {
    crate::http::listing::word(word)
}

fn is_decision(word: &str) -> bool {
    decision(word).is_some()
}

fn is_word(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// A modification comes with `modify` and with nothing else, and is bounded.
fn is_modification_of(
    decision: &str,
) -> impl FnOnce(&Option<Map<String, Value>>, &()) -> garde::Result + '_ {
    move |modification, ()| match modification {
        None if decision == "modify" => Err(garde::Error::new("REQUIRED")),
        None => Ok(()),
        Some(_) if decision != "modify" => Err(garde::Error::new("INVALID")),
        Some(modification) => is_bounded(modification),
    }
}

fn is_bounded(modification: &Map<String, Value>) -> garde::Result {
    if modification.is_empty() {
        return Err(garde::Error::new("TOO_SHORT"));
    }
    let is_too_long = MODIFICATION_BYTES_MAX < json!(modification).to_string().len();
    if is_too_long || !modification.values().all(|value| fits(value, MODIFICATION_DEPTH_MAX - 1)) {
        return Err(garde::Error::new(if is_too_long { "TOO_LONG" } else { "INVALID" }));
    }
    Ok(())
}

/// At most `depth` levels, and no integer that canonical JSON would round.
fn fits(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => 0 < depth && items.iter().all(|item| fits(item, depth - 1)),
        Value::Object(members) => 0 < depth && members.values().all(|it| fits(it, depth - 1)),
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            magnitude.is_none_or(|magnitude| magnitude <= EXACT_MAX)
        }
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body;

    #[test]
    fn what_is_no_decision_is_refused_by_its_field() {
        let deep = (0..9).fold(json!(1), |inner, _| json!({ "a": inner }));
        for (body, field, code) in [
            (json!({ "decision": "maybe" }), "decision", "INVALID"),
            (json!({ "decision": "modify" }), "modification", "REQUIRED"),
            (json!({ "decision": "modify", "modification": {} }), "modification", "TOO_SHORT"),
            (
                json!({ "decision": "accept", "modification": { "a": 1 } }),
                "modification",
                "INVALID",
            ),
            (json!({ "decision": "modify", "modification": deep }), "modification", "INVALID"),
            (
                json!({ "decision": "modify", "modification": { "a": 9_007_199_254_740_993_u64 } }),
                "modification",
                "INVALID",
            ),
            (
                json!({ "decision": "modify", "modification": { "a": "x".repeat(9_000) } }),
                "modification",
                "TOO_LONG",
            ),
            (json!({ "decision": "reject", "reasonCode": "a b" }), "reasonCode", "INVALID"),
            (json!({ "decision": "reject", "comment": "x".repeat(1_001) }), "comment", "TOO_LONG"),
        ] {
            let problem = body::parse::<Request>(body.to_string().as_bytes()).unwrap_err();
            let errors: Vec<(&str, &str)> = problem
                .errors
                .iter()
                .map(|error| (error.field.as_str(), error.code.as_str()))
                .collect();
            assert_eq!(errors, [(field, code)], "{body}");
        }
    }

    #[test]
    fn what_is_a_decision_is_taken() {
        for body in [
            json!({ "decision": "accept" }),
            json!({ "decision": "reject", "reasonCode": "TOO_LATE", "comment": "no" }),
            json!({ "decision": "modify", "modification": { "rate": { "amountMicro": "1" } } }),
        ] {
            assert!(body::parse::<Request>(body.to_string().as_bytes()).is_ok(), "{body}");
        }
    }
}
