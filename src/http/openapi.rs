//! The `OpenAPI` document: what is not said at a route.

use http::Method;
use utoipa::{
    IntoParams, OpenApi, ToResponse,
    openapi::{
        Header, Ref, RefOr, Response, SecurityRequirement,
        header::HeaderBuilder,
        path::{Operation, Parameter},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    BASE_PATH, layers, problem,
    requirements::{self, Requirement},
};

/// The answer to everything that fails.
#[derive(ToResponse)]
#[response(
    description = "What is wrong, for programs and for the operator",
    content_type = "application/problem+json"
)]
pub struct Problem(#[expect(dead_code, reason = "the derive reads its shape")] problem::Document);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "bff-backoffice-service",
        description = "The back-office desktop's only server. \
            Errors are `application/problem+json`.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(responses(Problem), schemas(problem::Document, problem::FieldError))
)]
pub struct Described;

/// The headers of RFC 9449. `OpenAPI` has no name for the scheme, so they are described as the
/// headers they are.
const CREDENTIALS: [(&str, &str, &str); 3] = [
    ("token", "Authorization", "`DPoP <access token>`; a bound token under `Bearer` is refused"),
    ("dpop", "DPoP", "A proof of the device's key for this one request (RFC 9449)"),
    ("device", "X-Device-Id", "The device of the token"),
];
const SCHEDULER: &str = "scheduler";
/// They let their callers in by rules of their own: neither the version floor nor a property is
/// looked at there.
const ADMITTING: [&str; 2] = ["/auth/refresh", "/auth/sign-out"];

/// On every answer.
const NAMES: [(&str, &str); 2] = [
    ("X-Request-Id", "ULID: the client's own, or minted"),
    ("traceparent", "W3C trace context: the client's own, or minted"),
];
/// On answers to those who were let in.
const STANDING: [(&str, &str); 3] = [
    ("RateLimit", "What is left of the device's and the tenant's quota"),
    ("RateLimit-Policy", "The quotas"),
    ("DPoP-Nonce", "For the next proofs, when the one used grows old"),
];
/// On problems, where they have something to say.
const OF_PROBLEMS: [(&str, &str); 6] = [
    ("Content-Language", "Of `userMessage`"),
    ("Retry-After", "Seconds; as `retryAfter`"),
    ("WWW-Authenticate", "With 401: what is wrong with the credentials (RFC 9449 §7.1)"),
    ("Idempotency-Replayed", "true when this is the answer to an earlier request"),
    ("X-Ledger-Position", "Of what the refusal has recorded; see X-Min-Position"),
    ("ETag", "With 412, where the object's version is known"),
];

/// On answers to what is done under a key.
const OF_KEYED: [(&str, &str); 2] = [
    ("X-Ledger-Position", "Send it back as X-Min-Position to read your own write"),
    ("Idempotency-Replayed", "true when this is the answer to an earlier request"),
];

/// The parameter of everything that is done once: a route that names it is described with all that
/// comes with it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyKey {
    /// ULID of this wish; the same key has one effect and one answer
    #[param(rename = "X-Idempotency-Key")]
    #[expect(dead_code, reason = "the derive reads its name")]
    key: String,
}

/// Says of every operation which credentials it needs, and with what the layers around the routes
/// may answer in its place. A status that a route describes itself stays as it is there.
pub fn completed(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    describe_components(&mut document);
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let Some(requirement) = requirements::of(&method, path) else { continue };
            operation.security = security(requirement);
            let is_admitted = !matches!(requirement, Requirement::Open | Requirement::Scheduler);
            let is_keyed = is_admitted && !is_admitting(path) && takes_key(operation);
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    describe_headers(response, &NAMES);
                    describe_headers(response, if is_admitted { &STANDING } else { &[] });
                    describe_headers(response, if is_keyed { &OF_KEYED } else { &[] });
                }
            }
            let of_the_key: &[&str] = if is_keyed { &["409", "422"] } else { &[] };
            let of_the_layers = of_the_layers(requirement, path, operation.request_body.is_some());
            for status in of_the_layers.iter().chain(of_the_key) {
                let problem = Ref::from_response_name("Problem");
                let responses = &mut operation.responses.responses;
                responses.entry((*status).to_owned()).or_insert_with(|| problem.into());
            }
        }
    }
    document
}

fn describe_components(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_default();
    for (name, header, description) in CREDENTIALS {
        let value = ApiKeyValue::with_description(header, description);
        components.add_security_scheme(name, SecurityScheme::ApiKey(ApiKey::Header(value)));
    }
    let scheduler = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Google's identity token of the scheduler's account"))
        .build();
    components.add_security_scheme(SCHEDULER, SecurityScheme::Http(scheduler));
    if let Some(RefOr::T(problem)) = components.responses.get_mut("Problem") {
        for headers in [&NAMES[..], &STANDING, &OF_PROBLEMS] {
            describe_headers(problem, headers);
        }
    }
}

/// Those that a route describes itself stay as they are.
fn describe_headers(response: &mut Response, headers: &[(&str, &str)]) {
    for (name, description) in headers {
        let header = || -> Header { HeaderBuilder::new().description(Some(*description)).build() };
        response.headers.entry((*name).to_owned()).or_insert_with(|| header().into());
    }
}

/// The schemes that are needed all together; `None` where nobody has to say who they are.
fn security(requirement: Requirement) -> Option<Vec<SecurityRequirement>> {
    let names: &[&str] = match requirement {
        Requirement::Open => return None,
        Requirement::RefreshToken => &["dpop", "device"],
        Requirement::Authenticated | Requirement::Scope(_) => &["token", "dpop", "device"],
        Requirement::Scheduler => &[SCHEDULER],
    };
    let together = names
        .iter()
        .fold(SecurityRequirement::default(), |all, name| all.add::<_, [&str; 0], &str>(*name, []));
    Some(vec![together])
}

fn is_admitting(path: &str) -> bool {
    path.strip_prefix(BASE_PATH).is_some_and(|path| ADMITTING.contains(&path))
}

fn takes_key(operation: &Operation) -> bool {
    let parameters = operation.parameters.iter().flatten();
    let is_key = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name == "X-Idempotency-Key");
    parameters.into_iter().any(is_key)
}

/// The statuses, each a problem, with which a request may end before its route or without it.
fn of_the_layers(requirement: Requirement, path: &str, takes_body: bool) -> Vec<&'static str> {
    // A target with a second spelling; a body larger than any may be.
    let mut statuses = vec!["400", "413"];
    if !layers::is_long_lived(path) {
        statuses.push("504");
    }
    if takes_body {
        statuses.extend(["408", "415"]);
    }
    match requirement {
        Requirement::Open => (),
        Requirement::Scheduler => statuses.extend(["401", "503"]),
        Requirement::RefreshToken | Requirement::Authenticated => {
            statuses.extend(["401", "429", "503"]);
        }
        Requirement::Scope(_) => statuses.extend(["401", "403", "429", "503"]),
    }
    let is_session = matches!(requirement, Requirement::Authenticated | Requirement::Scope(_));
    if is_session && !is_admitting(path) {
        // A property that is not the caller's; an app that is too old.
        statuses.extend(["404", "426"]);
    }
    statuses
}
