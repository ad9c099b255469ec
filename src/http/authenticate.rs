//! The layer before every route that needs a caller: proof and token are verified, the session is
//! opened where there is none.

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, header, request::Parts};

use super::{
    codes::Code, keyed, problem::Problem, rate_limit, request_context::RequestContext, requirements,
};
use crate::{
    access::{AccessRequest, Admission, Caller, Reason, Refusal, rate::Standings},
    app::App,
    commands::{CommandError, open_session},
};

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Lets a request through with its [`Caller`] in the extensions.
///
/// # Errors
/// The refusal, with its challenge and nonce.
pub async fn layer(
    State(app): State<App>,
    context: RequestContext,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // A body cannot be shared between threads, so only what comes before it is lent out.
    let (parts, body) = request.into_parts();
    let (caller, standings) = enter(&app, &context, &parts).await?;
    if let Some(locale) = &caller.locale {
        context.prefer_locale(locale);
    }
    let nonce = caller.fresh_nonce.clone();
    let mut response = match may_enter(&caller, &parts) {
        Ok(()) => {
            let mut request = Request::from_parts(parts, body);
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    rate_limit::tell(response.headers_mut(), &standings);
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    Ok(response)
}

/// The table of requirements, for the route that the router has found.
fn may_enter(caller: &Caller, parts: &Parts) -> Result<(), Problem> {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let named = requirements::named_properties(parts.uri.query(), &parts.headers)?;
    requirements::check(caller, (&parts.method, route), &named)
}

async fn enter(
    app: &App,
    context: &RequestContext,
    request: &Parts,
) -> Result<(Caller, Standings), Problem> {
    let access_request = AccessRequest {
        method: &request.method,
        raw_path: context.path(),
        query: request.uri.query(),
        headers: &request.headers,
    };
    let (admission, standings) =
        app.gate().admit_counted(&access_request).await.map_err(problem)?;
    let caller = match admission {
        Admission::Known(caller) => caller,
        Admission::Opening(pending) => {
            let (commands, sessions) = (app.commands().clone(), app.sessions().clone());
            let request_id = context.request_id().to_owned();
            let opening =
                async move { open_session::run(&commands, &sessions, pending, &request_id).await };
            keyed::to_its_end(app, opening).await?
        }
    };
    Ok((caller, standings))
}

/// A refusal as clients see it.
pub fn problem(refusal: Refusal) -> Problem {
    let challenge = refusal.challenge().and_then(|value| HeaderValue::from_str(&value).ok());
    let Refusal { reason, nonce, .. } = refusal;
    let code = Code::named(reason.code()).unwrap_or(Code::Internal);
    let mut problem = Problem::new(code);
    if let Reason::HeaderInvalid(header) = &reason {
        problem = problem.field(*header, "INVALID");
    }
    if let Some(challenge) = challenge {
        problem = problem.header(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
        problem = problem.header(DPOP_NONCE, nonce);
    }
    match &reason {
        Reason::Unavailable(_) => {
            problem = problem.retry_after(std::time::Duration::from_secs(1));
        }
        Reason::RateLimited(limited) => {
            problem = problem.retry_after(limited.retry_after);
            for (name, value) in rate_limit::headers_of(limited) {
                problem = problem.header(name, value);
            }
        }
        Reason::VersionBlocked(blocked) => problem = problem.upgrade(blocked.as_ref().into()),
        _ => (),
    }
    problem.cause(reason)
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let second = std::time::Duration::from_secs(1);
        match error {
            CommandError::KeyReused => Self::new(Code::IdempotencyKeyReused),
            CommandError::InProgress => Self::new(Code::IdempotencyInProgress).retry_after(second),
            CommandError::Revoked => problem(Reason::SessionRevoked.into()),
            CommandError::Busy => Self::new(Code::Overloaded).retry_after(second),
            CommandError::Unavailable(cause) => {
                Self::new(Code::DependencyUnavailable).retry_after(second).cause(cause)
            }
        }
    }
}
