//! A desktop: signed in at the simulated platform, proving its key with every request.

use std::time::Duration;

use backoffice::{
    clock::{Clock, SystemClock},
    desktop::{
        frames::{Frame, FrameReader},
        proof::{DeviceKey, ProofTarget},
    },
};
use chrono::TimeDelta;
use reqwest::{Method, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use ulid::Ulid;

use super::{
    platform::simulate,
    service::{Service, World},
    wait,
};

pub struct Desktop {
    http: reqwest::Client,
    key: DeviceKey,
    /// What the sign-in answered.
    pub grant: Value,
    /// The last one the service gave.
    pub nonce: Option<String>,
    /// Sent as `X-Min-Position` with every request.
    pub min_position: Option<String>,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    pub body: Value,
}

/// A live stream, read frame by frame.
pub struct Live {
    response: Response,
    reader: FrameReader,
    frames: std::collections::VecDeque<Frame>,
}

impl Desktop {
    /// Signs an operator of the tenant in, on a new device, with `options` beside the tenant.
    pub async fn sign_in(world: &World, tenant_id: &str, options: Value) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self::sign_in_over(http, (world, tenant_id), options).await
    }

    /// The same over connections that others use, too.
    pub async fn sign_in_over(
        http: reqwest::Client,
        (world, tenant_id): (&World, &str),
        options: Value,
    ) -> Self {
        let key = DeviceKey::generate();
        let mut wish = json!({ "tenantId": tenant_id, "deviceJwk": key.public_jwk() });
        wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let grant = simulate(world, "/sim/sign-in", &wish).await;
        Self { http, key, grant, nonce: None, min_position: None }
    }

    pub fn text(&self, member: &str) -> &str {
        self.grant[member].as_str().unwrap()
    }

    pub fn property(&self) -> &str {
        self.grant["propertyIds"][0].as_str().unwrap()
    }

    pub async fn get(&mut self, service: &Service, path: &str) -> Answer {
        self.request(service, path, None).await
    }

    /// A mutation under a key of the caller's.
    pub async fn post(&mut self, service: &Service, path: &str, key: &str, body: &Value) -> Answer {
        self.request(service, path, Some((key, body))).await
    }

    async fn request(
        &mut self,
        service: &Service,
        path: &str,
        mutation: Option<(&str, &Value)>,
    ) -> Answer {
        let answer = self.send(service, path, mutation).await;
        Answer::read(answer).await
    }

    /// Sends with a fresh proof, a mutation by POST and all else by GET; once more when the service
    /// asks for its nonce.
    pub async fn send(
        &mut self,
        service: &Service,
        path: &str,
        mutation: Option<(&str, &Value)>,
    ) -> Response {
        for _ in 0..2 {
            let proof = self.proof(service, &method_of(mutation), path);
            let answer = self.send_with_proof(service, path, mutation, &proof).await;
            let nonce = answer.headers().get("dpop-nonce").map(|nonce| nonce.to_str().unwrap());
            let Some(nonce) = nonce else { return answer };
            self.nonce = Some(nonce.to_owned());
            if answer.status() != StatusCode::UNAUTHORIZED {
                return answer;
            }
        }
        panic!("the service did not take its own nonce");
    }

    pub fn proof(&self, service: &Service, method: &Method, path: &str) -> String {
        self.proof_at(service, method, path, TimeDelta::zero())
    }

    /// A proof by a clock that is `off`.
    pub fn proof_at(
        &self,
        service: &Service,
        method: &Method,
        path: &str,
        off: TimeDelta,
    ) -> String {
        let url = format!("{}{path}", service.url).parse().unwrap();
        let target = ProofTarget {
            method,
            url: &url,
            access_token: Some(self.text("accessToken")),
            nonce: self.nonce.as_deref(),
        };
        self.key.proof(&target, SystemClock.now() + off)
    }

    /// A request with nothing but its credentials: a good proof, under the last nonce.
    pub fn bare(&self, service: &Service, method: &Method, path: &str) -> reqwest::RequestBuilder {
        let proof = self.proof(service, method, path);
        self.http
            .request(method.clone(), format!("{}{path}", service.url))
            .header("authorization", format!("DPoP {}", self.text("accessToken")))
            .header("dpop", proof)
            .header("x-device-id", self.text("deviceId"))
    }

    pub async fn send_with_proof(
        &self,
        service: &Service,
        path: &str,
        mutation: Option<(&str, &Value)>,
        proof: &str,
    ) -> Response {
        let mut request = self.signed(service, method_of(mutation), path, proof);
        if let Some((key, body)) = mutation {
            request = request.header("x-idempotency-key", key).json(body);
        }
        request.send().await.unwrap()
    }

    /// Sends exactly these headers and bytes beside what says who is asking, with a fresh proof.
    /// Sends again when the connection breaks before the answer is read, as it may when a service
    /// refuses a body that is still on its way.
    pub async fn send_bytes(
        &mut self,
        service: &Service,
        (method, path): (Method, &str),
        headers: &[(&str, &[u8])],
        body: &[u8],
    ) -> Answer {
        for _ in 0..5 {
            let proof = self.proof(service, &method, path);
            let mut request = self.signed(service, method.clone(), path, &proof);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let Ok(response) = request.body(body.to_vec()).send().await else { continue };
            let answer = Answer::read(response).await;
            let Some(nonce) = answer.headers.get("dpop-nonce") else { return answer };
            self.nonce = Some(nonce.to_str().unwrap().to_owned());
            if answer.body["code"] != "MELMASTOON.AUTH.NONCE_REQUIRED" {
                return answer;
            }
        }
        panic!("the service neither answers nor takes its own nonce");
    }

    /// A request of this operator on this device.
    pub fn signed(
        &self,
        service: &Service,
        method: Method,
        path: &str,
        proof: &str,
    ) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}{path}", service.url))
            .header("authorization", format!("DPoP {}", self.text("accessToken")))
            .header("dpop", proof)
            .header("x-device-id", self.text("deviceId"))
            .header("x-app-version", "1.4.2")
            .header("x-app-platform", "linux")
            .header("x-network-mode", "good");
        match &self.min_position {
            Some(position) => request.header("x-min-position", position),
            None => request,
        }
    }

    /// A proof for a refresh: of this device's key, with no token behind it.
    pub fn refresh_proof(&self, service: &Service) -> String {
        let url = format!("{}/auth/refresh", service.url).parse().unwrap();
        let nonce = self.nonce.as_deref();
        let target = ProofTarget { method: &Method::POST, url: &url, access_token: None, nonce };
        self.key.proof(&target, SystemClock.now())
    }

    /// A refresh with this proof and nothing in `Authorization`.
    pub async fn send_refresh(
        &self,
        service: &Service,
        (key, refresh_token): (&str, &str),
        proof: &str,
    ) -> Response {
        self.refresh_request(service, (key, refresh_token), proof).send().await.unwrap()
    }

    pub fn refresh_request(
        &self,
        service: &Service,
        (key, refresh_token): (&str, &str),
        proof: &str,
    ) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/auth/refresh", service.url))
            .header("dpop", proof)
            .header("x-device-id", self.text("deviceId"))
            .header("x-app-version", "1.4.2")
            .header("x-app-platform", "linux")
            .header("x-network-mode", "good")
            .header("x-idempotency-key", key)
            .json(&json!({ "refreshToken": refresh_token }))
    }

    /// Refreshes under `key`, with the nonce the service asks for; the new tokens are taken over.
    pub async fn refresh(&mut self, service: &Service, key: &str) -> Answer {
        let refresh_token = self.text("refreshToken").to_owned();
        self.refresh_with(service, (key, &refresh_token)).await
    }

    pub async fn refresh_with(&mut self, service: &Service, wish: (&str, &str)) -> Answer {
        self.learn_refresh_nonce(service).await;
        let proof = self.refresh_proof(service);
        let answer = Answer::read(self.send_refresh(service, wish, &proof).await).await;
        if answer.status == StatusCode::OK {
            self.grant = answer.body.clone();
        }
        answer
    }

    /// Takes over the nonce that came with an answer.
    pub fn hear_nonce(&mut self, answer: &Answer) {
        let nonce = answer.headers.get("dpop-nonce").expect("a nonce");
        self.nonce = Some(nonce.to_str().unwrap().to_owned());
    }

    /// Refreshes have nonces of their own: there is no token to name a tenant.
    pub async fn learn_refresh_nonce(&mut self, service: &Service) {
        self.nonce = None;
        let proof = self.refresh_proof(service);
        let answer = self.send_refresh(service, (&key(), "unseen"), &proof).await;
        let nonce = answer.headers().get("dpop-nonce").expect("a nonce is asked for");
        self.nonce = Some(nonce.to_str().unwrap().to_owned());
    }

    /// Opens the live stream and reads it up to `hello`.
    pub async fn live(&mut self, service: &Service, query: &str) -> Live {
        let path = format!("/live{query}");
        Live::open(self.send(service, &path, None).await).await
    }

    /// The same for a desktop that comes back, with the nonce it has.
    pub async fn live_after(&self, service: &Service, last_event_id: &str) -> Live {
        let proof = self.proof(service, &Method::GET, "/live");
        let request = self.signed(service, Method::GET, "/live", &proof);
        Live::open(request.header("last-event-id", last_event_id).send().await.unwrap()).await
    }

    /// Asks for alerts until one fulfils the condition.
    pub async fn alert(
        &mut self,
        service: &Service,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut found = None;
        wait::until(&format!("an alert {what}"), async || {
            let answer = self.get(service, "/alerts?limit=100").await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            let items = answer.body["items"].as_array().unwrap();
            found = items.iter().find(|alert| condition(alert)).cloned();
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

impl Answer {
    pub async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status, headers, bytes, body }
    }
}

impl Live {
    async fn open(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        let (reader, frames) = (FrameReader::default(), std::collections::VecDeque::new());
        let mut live = Self { response, reader, frames };
        let hello = live.next().await;
        assert_eq!(hello["kind"], "hello");
        live
    }

    /// Whether the stream ends, after whatever it still has to say.
    pub async fn ends(&mut self) -> bool {
        loop {
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            match chunk.await.expect("an end in time") {
                Ok(Some(chunk)) => self.frames.extend(self.reader.push(&chunk).unwrap()),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Frames that were read and not asked for.
    pub fn unheard(&self) -> usize {
        self.frames.len()
    }

    /// The data of the next event; fails after ten seconds of nothing.
    pub async fn next(&mut self) -> Value {
        serde_json::from_str(&self.frame().await.data).unwrap()
    }

    /// The next event of this kind; those before it are passed over.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let data = self.next().await;
            if data["kind"] == kind {
                return data;
            }
        }
    }

    /// Whether the stream ends within `patience`; what it says until then is passed over.
    pub async fn ended(&mut self, patience: Duration) -> bool {
        let end = async {
            loop {
                // A connection that breaks off has ended too.
                if !matches!(self.response.chunk().await, Ok(Some(_))) {
                    return;
                }
            }
        };
        tokio::time::timeout(patience, end).await.is_ok()
    }

    /// The next event of this kind, whatever comes before it and however long nothing does.
    pub async fn next_of_within(&mut self, kind: &str, limit: Duration) -> Value {
        let heard = async {
            loop {
                let frame = self.frame_within(limit).await;
                let data: Value = serde_json::from_str(&frame.data).unwrap();
                if data["kind"] == kind {
                    return data;
                }
            }
        };
        tokio::time::timeout(limit, heard).await.expect("such an event in time")
    }

    pub async fn frame(&mut self) -> Frame {
        self.frame_within(Duration::from_secs(10)).await
    }

    async fn frame_within(&mut self, limit: Duration) -> Frame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let chunk = tokio::time::timeout(limit, self.response.chunk());
            let chunk = chunk.await.expect("an event in time").unwrap();
            let chunk = chunk.expect("the stream goes on");
            self.frames.extend(self.reader.push(&chunk).unwrap());
        }
    }
}

fn method_of(mutation: Option<(&str, &Value)>) -> Method {
    if mutation.is_some() { Method::POST } else { Method::GET }
}

/// A new idempotency key.
pub fn key() -> String {
    Ulid::generate().to_string()
}
