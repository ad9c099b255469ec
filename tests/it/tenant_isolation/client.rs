//! A desktop of one tenant that can be told to misbehave: any method, any header, any body.

use backoffice::{
    clock::{Clock, SystemClock},
    desktop::proof::{DeviceKey, ProofTarget},
};
use reqwest::{Method, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{
    platform::{happened, simulate},
    service::{Service, World},
};

pub struct Client {
    http: reqwest::Client,
    key: DeviceKey,
    pub grant: Value,
    nonce: Option<String>,
}

/// A request as a test writes it.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    pub method: Method,
    /// Below the base path, with the query.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Wish {
    pub fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    pub fn post(path: impl Into<String>, key: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body), ..Self::default() }
            .with("x-idempotency-key", key)
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Everything of the caller's in it, as text.
    pub fn text(&self) -> String {
        format!("{self:?}")
    }
}

impl Client {
    /// Signs in at the simulated platform with `options` beside the tenant.
    pub async fn sign_in(world: &World, tenant_id: &str, options: &Value) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let key = DeviceKey::generate();
        let mut wish = json!({
            "tenantId": tenant_id, "deviceJwk": key.public_jwk(), "ttlSeconds": 3600,
        });
        wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let grant = simulate(world, "/sim/sign-in", &wish).await;
        Self { http, key, grant, nonce: None }
    }

    pub fn text(&self, member: &str) -> &str {
        self.grant[member].as_str().unwrap()
    }

    pub fn property(&self) -> &str {
        self.grant["propertyIds"][0].as_str().unwrap()
    }

    pub async fn ask(&mut self, service: &Service, wish: &Wish) -> Answer {
        let response = self.send(service, wish).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, body }
    }

    /// Sends with a fresh proof; once more when the service asks for its nonce.
    pub async fn send(&mut self, service: &Service, wish: &Wish) -> Response {
        for _ in 0..2 {
            let answer = self.send_once(service, wish).await;
            let nonce = answer.headers().get("dpop-nonce").map(|nonce| nonce.to_str().unwrap());
            let Some(nonce) = nonce else { return answer };
            let is_new = self.nonce.as_deref() != Some(nonce);
            self.nonce = Some(nonce.to_owned());
            if answer.status() != StatusCode::UNAUTHORIZED || !is_new {
                return answer;
            }
        }
        self.send_once(service, wish).await
    }

    async fn send_once(&self, service: &Service, wish: &Wish) -> Response {
        let url = format!("{}{}", service.url, wish.path);
        let token = self.text("accessToken");
        let proof = self.key.proof(
            &ProofTarget {
                method: &wish.method,
                url: &url.parse().unwrap(),
                access_token: Some(token),
                nonce: self.nonce.as_deref(),
            },
            SystemClock.now(),
        );
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", format!("DPoP {token}")),
            ("dpop", proof),
            ("x-device-id", self.text("deviceId").to_owned()),
            ("x-app-version", "1.4.2".to_owned()),
            ("x-app-platform", "linux".to_owned()),
            ("x-network-mode", "good".to_owned()),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        for (name, value) in &wish.headers {
            headers.insert(*name, value.parse().unwrap());
        }
        let mut request = self.http.request(wish.method.clone(), url).headers(headers);
        if let Some(body) = &wish.body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }
}

/// An upstream service raises an alert with this id in the client's first property.
pub async fn raise(world: &World, client: &Client, alert_id: &str, title: &str) {
    let payload = json!({
        "alertId": alert_id, "propertyId": client.property(), "severity": "high",
        "category": "lock", "title": title, "body": format!("{title}, in detail"),
    });
    let subject = "melmastoon.notification.alert.raised.v1";
    happened(world, client.text("tenantId"), subject, payload).await;
}

/// Waits until the alert is in the client's inbox.
pub async fn until_listed(service: &Service, client: &mut Client, alert_id: &str) {
    let client = tokio::sync::Mutex::new(client);
    crate::support::wait::until("the alert is listed", async || {
        let mut client = client.lock().await;
        let page = client.ask(service, &Wish::get("/alerts?limit=100")).await;
        page.body["items"]
            .as_array()
            .is_some_and(|items| items.iter().any(|item| item["id"] == alert_id))
    })
    .await;
}
