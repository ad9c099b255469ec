//! The one way to call the fourteen services: identity, deadline, bulkhead, circuit, retries,
//! capped answers.

pub mod ai;
pub mod analytics;
pub mod billing;
pub mod breaker;
pub mod call;
pub mod catalogue;
pub mod document;
pub mod ending;
mod error;
mod exchange;
pub mod housekeeping;
pub mod iam;
pub mod iam_step_up;
pub mod id_token;
pub mod inventory;
pub mod lock_health;
pub mod lock_integration;
pub mod maintenance;
pub mod money;
pub mod mutations;
pub mod notification;
pub mod page;
pub mod pricing;
pub mod probe;
pub mod profiles;
pub mod property;
pub mod reading;
mod reported;
pub mod reservation;
pub mod sync;
pub mod tenant;
pub mod tenant_preferences;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use reqwest::redirect;
use tokio::sync::Semaphore;
use url::Url;

use self::{
    breaker::{Breaker, State},
    exchange::Failure,
    id_token::IdTokens,
};
pub use self::{
    call::{Answer, Call, CallContext},
    catalogue::Service,
    error::{UpstreamError, UpstreamProblem},
    profiles::Profiles,
    reported::Reported,
};

/// Waiting before a second attempt: long enough to miss a hiccup, short beside the timeouts of the
/// catalogue.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(100);

/// How upstream services are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bases that differ from the catalogue's; see [`Settings::all_below`].
    pub base_urls: HashMap<Service, Url>,
    pub id_tokens: id_token::Settings,
    /// For a TCP and TLS handshake; part of an attempt's timeout.
    pub connect_timeout: Duration,
    /// Calls under way to one service; further ones wait within their own timeout.
    pub calls_max: usize,
    /// Connections kept open to one service while idle.
    pub idle_connections_max: usize,
    /// Bytes of an answer's body.
    pub answer_size_max: usize,
    pub breaker: breaker::Settings,
}

impl Settings {
    /// Production's defaults with the given identity.
    pub fn new(id_tokens: id_token::Settings) -> Self {
        Self {
            base_urls: HashMap::new(),
            id_tokens,
            connect_timeout: Duration::from_millis(300),
            calls_max: 64,
            idle_connections_max: 32,
            answer_size_max: 1024 * 1024,
            breaker: breaker::Settings::default(),
        }
    }

    /// Bases of all services below one address, each under its name: the simulated platform's
    /// layout.
    pub fn all_below(root: &Url) -> HashMap<Service, Url> {
        let root_path = root.path().trim_end_matches('/');
        Service::all()
            .map(|service| {
                let mut base_url = root.clone();
                base_url.set_path(&format!("{root_path}/{service}"));
                (service, base_url)
            })
            .collect()
    }
}

/// Why [`Upstream::new`] refused.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the HTTP client could not be built")]
    Client(#[from] reqwest::Error),
    #[error(transparent)]
    Identity(#[from] id_token::BuildError),
}

/// The services; cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    client: reqwest::Client,
    answer_size_max: usize,
    id_tokens: IdTokens,
    /// In the order of the catalogue.
    lines: Vec<Line>,
}

/// What belongs to one service.
struct Line {
    base_url: Url,
    breaker: Breaker,
    bulkhead: Semaphore,
}

impl Upstream {
    /// Needs a running tokio runtime: the platform's credentials refresh themselves in it.
    ///
    /// # Errors
    /// TLS or the platform's credentials could not be set up.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let base_urls: HashMap<Service, Url> = catalogue::ROWS
            .iter()
            .map(|row| {
                let overriding = settings.base_urls.get(&row.service);
                (row.service, overriding.cloned().unwrap_or_else(|| row.base_url()))
            })
            .collect();
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.connect_timeout)
            .pool_max_idle_per_host(settings.idle_connections_max)
            .build()?;
        let id_tokens = IdTokens::new(&settings.id_tokens, &base_urls)?;
        let lines = Service::all()
            .map(|service| Line {
                base_url: base_urls[&service].clone(),
                breaker: Breaker::new(service.name(), settings.breaker),
                bulkhead: Semaphore::new(settings.calls_max),
            })
            .collect();
        let answer_size_max = settings.answer_size_max;
        Ok(Self(Arc::new(Shared { client, answer_size_max, id_tokens, lines })))
    }

    /// Calls one service, again as often as its row allows; a mutation only under an idempotency
    /// key.
    ///
    /// # Errors
    /// See [`UpstreamError`]. A mutation of which any attempt may have arrived ends, without an
    /// answer, in [`UpstreamError::OutcomeUnknown`], whatever the last attempt met.
    pub async fn call(&self, call: &Call<'_>) -> Result<Answer, UpstreamError> {
        let row = call.service.row();
        let mutation = call.is_mutation();
        let repeatable = !mutation || call.idempotency_key.is_some();
        let retries = if repeatable { row.retries(mutation) } else { 0 };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(RETRY_DELAY_MIN)
            .with_max_delay(RETRY_DELAY_MAX)
            .with_max_times(retries)
            .with_jitter();
        let maybe_done = AtomicBool::new(false);

        (|| async {
            let attempt = self.attempt(call).await;
            if attempt.as_ref().is_err_and(|failure| failure.maybe_done) {
                maybe_done.store(true, Ordering::Relaxed);
            }
            attempt
        })
        .retry(backoff)
        .when(|failure| failure.retriable)
        .await
        .map_err(|failure| match failure.error {
            // The service looked the key up and says what stands.
            UpstreamError::Problem(problem) if problem.is_verdict() => {
                UpstreamError::Problem(problem)
            }
            error if maybe_done.load(Ordering::Relaxed) => {
                UpstreamError::OutcomeUnknown { service: call.service, last: Box::new(error) }
            }
            error => error,
        })
    }

    /// Every circuit and its state, in the order of the catalogue.
    pub fn circuits(&self) -> Vec<(Service, State)> {
        Service::all().map(|service| (service, self.line(service).breaker.state())).collect()
    }

    /// Whether enough circuits are closed for this instance to be of use: 80 %, rounded up.
    ///
    /// # Errors
    /// The names of those that are not closed.
    pub fn usable(&self) -> Result<(), String> {
        let circuits = self.circuits();
        let mut not_closed = circuits
            .iter()
            .filter(|(_, state)| *state != State::Closed)
            .map(|(service, _)| service.name())
            .collect::<Vec<_>>();
        let closed = circuits.len() - not_closed.len();
        if circuits.len() * 4 <= closed * 5 {
            return Ok(());
        }
        not_closed.sort_unstable();
        Err(format!("circuits not closed: {}", not_closed.join(", ")))
    }

    fn line(&self, service: Service) -> &Line {
        &self.0.lines[service as usize]
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        exchange::attempt(&self.0, self.line(call.service), call).await
    }
}
