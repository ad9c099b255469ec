//! ai-orchestrator-service: suggestions, and the decisions reported back on them.

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

/// Body `{decision: accept·reject·modify, …}`; the first decision stands.
fn decide(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let decision = request.text("decision")?;
    if !DECISIONS.contains(&decision) {
        let message = format!("decision must be one of {}", DECISIONS.join(", "));
        return Err(Problem::invalid(message));
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
    suggestion.state = SuggestionState::Decided;
    suggestion.decision = Some(request.body.clone());
    let payload = json!({
        "suggestionId": suggestion.id,
        "propertyId": suggestion.property_id,
        "decision": decision,
        "at": request.at,
    });
    let subject = "melmastoon.ai_orchestrator.hitl.gate_decided.v1";
    let event = feed::event(Producer::AiOrchestrator, subject, &request.tenant_id, payload);
    Ok(Answer::ok(json!(suggestion)).event(event))
}

fn no_suggestion(id: &str) -> Problem {
    Problem::not_found(format!("no suggestion {id}"))
}
