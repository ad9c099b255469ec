//! The `OpenAPI` document: what is not said at a route.

use utoipa::{
    OpenApi, ToResponse,
    openapi::{
        Ref, SecurityRequirement,
        security::{ApiKey, ApiKeyValue, SecurityScheme},
    },
};

use super::{BASE_PATH, problem};

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

/// Says of every operation below the base path that it needs credentials, and that it may be refused or fail in
/// ways that are no route's own: too many requests, an app that is too old, a failure of ours.
pub fn secured(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let components = document.components.get_or_insert_default();
    for (name, header, description) in CREDENTIALS {
        let value = ApiKeyValue::with_description(header, description);
        components.add_security_scheme(name, SecurityScheme::ApiKey(ApiKey::Header(value)));
    }
    let requirement =
        CREDENTIALS.into_iter().fold(SecurityRequirement::default(), |all, (name, ..)| {
            all.add::<_, [&str; 0], &str>(name, [])
        });
    let own = document.paths.paths.iter_mut().filter(|(path, _)| path.starts_with(BASE_PATH));
    for (_, item) in own {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.security = Some(vec![requirement.clone()]);
            for status in ["401", "default"] {
                let problem = Ref::from_response_name("Problem");
                operation.responses.responses.insert(status.to_owned(), problem.into());
            }
        }
    }
    document
}
