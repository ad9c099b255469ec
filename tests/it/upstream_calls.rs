//! Calls against a service that answers, refuses, hangs and breaks off.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use backoffice::upstream::{
    Call, CallContext, Reported, Service, Settings, Upstream, UpstreamError,
    breaker::{self, State as Circuit},
    id_token, notification, probe,
    tenant::{self, Membership},
};
use events::{AlertId, OperatorId, TenantId};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use url::Url;

const TENANT: &str = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY";

type Behaviour = dyn Fn(usize) -> Step + Send + Sync;

/// What the service does with one request.
enum Step {
    Answer(u16, Value),
    Text(u16, String),
    Hang,
    /// Takes the request and cuts the connection.
    Cut,
}

#[derive(Clone)]
struct Fake {
    behaviour: Arc<Behaviour>,
    url: Url,
    count: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<(Method, String, HeaderMap)>>>,
}

#[tokio::test]
async fn a_call_carries_our_identity_and_the_operators_context() {
    let (upstream, fake) = start(|_| Step::Answer(200, json!({"ok": true}))).await;
    let (tenant_id, context) = (
        tenant_id(),
        CallContext {
            operator_id: Some("usr_1".parse().unwrap()),
            device_id: Some("dev_1".parse().unwrap()),
            property_id: Some("ppt_1".parse().unwrap()),
            roles: vec!["front_desk".into(), "owner".into()],
            request_id: "01HZX3V7Q8M4N5P6R7S8T9W0XY".into(),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
            locale: Some("ps-AF".into()),
        },
    );
    let path = "/api/v1/reservations/rsv_1/check-in".to_owned();
    let mut call = Call::new(Service::Reservation, Method::POST, path, &tenant_id, &context);
    call.idempotency_key = Some("01HZX3V7Q8M4N5P6R7S8T9W0XZ");
    call.query.push(("note", "a b&c".into()));
    call.body = Some(json!({}));

    let answer = upstream.call(&call).await.unwrap();

    assert_eq!(answer.body, json!({"ok": true}));
    let (method, target, headers) = fake.seen.lock().unwrap().remove(0);
    assert_eq!(method, Method::POST);
    assert_eq!(target, "/reservation-service/api/v1/reservations/rsv_1/check-in?note=a+b%26c");
    for (name, value) in [
        ("authorization", "Bearer token-for-tests"),
        ("x-tenant-id", TENANT),
        ("x-property-id", "ppt_1"),
        ("x-device-id", "dev_1"),
        ("x-operator-id", "usr_1"),
        ("x-operator-roles", "front_desk,owner"),
        ("idempotency-key", "01HZX3V7Q8M4N5P6R7S8T9W0XZ"),
        ("x-idempotency-key", "01HZX3V7Q8M4N5P6R7S8T9W0XZ"),
        ("x-request-id", "01HZX3V7Q8M4N5P6R7S8T9W0XY"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("accept-language", "ps-AF"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_read_is_repeated_as_often_as_its_row_says() {
    let (upstream, fake) =
        start(
            |n| {
                if n == 0 { Step::Answer(503, Value::Null) } else { Step::Answer(200, json!(1)) }
            },
        )
        .await;
    assert_eq!(read(&upstream, Service::Pricing).await.unwrap(), json!(1));
    assert_eq!(fake.calls(), 2);

    let (upstream, fake) = start(|_| Step::Answer(503, Value::Null)).await;
    let failed = read(&upstream, Service::AiOrchestrator).await.unwrap_err();
    let unavailable = Some(StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(failed, UpstreamError::Failed { status, .. } if status == unavailable));
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn a_mutation_is_repeated_only_under_a_key() {
    for (key, calls) in [(Some("01HZX3V7Q8M4N5P6R7S8T9W0XZ"), 2), (None, 1)] {
        let (upstream, fake) = start(|_| Step::Answer(500, Value::Null)).await;
        let failed = mutate(&upstream, Service::Billing, key).await.unwrap_err();
        assert!(matches!(failed, UpstreamError::Failed { .. }), "{failed}");
        assert_eq!(fake.calls(), calls);
    }
}

#[tokio::test]
async fn a_mutation_that_was_cut_off_has_an_unknown_outcome() {
    for key in [Some("01HZX3V7Q8M4N5P6R7S8T9W0XZ"), None] {
        let (upstream, _) = start(|_| Step::Cut).await;
        let ended = mutate(&upstream, Service::Billing, key).await.unwrap_err();
        assert!(matches!(ended, UpstreamError::OutcomeUnknown { .. }), "{ended}");
    }
    let (upstream, _) = start(|_| Step::Cut).await;
    let ended = read(&upstream, Service::Billing).await.unwrap_err();
    assert!(matches!(ended, UpstreamError::Failed { .. }), "a read has no outcome: {ended}");
}

#[tokio::test]
async fn a_failure_after_a_maybe_leaves_the_outcome_unknown_and_an_answer_settles_it() {
    let key = Some("01HZX3V7Q8M4N5P6R7S8T9W0XZ");
    let (upstream, _) =
        start(|n| if n == 0 { Step::Cut } else { Step::Answer(500, Value::Null) }).await;
    let ended = mutate(&upstream, Service::Billing, key).await.unwrap_err();
    assert!(matches!(ended, UpstreamError::OutcomeUnknown { .. }), "{ended}");

    let (upstream, _) =
        start(|n| if n == 0 { Step::Cut } else { Step::Answer(200, json!("done")) }).await;
    assert_eq!(mutate(&upstream, Service::Billing, key).await.unwrap(), json!("done"));
}

#[tokio::test]
async fn a_mutation_whose_answer_cannot_be_read_has_an_unknown_outcome() {
    for text in ["no json".to_owned(), " ".repeat(2 * 1024 * 1024)] {
        let (upstream, _) = start(move |_| Step::Text(200, text.clone())).await;
        let ended = mutate(&upstream, Service::LockIntegration, None).await.unwrap_err();
        assert!(matches!(ended, UpstreamError::OutcomeUnknown { .. }), "{ended}");
    }
}

#[tokio::test]
async fn nothing_listening_is_a_failure_and_never_an_unknown_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let upstream = Upstream::new(&settings(&root)).unwrap();
    let ended = mutate(&upstream, Service::LockIntegration, None).await.unwrap_err();
    assert!(matches!(ended, UpstreamError::Failed { status: None, .. }), "{ended}");
}

#[tokio::test]
async fn a_service_that_hangs_costs_its_timeout_and_a_caller_in_a_hurry_less() {
    let (upstream, _) = start(|_| Step::Hang).await;
    let started = Instant::now();
    let ended = read(&upstream, Service::AiOrchestrator).await.unwrap_err();
    assert!(matches!(ended, UpstreamError::Timeout { .. }), "{ended}");
    assert!(Duration::from_millis(800) <= started.elapsed());

    let (tenant_id, context) = (tenant_id(), CallContext::internal());
    let path = "/api/v1/x".to_owned();
    let mut call = Call::new(Service::AiOrchestrator, Method::GET, path, &tenant_id, &context);
    let started = Instant::now();
    for _ in 0..10 {
        call.deadline = Some(Instant::now() + Duration::from_millis(10));
        let ended = upstream.call(&call).await.unwrap_err();
        assert!(matches!(ended, UpstreamError::Timeout { .. }), "{ended}");
    }
    assert!(started.elapsed() < Duration::from_millis(800));
    assert_eq!(circuit(&upstream, Service::AiOrchestrator), Circuit::Closed, "hurry is no failure");
}

#[tokio::test]
async fn five_failures_open_the_circuit_and_a_probe_closes_it_without_traffic() {
    let (upstream, fake) =
        start(|n| Step::Answer(if n < 5 { 500 } else { 404 }, Value::Null)).await;
    for _ in 0..5 {
        assert!(read(&upstream, Service::Sync).await.is_err());
    }
    assert_eq!(circuit(&upstream, Service::Sync), Circuit::Open);
    let refused = read(&upstream, Service::Sync).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Unavailable { .. }), "{refused}");
    assert_eq!(fake.calls(), 5, "an open circuit sends nothing");

    let recovered = async {
        while circuit(&upstream, Service::Sync) != Circuit::Closed {
            probe::probe_waiting(&upstream).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recovered).await.expect("the probe succeeds");
    assert_eq!(fake.calls(), 6);
}

#[tokio::test]
async fn an_instance_is_usable_while_twelve_of_fourteen_circuits_are_closed() {
    let (upstream, _) = start(|_| Step::Answer(500, Value::Null)).await;
    for (service, usable) in
        [(Service::Sync, true), (Service::Iam, true), (Service::LockIntegration, false)]
    {
        for _ in 0..5 {
            assert!(read(&upstream, service).await.is_err());
        }
        assert_eq!(upstream.usable().is_ok(), usable, "{service}");
    }
    let missing = upstream.usable().unwrap_err();
    assert_eq!(missing, "circuits not closed: iam-service, lock-integration-service, sync-service");
}

#[tokio::test]
async fn a_refusal_is_the_callers_to_read_and_no_failure_of_the_service() {
    let problem = json!({"error": {"code": "MELMASTOON.RESERVATION.OVERBOOKING_BLOCKED"}});
    let (upstream, fake) = start(move |_| Step::Answer(409, problem.clone())).await;
    for _ in 0..10 {
        let refused = mutate(&upstream, Service::Reservation, Some("k")).await.unwrap_err();
        let refused = refused.problem_with(StatusCode::CONFLICT).unwrap();
        assert_eq!(refused.code.as_deref(), Some("MELMASTOON.RESERVATION.OVERBOOKING_BLOCKED"));
    }
    assert_eq!(fake.calls(), 10, "a refusal is not asked for twice");
    assert_eq!(circuit(&upstream, Service::Reservation), Circuit::Closed);

    let (upstream, _) = start(|_| Step::Answer(401, Value::Null)).await;
    let failed = read(&upstream, Service::Iam).await.unwrap_err();
    assert!(matches!(failed, UpstreamError::Failed { .. }), "a 401 is about us: {failed}");
}

#[tokio::test]
async fn a_path_cannot_be_bent_and_a_redirect_is_not_followed() {
    let (upstream, fake) = start(|_| Step::Answer(200, Value::Null)).await;
    let (tenant_id, context) = (tenant_id(), CallContext::internal());
    for path in ["/api/../admin", "/api/./x", "/a?b", "/a#b", "/%2e%2e/x"] {
        let call = Call::new(Service::Iam, Method::GET, path.into(), &tenant_id, &context);
        let ended = upstream.call(&call).await.unwrap_err();
        assert!(matches!(ended, UpstreamError::InvalidCall { .. }), "{path}: {ended}");
    }
    assert_eq!(fake.calls(), 0);

    let (upstream, fake) = start(|_| Step::Answer(307, Value::Null)).await;
    assert!(read(&upstream, Service::Iam).await.is_ok());
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn a_membership_is_read_and_its_absence_is_no_error() {
    let (upstream, _) = start(|n| match n {
        0 => Step::Answer(
            200,
            json!({"data": {
                "operatorId": "usr_1", "roles": ["front_desk"], "propertyIds": ["ppt_1"],
                "status": "active", "more": 1,
            }}),
        ),
        1 => Step::Answer(200, json!({"data": {"status": "suspended"}})),
        _ => Step::Answer(404, json!({"code": "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND"})),
    })
    .await;
    let operator_id: OperatorId = "usr_1".parse().unwrap();
    let ask = async || tenant::membership(&upstream, &tenant_id(), &operator_id).await.unwrap();

    let property_ids = vec!["ppt_1".parse().unwrap()];
    let roles = vec!["front_desk".to_owned()];
    assert_eq!(ask().await, Some(Membership { roles, property_ids, active: true }));
    assert_eq!(ask().await.map(|membership| membership.active), Some(false));
    assert_eq!(ask().await, None);
}

#[tokio::test]
async fn an_acknowledgment_is_reported_and_an_earlier_one_is_accepted() {
    let (upstream, fake) = start(|n| match n {
        0 => Step::Answer(200, json!({})),
        1 => Step::Answer(409, json!({"code": "MELMASTOON.NOTIFICATION.ALREADY_ACKNOWLEDGED"})),
        _ => Step::Answer(404, Value::Null),
    })
    .await;
    let alert_id: AlertId = "alr_1".parse().unwrap();
    let operator_id: OperatorId = "usr_1".parse().unwrap();
    let context = CallContext::internal();
    let acknowledge = async || {
        let acknowledgment = notification::Acknowledgment {
            alert_id: &alert_id,
            acknowledged_by: &operator_id,
            acknowledged_at: chrono::DateTime::UNIX_EPOCH,
            comment: Some("seen"),
            idempotency_key: "01HZX3V7Q8M4N5P6R7S8T9W0XZ",
            deadline: None,
        };
        notification::acknowledge(&upstream, &tenant_id(), &context, acknowledgment).await.unwrap()
    };

    assert_eq!(acknowledge().await, Reported::Recorded);
    assert_eq!(acknowledge().await, Reported::Already);
    assert_eq!(acknowledge().await, Reported::Unknown);
    let (_, target, _) = fake.seen.lock().unwrap().remove(0);
    assert_eq!(target, "/notification-service/api/v1/alerts/alr_1/acknowledge");
}

#[tokio::test]
async fn a_document_is_fetched_within_its_size_and_without_identity() {
    let (upstream, fake) = start(|_| Step::Text(200, "{\"keys\":[]}".into())).await;
    let within = Duration::from_secs(3);

    let bytes = upstream.document(fake.url.clone(), 100, within).await.unwrap();
    assert_eq!(&bytes[..], b"{\"keys\":[]}");
    assert!(!fake.seen.lock().unwrap()[0].2.contains_key("authorization"));
    assert!(upstream.document(fake.url.clone(), 5, within).await.is_err());
}

impl Fake {
    fn calls(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

async fn start(behaviour: impl Fn(usize) -> Step + Send + Sync + 'static) -> (Upstream, Fake) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let fake = Fake {
        behaviour: Arc::new(behaviour),
        url: Url::parse(&root).unwrap(),
        count: Arc::default(),
        seen: Arc::default(),
    };
    let router = Router::new().fallback(serve).with_state(fake.clone());
    tokio_util::task::TaskTracker::new().spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (Upstream::new(&settings(&root)).unwrap(), fake)
}

async fn serve(State(fake): State<Fake>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let target = parts.uri.to_string();
    fake.seen.lock().unwrap().push((parts.method, target, parts.headers));
    let turn = fake.count.fetch_add(1, Ordering::SeqCst);
    match (fake.behaviour)(turn) {
        Step::Answer(status, body) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, axum::Json(body)).into_response()
        }
        Step::Text(status, text) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Step::Hang => std::future::pending().await,
        // The server's task dies with its connection.
        Step::Cut => panic!("cut"),
    }
}

fn settings(root: &str) -> Settings {
    Settings {
        base_urls: Settings::all_below(&Url::parse(root).unwrap()),
        breaker: breaker::Settings {
            cooldown: Duration::from_millis(50),
            ..breaker::Settings::default()
        },
        ..Settings::new(id_token::Settings::Static("token-for-tests".into()))
    }
}

async fn read(upstream: &Upstream, service: Service) -> Result<Value, UpstreamError> {
    let (tenant_id, context) = (tenant_id(), CallContext::internal());
    let call = Call::new(service, Method::GET, "/api/v1/x".into(), &tenant_id, &context);
    upstream.call(&call).await.map(|answer| answer.body)
}

async fn mutate(
    upstream: &Upstream,
    service: Service,
    key: Option<&str>,
) -> Result<Value, UpstreamError> {
    let (tenant_id, context) = (tenant_id(), CallContext::internal());
    let mut call = Call::new(service, Method::POST, "/api/v1/x".into(), &tenant_id, &context);
    call.idempotency_key = key;
    call.body = Some(json!({}));
    upstream.call(&call).await.map(|answer| answer.body)
}

fn circuit(upstream: &Upstream, service: Service) -> Circuit {
    upstream.circuits()[service as usize].1
}

fn tenant_id() -> TenantId {
    TENANT.parse().unwrap()
}
