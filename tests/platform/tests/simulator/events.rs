//! Events: published through Pub/Sub in each producer's shape, and taken in by the upstreams.

use std::time::Duration;

use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    client::{Subscriber, SubscriptionAdmin},
    subscriber::MessageStream,
};
use platform::Settings;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Bench, acknowledgment, answer, text};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_raised_alert_arrives_in_its_envelope_and_can_be_acknowledged_upstream() {
    let setting = Setting::start("alerts").await;
    let (tenant_id, property_id) = setting.place().await;
    let mut messages = setting.subscribe("melmastoon.notification.events").await;

    let (status, published) = setting
        .bench
        .post(
            "/sim/events",
            &json!({
                "producer": "notification-service",
                "subject": "melmastoon.notification.alert.raised.v1",
                "tenantId": tenant_id,
                "payload": { "propertyId": property_id, "severity": "high", "title": "Fire" },
            }),
        )
        .await;

    assert_eq!(status, StatusCode::OK, "{published}");
    let message = messages.next().await;
    assert_eq!(message.body["eventId"], published["eventId"]);
    assert_eq!(message.body["subject"], "melmastoon.notification.alert.raised.v1");
    assert_eq!(message.body["producedBy"]["service"], "notification-service");
    assert_eq!(message.body["tenantId"], tenant_id.as_str());
    let payload = &message.body["payload"];
    assert_eq!(payload, &published["payload"]);
    assert_eq!(payload["severity"], "high");
    assert!(payload["raisedAt"].is_string() && payload["source"].is_string());
    let alert_id = text(&payload["alertId"]);
    assert_eq!(message.ordering_key, format!("{tenant_id}:{alert_id}"));
    assert_eq!(message.body["metadata"]["orderingKey"], message.ordering_key.as_str());

    let path = format!("/notification-service/api/v1/alerts/{alert_id}/acknowledge");
    let acknowledge = setting.bench.mutate(&tenant_id, &path, "KEY1").json(&acknowledgment());
    assert_eq!(answer(acknowledge).await.0, StatusCode::OK);
    let message = messages.next().await;
    assert_eq!(message.body["subject"], "melmastoon.notification.alert.acknowledged.v1");
    assert_eq!(message.body["payload"]["alertId"], alert_id.as_str());
    assert_eq!(message.body["payload"]["by"], "usr_A");
    setting.bench.stop().await;
}

#[tokio::test]
async fn a_revocation_is_published_for_every_session_of_the_operator() {
    let setting = Setting::start("revocations").await;
    let (tenant_id, _) = setting.place().await;
    let mut messages = setting.subscribe("melmastoon.iam.events").await;
    let one = setting.bench.sign_in(&tenant_id, &json!({})).await;
    let same_operator = json!({ "operatorId": one["operatorId"] });
    let other = setting.bench.sign_in(&tenant_id, &same_operator).await;

    let request = json!({
        "tenantId": tenant_id,
        "operatorId": one["operatorId"],
        "reason": "admin",
    });
    let (status, answered) = setting.bench.post("/sim/revoke", &request).await;

    assert_eq!(status, StatusCode::OK, "{answered}");
    assert_eq!(answered["revoked"].as_array().unwrap().len(), 2);
    let mut devices = Vec::new();
    for _ in 0..2 {
        let message = messages.next().await;
        assert_eq!(message.body["subject"], "melmastoon.iam.session.revoked.v1");
        let payload = &message.body["payload"];
        assert_eq!(payload["userId"], one["operatorId"]);
        assert_eq!(payload["reason"], "admin");
        assert_eq!(payload["tenantId"], tenant_id.as_str());
        assert_eq!(message.ordering_key, text(&payload["sessionId"]));
        devices.push(text(&payload["deviceId"]));
    }
    devices.sort();
    let mut expected = vec![text(&one["deviceId"]), text(&other["deviceId"])];
    expected.sort();
    assert_eq!(devices, expected);
    setting.bench.stop().await;
}

#[tokio::test]
async fn a_raw_event_is_published_byte_for_byte() {
    let setting = Setting::start("raw").await;
    let (tenant_id, _) = setting.place().await;
    let mut messages = setting.subscribe("melmastoon.ai_orchestrator.events").await;

    let request = json!({
        "producer": "ai-orchestrator",
        "subject": "melmastoon.ai_orchestrator.suggestion.proposed.v1",
        "tenantId": tenant_id,
        "raw": "{not json",
    });
    let (status, answered) = setting.bench.post("/sim/events", &request).await;

    assert_eq!(status, StatusCode::OK, "{answered}");
    assert_eq!(messages.next().await.bytes, b"{not json");
    setting.bench.stop().await;
}

#[tokio::test]
async fn a_world_with_a_pace_raises_alerts_by_itself() {
    let setting = Setting::start_paced("pace", Some(Duration::from_millis(50))).await;
    let mut messages = setting.subscribe("melmastoon.notification.events").await;

    let message = messages.next().await;

    assert_eq!(message.body["subject"], "melmastoon.notification.alert.raised.v1");
    let alert_id = text(&message.body["payload"]["alertId"]);
    let tenant_id = text(&message.body["tenantId"]);
    let path = format!("/notification-service/api/v1/alerts/{alert_id}");
    assert_eq!(answer(setting.bench.read(&tenant_id, &path)).await.0, StatusCode::OK);
    setting.bench.stop().await;
}

#[tokio::test]
async fn without_pubsub_publishing_answers_what_is_missing() {
    let bench = Bench::start().await;
    let (tenant_id, _) = bench.open_alert().await;

    let event = json!({
        "producer": "notification",
        "subject": "melmastoon.notification.alert.raised.v1",
        "tenantId": tenant_id,
    });
    let (status, problem) = bench.post("/sim/events", &event).await;

    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(&problem["detail"]).contains("--pubsub"));
    bench.stop().await;
}

/// A simulator that publishes into a project of its own at the emulator.
struct Setting {
    bench: Bench,
    emulator: String,
    project: String,
}

impl Setting {
    async fn start(name: &str) -> Self {
        Self::start_paced(name, None).await
    }

    async fn start_paced(name: &str, pace: Option<Duration>) -> Self {
        let emulator = emulator();
        // A project of its own for every run, so that no message of an earlier one is found.
        let unique: u64 = rand::random();
        let project = format!("sim-{name}-{unique:x}");
        let bench = Bench::start_with(Settings {
            pubsub_endpoint: Some(emulator.clone()),
            project: project.clone(),
            pace,
            ..Settings::default()
        })
        .await;
        Self { bench, emulator, project }
    }

    /// The first tenant and its first property.
    async fn place(&self) -> (String, String) {
        let world = self.bench.get("/sim/world").await;
        let tenant = &world["tenants"][0];
        (text(&tenant["id"]), text(&tenant["properties"][0]["id"]))
    }

    async fn subscribe(&self, topic: &str) -> Messages {
        let endpoint = format!("http://{}", self.emulator);
        let admin = SubscriptionAdmin::builder()
            .with_endpoint(&endpoint)
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        let subscription = format!("projects/{}/subscriptions/{topic}", self.project);
        admin
            .create_subscription()
            .set_name(&subscription)
            .set_topic(format!("projects/{}/topics/{topic}", self.project))
            .set_enable_message_ordering(true)
            .send()
            .await
            .unwrap();
        let subscriber = Subscriber::builder()
            .with_endpoint(&endpoint)
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        Messages { stream: subscriber.subscribe(subscription).build() }
    }
}

struct Message {
    bytes: Vec<u8>,
    body: Value,
    ordering_key: String,
}

struct Messages {
    stream: MessageStream,
}

impl Messages {
    async fn next(&mut self) -> Message {
        let delivery = tokio::time::timeout(DEADLINE, self.stream.next()).await;
        let (message, handler) = delivery.unwrap().unwrap().unwrap();
        handler.ack();
        Message {
            body: serde_json::from_slice(&message.data).unwrap_or(Value::Null),
            bytes: message.data.to_vec(),
            ordering_key: message.ordering_key,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the suite says where its emulator is")]
fn emulator() -> String {
    std::env::var("PUBSUB_EMULATOR_HOST")
        .expect("set PUBSUB_EMULATOR_HOST=host:port to a Pub/Sub emulator for these tests")
}
