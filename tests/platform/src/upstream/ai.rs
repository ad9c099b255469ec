//! ai-orchestrator-service: suggestions, and the decisions reported back on them.

use chrono::DateTime;
use serde_json::json;

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    feed,
    problem::Problem,
    producer::Producer,
    world::{
        World,
        inbox::{Suggestion, SuggestionState},
    },
};

const DECISIONS: [&str; 3] = ["accept", "reject", "modify"];

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["ai", "suggestions"]) => list(world, request),
        ("GET", ["ai", "suggestions", id]) => {
            let suggestion = world.suggestions.get(&request.tenant_id, id);
            Ok(Answer::ok(json!(suggestion.ok_or_else(|| no_suggestion(id))?)))
        }
        ("POST", ["ai", "suggestions", id, "decision"]) => decide(world, request, id),
        _ => Err(request.unknown()),
    }
}

/// `?propertyId=&category=&state=&cursor=&limit=`, newest first.
fn list(world: &World, request: &Request) -> Result<Answer, Problem> {
    let category = request.query.get("category");
    let mut suggestions: Vec<&Suggestion> = world
        .suggestions
        .of_tenant(&request.tenant_id)
        .filter(|suggestion| category.is_none_or(|category| *category == suggestion.category))
        .collect();
    suggestions
        .sort_by(|one, other| (other.proposed_at, &other.id).cmp(&(one.proposed_at, &one.id)));
    pages::page(request, suggestions, |suggestion| suggestion.state.text())
}

/// Body `{decision: accept·reject·modify, decidedBy, decidedAt, modification?, reasonCode?, comment?}`,
/// a modification with `modify` and with nothing else; the first decision stands, and one made in
/// time may be told late.
fn decide(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let decision = request.text("decision")?;
    if !DECISIONS.contains(&decision) {
        let message = format!("decision must be one of {}", DECISIONS.join(", "));
        return Err(Problem::invalid(message));
    }
    request.text("decidedBy")?;
    let decided_at = DateTime::parse_from_rfc3339(request.text("decidedAt")?)
        .map_err(|_| Problem::invalid("decidedAt must be an RFC 3339 time"))?;
    if (decision == "modify") != request.body["modification"].is_object() {
        return Err(Problem::invalid("a modification comes with modify and with nothing else"));
    }
    let suggestion = world.suggestions.get_mut(&request.tenant_id, id);
    let suggestion = suggestion.ok_or_else(|| no_suggestion(id))?;
    if suggestion.state != SuggestionState::Proposed {
        return Err(Problem::conflict(
            "MELMASTOON.AI.ALREADY_DECIDED",
            format!("the suggestion is {}", suggestion.state.text()),
        )
        .with("decision", json!(suggestion.decision)));
    }
    if suggestion.expires_at <= decided_at {
        return Err(Problem::conflict(
            "MELMASTOON.AI.SUGGESTION_EXPIRED",
            "the suggestion had expired when it was decided on",
        ));
    }
    suggestion.state = SuggestionState::Decided;
    suggestion.decision = Some(request.body.clone());
    let payload = json!({
        "suggestionId": suggestion.id,
        "propertyId": suggestion.property_id,
        "decision": decision,
        "at": request.at,
    });
    let tenant_id = &request.tenant_id;
    let event = feed::event(Producer::AiOrchestrator, feed::GATE_DECIDED, tenant_id, payload);
    Ok(Answer::ok(json!(suggestion)).event(event))
}

fn no_suggestion(id: &str) -> Problem {
    Problem::not_found(format!("no suggestion {id}"))
}
