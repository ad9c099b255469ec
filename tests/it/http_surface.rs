//! The layers around every route, through the router.

use std::convert::Infallible;

use axum::{Router, body::Body, extract::Request, response::Response};
use backoffice::http::{
    BASE_PATH,
    body::Json,
    codes::Code,
    extract::{Path, Query},
    health::{Readiness, Scope},
    layers::Settings,
    problem::Problem,
    request_context::RequestContext,
    router,
};
use bytes::Bytes;
use garde::Validate;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Comment {
    #[garde(length(max = 5))]
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u8>,
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems() {
    let (status, missing, _) = ask(get("/nowhere")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(missing["code"], "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND");
    assert_eq!(missing["instance"], "/nowhere");

    let wrong = request("DELETE", "/bff/backoffice/v1/echo");
    let (status, problem, headers) = ask(wrong.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(problem["code"], "MELMASTOON.GENERAL.METHOD_NOT_ALLOWED");
    assert_eq!(headers["allow"], "POST");
}

#[tokio::test]
async fn every_answer_names_the_request_and_is_not_stored() {
    let named = request("GET", "/health/live")
        .header("x-request-id", "01HZX3V7Q8M4N5P6R7S8T9W0XY")
        .header("traceparent", PARENT);
    let (status, body, headers) = ask(named.body(Body::empty()).unwrap()).await;

    assert_eq!((status, &body["status"]), (StatusCode::OK, &"live".into()));
    assert_eq!(headers["x-request-id"], "01HZX3V7Q8M4N5P6R7S8T9W0XY");
    assert_eq!(headers["traceparent"], PARENT);
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");

    let (_, problem, headers) = ask(get("/nowhere")).await;
    assert_eq!(problem["requestId"], headers["x-request-id"].to_str().unwrap());
    assert_eq!(headers["cache-control"], "no-store");
}

#[tokio::test]
async fn the_edges_prefix_reaches_the_same_route_and_is_not_forgotten() {
    let (status, body, _) = ask(get("/api/bff/backoffice/v1/things/7?limit=3")).await;

    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["id"], 7);
    assert_eq!(body["path"], "/api/bff/backoffice/v1/things/7");
    assert_eq!(body["route"], "/bff/backoffice/v1/things/{id}");
}

#[tokio::test]
async fn what_the_path_or_the_query_cannot_mean_is_refused_in_our_shape() {
    let (status, problem, _) = ask(get("/bff/backoffice/v1/things/x")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &code(Code::ResourceNotFound)));

    for query in ["limit=x", "limit=300", "limit=1&limit=2", "other=1"] {
        let (status, problem, _) = ask(get(&format!("/bff/backoffice/v1/things/7?{query}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(problem["code"], code(Code::ValidationFailed));
    }
    for target in ["//health/live", "/health/./live", "/health%2flive", "/health/live?x=%00"] {
        let (status, problem, _) = ask(get(target)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{target}");
        assert_eq!(problem["code"], code(Code::MalformedRequest));
    }
    let twice = get("/health/live");
    let (mut parts, body) = twice.into_parts();
    parts.headers.append(header::HOST, HeaderValue::from_static("a"));
    parts.headers.append(header::HOST, HeaderValue::from_static("b"));
    assert_eq!(ask(Request::from_parts(parts, body)).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_is_checked_before_a_route_sees_it() {
    let cases: [(&str, &[u8], Code); 6] = [
        ("text/plain", b"{\"text\":\"a\"}", Code::UnsupportedMediaType),
        ("application/json", b"{\"text\":\"a\",\"text\":\"b\"}", Code::MalformedRequest),
        ("application/json", b"\xef\xbb\xbf{}", Code::MalformedRequest),
        ("application/json", b"{\"text\":\"a\\u0000\"}", Code::MalformedRequest),
        ("application/json", b"", Code::MalformedRequest),
        ("application/json", b"{\"text\":\"abcdef\"}", Code::ValidationFailed),
    ];
    for (content_type, bytes, expected) in cases {
        let (status, problem, _) = ask(echo(content_type, Body::from(bytes.to_vec()))).await;
        assert_eq!(status, expected.status());
        assert_eq!(problem["code"], code(expected), "{bytes:?}");
    }
    let good = echo("application/json; charset=utf-8", Body::from("{\"text\":\"abc\"}"));
    assert_eq!(ask(good).await.1["text"], "abc");
}

#[tokio::test]
async fn ab_01_a_body_that_is_too_long_is_refused_declared_or_not() {
    let long = vec![b' '; 300 * 1024];
    let declared = request("POST", "/bff/backoffice/v1/echo")
        .header("content-type", "application/json")
        .header("content-length", "1099511627776");
    let (status, problem, _) = ask(declared.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(problem["code"], code(Code::PayloadTooLarge));

    let chunks = futures::stream::iter(
        long.chunks(1024)
            .map(|chunk| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(chunk))))
            .collect::<Vec<_>>(),
    );
    let chunked = echo("application/json", Body::new(StreamBody::new(chunks)));
    assert_eq!(ask(chunked).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn ab_09_a_body_that_never_ends_is_given_up() {
    let started = tokio::time::Instant::now();
    let silent = futures::stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>();

    let (status, problem, _) =
        ask(echo("application/json", Body::new(StreamBody::new(silent)))).await;

    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(problem["code"], code(Code::RequestTimeout));
    assert_eq!(started.elapsed(), Settings::default().body_read_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_hangs_is_answered_for_except_a_stream() {
    for (target, method, expected) in [
        ("/bff/backoffice/v1/hang", "GET", Code::UpstreamTimeout),
        ("/bff/backoffice/v1/hang", "POST", Code::OutcomeUnknown),
    ] {
        let (status, problem, headers) =
            ask(request(method, target).body(Body::empty()).unwrap()).await;
        assert_eq!(status, expected.status());
        assert_eq!(problem["code"], code(expected));
        assert_eq!(headers["retry-after"], "1");
    }
    let poll = ask(get("/bff/backoffice/v1/live/poll"));
    let patience = Settings::default().request_timeout * 3;
    assert!(tokio::time::timeout(patience, poll).await.is_err(), "a long poll is not cut");
}

#[tokio::test]
async fn a_panic_costs_one_request_and_shows_nothing() {
    let (status, problem, headers) = ask(get("/bff/backoffice/v1/panic")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(problem["code"], code(Code::Internal));
    assert!(!problem.to_string().contains("secret"));
    assert!(headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn a_problem_is_told_in_the_callers_language_with_its_headers() {
    let (status, problem, headers) = ask(get("/bff/backoffice/v1/refuse")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(headers["www-authenticate"], "DPoP error=\"use_dpop_nonce\"");
    assert_eq!(headers["content-language"], "ps", "the session's locale");
    assert_eq!(problem["userMessage"], "مهرباني وکړئ بیا هڅه وکړئ.");
    assert_eq!(problem["retriable"], true);
    assert_eq!(headers["content-type"], "application/problem+json");

    let french = request("GET", "/bff/backoffice/v1/refuse").header("accept-language", "fr-CA");
    let (_, problem, headers) = ask(french.body(Body::empty()).unwrap()).await;
    assert_eq!(headers["content-language"], "fr");
    assert_eq!(problem["userMessage"], "Veuillez réessayer.");
}

#[tokio::test]
async fn readiness_names_what_is_missing_and_the_stores_can_be_asked_alone() {
    let (status, report, _) = ask(get("/health/ready")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(report["status"], "not-ready");
    assert_eq!(report["checks"]["circuits"]["detail"], "iam-service is open");
    assert_eq!(report["checks"]["postgres"]["ok"], true);

    let (status, report, _) = ask(get("/health/ready?scope=stores")).await;
    assert_eq!((status, &report["status"]), (StatusCode::OK, &"ready".into()));
}

#[tokio::test]
async fn the_document_and_its_page_are_served_without_help_from_elsewhere() {
    let (status, document, _) = ask(get("/openapi.json")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/health/ready"]["get"].is_object());
    assert!(document["components"]["schemas"]["Problem"]["properties"]["userMessage"].is_object());

    for (path, content_type) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/app.js", "text/javascript; charset=utf-8"),
        ("/docs/app.css", "text/css; charset=utf-8"),
    ] {
        let response = app().oneshot(get(path)).await.unwrap();
        assert_eq!(response.headers()["content-type"], content_type);
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(!text.is_empty() && !text.contains("http"), "{path} names no other host");
        assert!(!text.contains("innerHTML") && !text.contains("<script>"));
    }
}

fn app() -> Router {
    use axum::routing::{get, post};

    let api = OpenApiRouter::new()
        .route(
            "/echo",
            post(async |Json(comment): Json<Comment>| {
                axum::Json(serde_json::json!({ "text": comment.text }))
            }),
        )
        .route(
            "/things/{id}",
            get(async |context: RequestContext, Path(id): Path<u32>, Query(page): Query<Page>| {
                axum::Json(serde_json::json!({
                    "id": id,
                    "limit": page.limit,
                    "path": context.path(),
                    "route": context.route(),
                }))
            }),
        )
        .route("/hang", get(hang).post(hang))
        .route("/live/poll", get(hang))
        .route("/panic", get(panicking))
        .route(
            "/refuse",
            get(async |context: RequestContext| {
                context.prefer_locale("ps-AF");
                let challenge = HeaderValue::from_static("DPoP error=\"use_dpop_nonce\"");
                Problem::new(Code::NonceRequired).header(header::WWW_AUTHENTICATE, challenge)
            }),
        );
    let readiness = Readiness::default().check("postgres", Scope::Stores, async || Ok(())).check(
        "circuits",
        Scope::Circuits,
        async || Err("iam-service is open".to_owned()),
    );
    assert_eq!(BASE_PATH, "/bff/backoffice/v1");
    router(api, OpenApiRouter::new(), (), readiness, Settings::default())
}

async fn hang() {
    std::future::pending::<()>().await;
}

async fn panicking() {
    tokio::task::yield_now().await;
    panic!("secret");
}

async fn ask(request: Request) -> (StatusCode, Value, http::HeaderMap) {
    let response: Response = app().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, serde_json::from_slice(&bytes).unwrap(), parts.headers)
}

fn get(target: &str) -> Request {
    request("GET", target).body(Body::empty()).unwrap()
}

fn echo(content_type: &str, body: Body) -> Request {
    let request = request("POST", "/bff/backoffice/v1/echo").header("content-type", content_type);
    request.body(body).unwrap()
}

fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

fn code(code: Code) -> Value {
    code.full().into()
}
