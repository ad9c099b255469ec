//! A desktop of one tenant that can be told to misbehave: any method, any header, any body.

use std::ops::Deref;

use reqwest::{Method, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{
    desktop::Desktop,
    platform::happened,
    service::{Service, World},
    wait,
};

pub struct Client(Desktop);

impl Deref for Client {
    type Target = Desktop;

    fn deref(&self) -> &Desktop {
        &self.0
    }
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
    /// Signs in for an hour, with `options` beside the tenant.
    pub async fn sign_in(world: &World, tenant_id: &str, options: &Value) -> Self {
        let mut wish = json!({ "ttlSeconds": 3600 });
        wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        Self(Desktop::sign_in(world, tenant_id, wish).await)
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
            self.0.nonce = Some(nonce.to_owned());
            if answer.status() != StatusCode::UNAUTHORIZED || !is_new {
                return answer;
            }
        }
        self.send_once(service, wish).await
    }

    async fn send_once(&self, service: &Service, wish: &Wish) -> Response {
        let proof = self.proof(service, &wish.method, &wish.path);
        let mut headers = HeaderMap::new();
        for (name, value) in &wish.headers {
            headers.insert(*name, value.parse().unwrap());
        }
        let request = self.signed(service, wish.method.clone(), &wish.path, &proof);
        // In the place of what a desktop sends.
        let mut request = request.headers(headers);
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
    wait::until("the alert is listed", async || {
        let page = client.ask(service, &Wish::get("/alerts?limit=100")).await;
        page.body["items"]
            .as_array()
            .is_some_and(|items| items.iter().any(|item| item["id"] == alert_id))
    })
    .await;
}
