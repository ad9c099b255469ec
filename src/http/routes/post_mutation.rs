//! `POST` of every row of the mutation table: what an operator has an upstream service do.

mod described;

use std::collections::{BTreeSet, HashMap};

use axum::{extract::State, response::Response, routing::post};
use events::PropertyId;
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    app::App,
    commands::{
        idempotency::KeyedRequest,
        proxy_mutation::{self, ProxyError, Wish},
    },
    composition::{Place, screens},
    http::{
        attestation, body::JsonObject, caller::Entrant, codes::Code, extract::Path, keyed,
        problem::Problem, requirements,
    },
    upstream::mutations::{Mutation, ROWS, body},
};

/// The route of each row.
pub(super) fn router() -> OpenApiRouter<App> {
    ROWS.iter().fold(OpenApiRouter::new(), |router, mutation| {
        let handle = move |State(app): State<App>,
                           entrant: Entrant,
                           Path(ids): Path<HashMap<String, String>>,
                           parts: Parts,
                           JsonObject(body): JsonObject| async move {
            Box::pin(handle(&app, &entrant, Asked { mutation, ids, parts, body })).await
        };
        let (schemas, paths) = described::of(mutation);
        router.routes((schemas, paths, post(handle)))
    })
}

/// A request for one row, unchecked.
struct Asked {
    mutation: &'static Mutation,
    ids: HashMap<String, String>,
    parts: Parts,
    body: Map<String, Value>,
}

async fn handle(app: &App, entrant: &Entrant, asked: Asked) -> Result<Response, Problem> {
    let key = keyed::key(app, &asked.parts.headers)?;
    let wish = asked.checked(entrant)?;
    let actor = entrant.actor();
    let body = Value::Object(wish.body.clone());
    let keyed = KeyedRequest::new(app.commands(), &actor, key, &asked.named(&wish), &body);
    let (commands, request) = (app.commands().clone(), keyed.clone());
    let render = keyed::render(&entrant.context);
    let composer = app.composer().clone();
    let proxying = async move {
        let (actor, wish, keyed) = (&actor, &wish, &keyed);
        let request = proxy_mutation::Request { actor, wish, keyed, render: &render };
        let outcome = proxy_mutation::run(&commands, request).await;
        if outcome.is_ok() || matches!(outcome, Err(ProxyError::Upstream(_))) {
            // Before the answer: whoever reads a screen next finds what was done.
            let parts = screens::parts_of(wish.mutation.boards, wish.mutation.widgets);
            let (tenant_id, device_id) = (&actor.caller.tenant_id, &actor.caller.device_id);
            let (tenant_id, property_id) = (tenant_id.clone(), wish.property_id.clone());
            let place = Place { tenant_id, property_id, date: None };
            composer.changed(&place, &parts, Some(device_id)).await;
        }
        outcome
    };
    let outcome = keyed::in_turn(app, &request, proxying).await?;
    Ok(keyed::response(app, &entrant.caller, outcome))
}

impl Asked {
    fn checked(&self, entrant: &Entrant) -> Result<Wish, Problem> {
        let target_id = match self.ids.get("id") {
            Some(id) if body::is_id(id) => Some(id.clone()),
            Some(_) => return Err(Code::ResourceNotFound.into()),
            None => None,
        };
        let faults = body::faults(self.mutation.body, &self.body);
        if !faults.is_empty() {
            let problem = Problem::new(Code::ValidationFailed);
            return Err(faults
                .into_iter()
                .fold(problem, |problem, fault| problem.field(fault.field, fault.code)));
        }
        let headers = &self.parts.headers;
        Ok(Wish {
            mutation: self.mutation,
            target_id,
            property_id: self.property(entrant)?,
            body: self.body.clone(),
            attestation: attestation::presented(headers).map(str::to_owned),
            if_match: if_match(self.mutation, headers)?,
        })
    }

    /// The one property the request is about. A caller who has only one need not name it.
    fn property(&self, entrant: &Entrant) -> Result<PropertyId, Problem> {
        let own = &entrant.caller.property_ids;
        let of_body = self.body.get(body::PROPERTY).and_then(Value::as_str);
        let of_body = of_body.filter(|_| self.mutation.names_property()).map(str::parse);
        let of_body = of_body.transpose().map_err(|_| Problem::new(Code::ResourceNotFound))?;
        let elsewhere =
            requirements::named_properties(self.parts.uri.query(), &self.parts.headers)?;
        let named: BTreeSet<PropertyId> = of_body.into_iter().chain(elsewhere).collect();
        let mut named = named.into_iter();
        let property_id = match (named.next(), named.next(), own.as_slice()) {
            (Some(named), None, _) => named,
            (None, _, [only]) => only.clone(),
            (None, ..) => return Err(faulty("X-Property-Id", "REQUIRED")),
            (Some(_), Some(_), _) => return Err(faulty("X-Property-Id", "INVALID")),
        };
        if own.contains(&property_id) {
            Ok(property_id)
        } else {
            Err(Code::ResourceNotFound.into())
        }
    }

    /// What makes the request another one, beside its body.
    fn named(&self, wish: &Wish) -> String {
        let route = match &wish.target_id {
            Some(id) => self.mutation.route.replace("{id}", id),
            None => self.mutation.route.to_owned(),
        };
        let query = self.parts.uri.query().unwrap_or_default();
        let tag = wish.if_match.as_ref().map_or(&b""[..], |tag| tag.as_bytes());
        let tag = String::from_utf8_lossy(tag);
        format!("{} {route}?{query} {} {tag}", Method::POST, wish.property_id)
    }
}

/// `If-Match`, where the upstream honours it; elsewhere it would be a promise that nobody keeps.
fn if_match(mutation: &Mutation, headers: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
    let mut tags = headers.get_all(header::IF_MATCH).iter();
    match (tags.next(), tags.next()) {
        (None, _) => Ok(None),
        (Some(tag), None) if mutation.versioned => Ok(Some(tag.clone())),
        _ => Err(faulty("If-Match", "INVALID")),
    }
}

fn faulty(header: &str, code: &str) -> Problem {
    Problem::new(Code::ValidationFailed).field(header, code)
}

impl From<ProxyError> for Problem {
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::Command(error) => error.into(),
            ProxyError::StepUp(error) => error.into(),
            ProxyError::Upstream(error) => error.into(),
        }
    }
}
