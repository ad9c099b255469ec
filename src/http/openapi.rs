//! The OpenAPI document: what is not said at a route.

use utoipa::{
    Modify, OpenApi, ToResponse,
    openapi::security::{ApiKey, ApiKeyValue, SecurityScheme},
};

use super::problem::Document;

/// The answer to everything that fails.
#[derive(ToResponse)]
#[response(description = "What is wrong, for programs and for the operator", content_type = "application/problem+json")]
pub struct Problem(#[expect(dead_code, reason = "the shape is read by the derive")] Document);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "bff-backoffice-service",
        description = "The back-office desktop's one service: composed reads, audited writes, one live stream a device.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/bff/backoffice/v1")),
    components(responses(Problem), schemas(Document)),
    security(("token" = [], "dpop" = [], "device" = [])),
    modifiers(&Credentials),
)]
pub struct Described;

/// Both headers of RFC 9449. OpenAPI has no name for the scheme, so they are described as the headers they are.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, header, description) in [
            ("token", "Authorization", "`DPoP <access token>`; a bound token under `Bearer` is refused"),
            ("dpop", "DPoP", "A proof of the device's key for this one request (RFC 9449)"),
            ("device", "X-Device-Id", "The device of the token"),
        ] {
            let value = ApiKeyValue::with_description(header, description);
            components.add_security_scheme(name, SecurityScheme::ApiKey(ApiKey::Header(value)));
        }
    }
}
