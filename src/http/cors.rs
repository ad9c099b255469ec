//! Which web origins may read our answers: the configured ones, word by word, and nobody else.
//!
//! Nothing here lets a request in, and no cookie is ever looked at: a proof is needed as always.
//! The desktop's pages come from an origin of their own, so without this they could send requests
//! but not read the answers or their nonces.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, header::InvalidHeaderValue};

/// What pages may send.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, DPoP, Content-Type, Accept-Language, X-Idempotency-Key, Idempotency-Key, \
     If-Match, Last-Event-ID, X-Device-Id, X-Property-Id, X-App-Version, X-App-Platform, \
     X-Network-Mode, X-Mfa-Attestation, X-Min-Position, X-Request-Id, traceparent",
);
/// What pages may read of an answer, beside its body.
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "DPoP-Nonce, WWW-Authenticate, Retry-After, Content-Language, ETag, X-Request-Id, traceparent, \
     X-Ledger-Position, X-Cache, Idempotency-Replayed, RateLimit, RateLimit-Policy, Sunset, \
     Deprecation",
);
/// Seconds for which a page need not ask again.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// Puts the rule around a router, the outermost layer of all; without origins there is none.
///
/// # Errors
/// An origin that cannot stand in a header.
pub fn wrap(router: Router, origins: &[String]) -> Result<Router, InvalidHeaderValue> {
    if origins.is_empty() {
        return Ok(router);
    }
    let origins: Result<Arc<[HeaderValue]>, _> =
        origins.iter().map(|origin| HeaderValue::from_str(origin)).collect();
    let layer = middleware::from_fn_with_state(origins?, share);
    // A layer inside of a fallback sees paths that no route has, too.
    Ok(Router::new().fallback_service(router).layer(layer))
}

async fn share(
    State(origins): State<Arc<[HeaderValue]>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = the_origin(request.headers()).filter(|origin| origins.contains(origin)).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if is_preflight => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }
    response
}

fn the_origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    const DESKTOP: &str = "app://backoffice";

    async fn ask(method: &str, lines: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
        let router = Router::new().route("/a", get(async || StatusCode::UNAUTHORIZED));
        let router = wrap(router, &[DESKTOP.to_owned()]).unwrap();
        let mut request = Request::builder().method(method).uri("/a");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (response.status(), response.headers().clone())
    }

    #[tokio::test]
    async fn dp_non_18_a_page_of_the_desktop_may_send_a_proof_and_read_the_nonce() {
        let wish = [
            ("origin", DESKTOP),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "dpop,authorization,x-idempotency-key"),
        ];
        let (status, headers) = ask("OPTIONS", &wish).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(headers["access-control-allow-origin"], DESKTOP);
        let allowed = headers["access-control-allow-headers"].to_str().unwrap();
        let allowed: Vec<&str> = allowed.split(", ").collect();
        for name in ["DPoP", "Authorization", "X-Idempotency-Key", "Last-Event-ID"] {
            assert!(allowed.contains(&name), "{name} in {allowed:?}");
        }

        let (status, headers) = ask("GET", &[("origin", DESKTOP)]).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(headers["access-control-allow-origin"], DESKTOP);
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        let exposed: Vec<&str> = exposed.split(", ").collect();
        assert!(exposed.contains(&"DPoP-Nonce") && exposed.contains(&"WWW-Authenticate"));
        assert!(!headers.contains_key("access-control-allow-credentials"));
        assert_eq!(headers["vary"], "Origin");
    }

    #[tokio::test]
    async fn a_page_of_the_desktop_may_change_what_it_has_read() {
        let wish = [
            ("origin", DESKTOP),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "if-match"),
        ];
        let (_, headers) = ask("OPTIONS", &wish).await;
        let names = |list: &str| -> Vec<String> {
            headers[list].to_str().unwrap().split(", ").map(str::to_owned).collect()
        };
        assert_eq!(names("access-control-allow-methods"), ["GET", "POST", "PUT"]);
        assert!(names("access-control-allow-headers").contains(&"If-Match".to_owned()));

        let (_, headers) = ask("GET", &[("origin", DESKTOP)]).await;
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        assert!(exposed.split(", ").any(|name| name == "ETag"), "{exposed}");
    }

    #[tokio::test]
    async fn pages_of_others_are_told_nothing() {
        for origin in [
            "null",
            "app://backoffice.evil",
            "app://backoffic",
            "APP://BACKOFFICE",
            "https://x",
            "",
        ] {
            let wish = [("origin", origin), ("access-control-request-method", "POST")];
            for method in ["OPTIONS", "GET"] {
                let (status, headers) = ask(method, &wish).await;
                assert_ne!(status, StatusCode::NO_CONTENT, "{origin}");
                assert!(!headers.contains_key("access-control-allow-origin"), "{origin}");
                assert_eq!(headers["vary"], "Origin");
            }
        }
        let twice = [("origin", DESKTOP), ("origin", "https://evil.example")];
        let (_, headers) = ask("GET", &twice).await;
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}
