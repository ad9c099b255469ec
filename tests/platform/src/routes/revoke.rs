//! `POST /sim/revoke`: iam ends sessions and tells everybody.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Body, events::refused};
use crate::{
    feed,
    identity::{Identity, Session},
    platform::Platform,
    problem::Problem,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    tenant_id: String,
    session_id: Option<String>,
    operator_id: Option<String>,
    device_id: Option<String>,
    /// `user`, `admin`, `refresh_replay` or `suspend`.
    #[serde(default = "by_admin")]
    reason: String,
}

pub async fn handle(
    State(platform): State<Arc<Platform>>,
    Body(request): Body<Request>,
) -> Result<Json<Value>, Problem> {
    let pubsub = platform.publisher()?;
    let sessions = revoke(&mut platform.world().identity, &request)?;
    let mut revoked = Vec::with_capacity(sessions.len());
    for session in &sessions {
        let event = feed::session_revoked(session, &request.reason);
        let published = pubsub.publish(&event).await.map_err(|error| refused(&error))?;
        revoked.push(json!({
            "sessionId": session.id,
            "eventId": event.id,
            "topic": published.topic,
            "messageId": published.message_id,
            "payload": event.payload,
        }));
    }
    Ok(Json(json!({ "revoked": revoked })))
}

/// The sessions that carry every id given.
fn revoke(identity: &mut Identity, request: &Request) -> Result<Vec<Session>, Problem> {
    if request.session_id.is_none() && request.operator_id.is_none() && request.device_id.is_none()
    {
        return Err(Problem::invalid("name what to revoke: sessionId, operatorId or deviceId"));
    }
    let matches = |wanted: &Option<String>, actual: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted == actual)
    };
    let sessions = identity.revoke(&request.tenant_id, |session| {
        matches(&request.session_id, &session.id)
            && matches(&request.operator_id, &session.operator_id)
            && matches(&request.device_id, &session.device_id)
    });
    if sessions.is_empty() {
        return Err(Problem::not_found("the tenant has no such session; sign in first"));
    }
    Ok(sessions)
}

fn by_admin() -> String {
    "admin".to_owned()
}
