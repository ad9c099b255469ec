//! Who is asking: the verified caller of a request, as an extractor. A route without it knows
//! nobody.

use std::time::Duration;

use axum::extract::FromRequestParts;
use events::PropertyId;
use http::{HeaderName, request::Parts};
use tokio::time::timeout;

use super::{
    authenticate::problem, codes::Code, problem::Problem, request_context::RequestContext,
};
use crate::{
    access::{Caller, policy::Scope},
    app::App,
    commands::Actor,
};

const X_MIN_POSITION: HeaderName = HeaderName::from_static("x-min-position");
const X_PROPERTY_ID: HeaderName = HeaderName::from_static("x-property-id");
/// How long a read waits for the views to reach the position the client has seen.
const MIN_POSITION_WAIT: Duration = Duration::from_millis(500);
const MIN_POSITION_POLL: Duration = Duration::from_millis(10);

/// A verified caller, and what its request is called.
#[derive(Clone, Debug)]
pub struct Entrant {
    pub caller: Caller,
    pub context: RequestContext,
    min_position: Option<String>,
    property_header: Option<String>,
}

impl FromRequestParts<App> for Entrant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Ok(context) = RequestContext::from_request_parts(parts, app).await;
        // The authentication layer puts it there; without the layer nobody enters.
        let caller = parts.extensions.get::<Caller>().cloned();
        let text = |name: &HeaderName| {
            parts.headers.get(name).map(|value| value.to_str().unwrap_or_default().to_owned())
        };
        Ok(Self {
            caller: caller.ok_or_else(|| Problem::new(Code::TokenMissing))?,
            context,
            min_position: text(&X_MIN_POSITION),
            property_header: text(&X_PROPERTY_ID),
        })
    }
}

impl Entrant {
    /// # Errors
    /// `SCOPE_DENIED` unless one of the caller's roles has the scope.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        self.caller.require(scope, None).map_err(|reason| problem(reason.into()))
    }

    pub fn actor(&self) -> Actor {
        Actor {
            caller: self.caller.clone(),
            request_id: self.context.request_id().to_owned(),
            traceparent: self.context.traceparent(),
        }
    }

    /// The languages to look texts up in, best first: as asked for, then without region.
    pub fn languages(&self) -> Vec<String> {
        let locale = self.caller.locale.iter().cloned();
        let tag = self.context.language().tag().to_owned();
        [tag]
            .into_iter()
            .chain(locale)
            .flat_map(|tag| {
                let primary = tag.split('-').next().unwrap_or_default().to_owned();
                [tag, primary]
            })
            .collect()
    }

    /// Read your own writes: waits until the views have folded what the client has seen, but not
    /// for ever.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for a position that is not one of this tenant's.
    pub async fn wait_for_min_position(&self, app: &App) -> Result<(), Problem> {
        let Some(token) = &self.min_position else { return Ok(()) };
        let position = app
            .seal()
            .open_position(&self.caller.tenant_id, token)
            .map_err(|_| Problem::new(Code::ValidationFailed).field("X-Min-Position", "INVALID"))?;
        let folded = async {
            while app.folded_position().await.is_none_or(|at| at < position) {
                tokio::time::sleep(MIN_POSITION_POLL).await;
            }
        };
        // What is late is read as it is, also when the database does not say how far it is.
        let _in_time = timeout(MIN_POSITION_WAIT, folded).await;
        Ok(())
    }
}

/// The one property a screen is about: the one that is named, else the caller's only one.
///
/// # Errors
/// `VALIDATION_FAILED` when none is named and the caller has several; see [`properties`].
pub fn property(entrant: &Entrant, named: Option<&str>) -> Result<PropertyId, Problem> {
    match properties(entrant, named)?.as_slice() {
        [property_id] => Ok(property_id.clone()),
        [] => Err(Code::ResourceNotFound.into()),
        _ => Err(Problem::new(Code::ValidationFailed).field("propertyId", "REQUIRED")),
    }
}

/// The properties a read is about: the one that is named, else all of the caller's.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` for a property that is not the caller's, whether or not it exists.
pub fn properties(entrant: &Entrant, named: Option<&str>) -> Result<Vec<PropertyId>, Problem> {
    let Some(named) = named.or(entrant.property_header.as_deref()) else {
        return Ok(entrant.caller.property_ids.clone());
    };
    let own = entrant.caller.property_ids.iter().find(|property| property.as_str() == named);
    own.map(|property| vec![property.clone()]).ok_or_else(|| Code::ResourceNotFound.into())
}
