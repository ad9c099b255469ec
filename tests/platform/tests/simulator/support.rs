//! A simulator of one's own, and requests to it.

use std::net::SocketAddr;

use platform::{Settings, Simulator};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// A simulator on a free port with a client; stop it with [`Bench::stop`].
pub struct Bench {
    simulator: Simulator,
    client: Client,
}

impl Bench {
    /// Without Pub/Sub.
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        let settings = Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..settings };
        let simulator = Simulator::start(settings).await.unwrap();
        let client = Client::builder().build().unwrap();
        Self { simulator, client }
    }

    pub async fn stop(self) {
        self.simulator.shutdown().await;
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.simulator.url()))
    }

    /// A GET of the controls; must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = answer(self.request(Method::GET, path)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// A read of an upstream, with all it demands.
    pub fn read(&self, tenant_id: &str, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
            .header("Authorization", "Bearer id-token")
            .header("X-Tenant-Id", tenant_id)
    }

    /// A mutation at an upstream, with all it demands.
    pub fn mutate(&self, tenant_id: &str, path: &str, key: &str) -> RequestBuilder {
        self.request(Method::POST, path)
            .header("Authorization", "Bearer id-token")
            .header("X-Tenant-Id", tenant_id)
            .header("Idempotency-Key", key)
    }

    pub async fn set_faults(&self, service: &str, faults: &Value) {
        let path = format!("/sim/upstreams/{service}/faults");
        let (status, body) = answer(self.request(Method::PUT, &path).json(faults)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    pub async fn effects(&self, service: &str, key: &str) -> Vec<Value> {
        let path = format!("/sim/upstreams/{service}/effects?idempotencyKey={key}");
        self.get(&path).await["effects"].as_array().unwrap().clone()
    }

    /// Signs a fresh device in; `more` adds to the request.
    pub async fn sign_in(&self, tenant_id: &str, more: &Value) -> Value {
        let mut request = json!({ "tenantId": tenant_id, "deviceJwk": device_jwk() });
        let members = request.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        let (status, body) = self.post("/sim/sign-in", &request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// An open alert of the first tenant: (tenant id, alert id).
    pub async fn open_alert(&self) -> (String, String) {
        let world = self.get("/sim/world").await;
        let tenant_id = text(&world["tenants"][0]["id"]);
        let alerts = world["alerts"].as_array().unwrap();
        let alert = alerts.iter().find(|alert| alert["tenantId"] == tenant_id.as_str()).unwrap();
        (tenant_id, text(&alert["id"]))
    }
}

/// The example key of RFC 7517, appendix A.1.
pub fn device_jwk() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

pub fn acknowledgment() -> Value {
    json!({ "acknowledgedBy": "usr_A", "acknowledgedAt": "2026-11-21T10:00:00Z" })
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Status and JSON body, null when there is none.
pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
