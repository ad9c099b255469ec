//! `POST /alerts/{id}/acknowledge`: recorded first, then notification-service is told; 200 whether
//! it hears or not.

use axum::{extract::State, response::Response};
use events::AlertId;
use garde::Validate;
use http::request::Parts;
use projections::AlertInbox;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        acknowledge_alert::{self, Acknowledgment, Wish},
        idempotency::KeyedRequest,
    },
    http::{
        body::Json, caller::Entrant, codes::Code, extract::Path, inbox, keyed,
        openapi::IdempotencyKey, problem::Problem,
    },
};

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AcknowledgeAlert)]
pub struct Request {
    /// For the colleagues; kept encrypted, told to notification-service, never published.
    #[serde(default)]
    #[garde(length(chars, min = 1, max = 1000))]
    #[schema(min_length = 1, max_length = 1000)]
    comment: Option<String>,
}

#[utoipa::path(
    post,
    path = "/alerts/{id}/acknowledge",
    operation_id = "acknowledgeAlert",
    summary = "Records that the operator has taken an alert up, and tells notification-service",
    tag = "alerts",
    params(
        ("id" = String, Path, description = "The upstream's alert id"),
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = Acknowledgment,
            description = "The acknowledgment that stands, this one or the first one"),
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
    let alert_id: AlertId = id.parse().map_err(|_| Problem::new(Code::ResourceNotFound))?;
    let actor = entrant.actor();
    let query = parts.uri.query().unwrap_or_default();
    let route = format!("POST /alerts/{alert_id}/acknowledge?{query}");
    let body = json!(request);
    let keyed = KeyedRequest::new(app.commands(), &actor, key, &route, &body);
    let (property_id, _) = inbox::find::<AlertInbox>(&app, &entrant, alert_id.as_str()).await?;
    let wish = Wish { alert_id, property_id, comment: request.comment };
    let (commands, request) = (app.commands().clone(), keyed.clone());
    let acknowledging = async move {
        let request = acknowledge_alert::Request { actor: &actor, wish: &wish, keyed: &keyed };
        acknowledge_alert::run(&commands, request).await
    };
    let outcome = keyed::in_turn(&app, &request, acknowledging).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}
