//! Sends requests as the desktop does: each with a fresh proof, again when a nonce or a token is
//! due.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use chrono::TimeDelta;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use ulid::Ulid;
use url::Url;

use super::{
    device::Device,
    proof::{DeviceKey, ProofTarget},
    sign_in::{self, Grant, Who},
};
use crate::clock::SharedClock;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Three heartbeats of a live stream.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A token this near to its end is refreshed before it is used.
const EXPIRY_MARGIN: TimeDelta = TimeDelta::seconds(30);
/// Paths that stand at the root of the service and not under its base path.
const ROOT_PATHS: [&str; 7] =
    ["/bff/", "/api/", "/health/", "/openapi.json", "/docs", "/.well-known/", "/internal/"];

/// A signed-in device that talks to the service.
pub struct Client {
    http: reqwest::Client,
    /// With the base path.
    backoffice_url: Url,
    simulator_url: Url,
    device: Device,
    key: DeviceKey,
    file: PathBuf,
    clock: SharedClock,
}

/// One request; the path may carry a query.
pub struct Request<'a> {
    pub method: Method,
    pub path: &'a str,
    pub body: Option<&'a Value>,
    /// Headers beside those which every request carries.
    pub headers: &'a [(&'a str, String)],
}

/// The HTTP client of this tool: no proxy of the environment stands between it and the loopback.
///
/// # Errors
/// The operating system gives no resources for it.
pub fn http() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("cannot make an HTTP client")
}

impl Client {
    /// # Errors
    /// Nobody is signed in under `stack_dir`.
    pub fn open(
        file: PathBuf,
        backoffice_url: Url,
        simulator_url: Url,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let device = Device::load(&file)?;
        let key = device.signing_key()?;
        Ok(Self { http: http()?, backoffice_url, simulator_url, device, key, file, clock })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub fn simulator_url(&self) -> &Url {
        &self.simulator_url
    }

    /// Sends and answers whatever the service answers, after at most one retry for a nonce and one
    /// for an expired token. A retry is the same request: it keeps its idempotency key.
    ///
    /// # Errors
    /// The service does not answer, or no new token can be had.
    pub async fn send(&mut self, request: &Request<'_>) -> anyhow::Result<Response> {
        if self.device.token_expires_at - EXPIRY_MARGIN <= self.clock.now() {
            self.renew_token().await?;
        }
        let idempotency_key = Ulid::generate().to_string();
        let (mut nonce_given, mut token_renewed) = (false, false);
        loop {
            let answer = self.attempt(request, &idempotency_key).await?;
            match challenge(&answer) {
                Some(Challenge::Nonce) if !nonce_given => nonce_given = true,
                Some(Challenge::Token) if !token_renewed => {
                    token_renewed = true;
                    self.renew_token().await?;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Sends a request that is not a stream, and reads its JSON.
    ///
    /// # Errors
    /// As [`Self::send`], or the answer is not a 2xx: its problem is in the error.
    pub async fn json(&mut self, request: &Request<'_>) -> anyhow::Result<Value> {
        let answer = self.send(request).await?;
        let (status, url) = (answer.status(), answer.url().clone());
        let body = answer.bytes().await.with_context(|| format!("{url} broke off its answer"))?;
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success(), "{url} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{url} did not answer JSON"))
    }

    /// Takes the nonce that the server gave outside a response header.
    ///
    /// # Errors
    /// The device's file cannot be written.
    pub fn take_nonce(&mut self, nonce: &str) -> anyhow::Result<()> {
        if self.device.nonce.as_deref() != Some(nonce) {
            self.device.nonce = Some(nonce.to_owned());
            self.device.save(&self.file)?;
        }
        Ok(())
    }

    /// Gets a new token: by the refresh token, else by signing in again on the same device.
    ///
    /// # Errors
    /// Neither works.
    pub async fn renew_token(&mut self) -> anyhow::Result<()> {
        match self.refresh().await {
            Ok(grant) => {
                self.device.token_expires_at = grant.expires_at(self.clock.now());
                self.device.access_token = grant.access_token;
                self.device.refresh_token = grant.refresh_token;
            }
            Err(refused) => {
                eprintln!("desktop: the token could not be refreshed ({refused:#}); signing in");
                let who = Who {
                    tenant_id: Some(self.device.tenant_id.clone()),
                    operator_id: Some(self.device.operator_id.clone()),
                    device_id: Some(self.device.device_id.clone()),
                    property_ids: self.device.property_ids.clone(),
                    ..Who::default()
                };
                let now = self.clock.now();
                let nonce = self.device.nonce.take();
                self.device =
                    sign_in::sign_in(&self.http, &self.simulator_url, who, &self.key, now).await?;
                self.device.nonce = nonce;
            }
        }
        self.device.save(&self.file)
    }

    async fn refresh(&mut self) -> anyhow::Result<Grant> {
        let url = self.url_of("/auth/refresh")?;
        let body = json!({ "refreshToken": self.device.refresh_token });
        let idempotency_key = Ulid::generate().to_string();
        for _ in 0..2 {
            let builder = self
                .with_device(self.http.post(url.clone()))
                .timeout(ANSWER_TIMEOUT)
                .header("X-Idempotency-Key", &idempotency_key)
                .header("DPoP", self.proof(&Method::POST, &url, None))
                .json(&body);
            let answer = builder.send().await.context("the service does not answer")?;
            self.note_nonce(&answer)?;
            if let Some(Challenge::Nonce) = challenge(&answer) {
                continue;
            }
            let status = answer.status();
            ensure!(status.is_success(), "the service answered {status}");
            return answer.json().await.context("the service did not answer a token");
        }
        bail!("the service refused the nonce it gave")
    }

    async fn attempt(
        &mut self,
        request: &Request<'_>,
        idempotency_key: &str,
    ) -> anyhow::Result<Response> {
        let url = self.url_of(request.path)?;
        let token = &self.device.access_token;
        let mut builder = self
            .with_device(self.http.request(request.method.clone(), url.clone()))
            .header(header::AUTHORIZATION, format!("DPoP {token}"))
            .header("DPoP", self.proof(&request.method, &url, Some(token)));
        if !request.method.is_safe() {
            builder = builder.header("X-Idempotency-Key", idempotency_key);
        }
        for (name, value) in request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(body) = request.body {
            builder = builder.json(body);
        }
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, builder.send())
            .await
            .with_context(|| format!("{url} does not answer"))?
            .with_context(|| format!("{url} does not answer"))?;
        self.note_nonce(&answer)?;
        Ok(answer)
    }

    fn with_device(&self, builder: RequestBuilder) -> RequestBuilder {
        builder
            .header("X-Device-Id", &self.device.device_id)
            .header("X-App-Version", "1.0.0")
            .header("X-App-Platform", app_platform())
            .header("X-Network-Mode", "good")
            .header("X-Request-Id", Ulid::generate().to_string())
    }

    fn proof(&self, method: &Method, url: &Url, access_token: Option<&str>) -> String {
        let nonce = self.device.nonce.as_deref();
        self.key.proof(&ProofTarget { method, url, access_token, nonce }, self.clock.now())
    }

    fn note_nonce(&mut self, answer: &Response) -> anyhow::Result<()> {
        match answer.headers().get("DPoP-Nonce").map(header::HeaderValue::to_str) {
            Some(Ok(nonce)) => self.take_nonce(nonce),
            Some(Err(_)) => bail!("the nonce of {} is not text", answer.url()),
            None => Ok(()),
        }
    }

    fn url_of(&self, path: &str) -> anyhow::Result<Url> {
        url_of(&self.backoffice_url, path)
    }
}

/// Why a 401 may be answered by asking again.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Nonce,
    Token,
}

fn challenge(answer: &Response) -> Option<Challenge> {
    if answer.status() != StatusCode::UNAUTHORIZED {
        return None;
    }
    let has_nonce = answer.headers().contains_key("DPoP-Nonce");
    let texts = answer.headers().get_all(header::WWW_AUTHENTICATE);
    let texts: Vec<&str> = texts.iter().filter_map(|value| value.to_str().ok()).collect();
    challenge_of(&texts, has_nonce)
}

fn challenge_of(challenges: &[&str], has_nonce: bool) -> Option<Challenge> {
    let names = |error: &str| challenges.iter().any(|text| text.contains(error));
    if names("error=\"use_dpop_nonce\"") {
        return has_nonce.then_some(Challenge::Nonce);
    }
    names("error=\"invalid_token\"").then_some(Challenge::Token)
}

fn url_of(backoffice_url: &Url, path: &str) -> anyhow::Result<Url> {
    ensure!(path.starts_with('/'), "the path {path:?} does not begin with a slash");
    let is_at_root = ROOT_PATHS.iter().any(|root| path.starts_with(root));
    let base = if is_at_root { "" } else { backoffice_url.path().trim_end_matches('/') };
    backoffice_url.join(&format!("{base}{path}")).with_context(|| format!("{path} is not a path"))
}

/// As `Electron` names it; any other system says `linux`.
fn app_platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        _ => "linux",
    }
}

#[cfg(test)]
pub mod tests;
