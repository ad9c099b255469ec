//! One round: many requests in closed loop, and what the server and the client took for them.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::{RequestBuilder, StatusCode};
use tokio::task::JoinSet;

use crate::{
    report::quantile,
    support::{durations::milliseconds, service::Service},
    usage::Usage,
};

/// Of a round.
const FAILURES_SHOWN: usize = 3;

/// One round of one contender.
pub struct Round {
    pub cpu_micros: f64,
    pub resident_mib: f64,
    pub driver_cores: f64,
    pub took: Vec<Duration>,
    pub failed: u32,
}

/// How long each request took, and what was not answered as it should be.
#[derive(Default)]
pub struct Sent {
    pub took: Vec<Duration>,
    failures: Vec<String>,
}

/// A round that has begun.
pub struct Metered {
    server: Usage,
    driver: Usage,
}

impl Metered {
    pub fn begin(service: &Service) -> Self {
        let (server, driver) = (Usage::begin(service), Usage::of(std::process::id()));
        Self { server, driver }
    }

    pub fn end(self, Sent { took, failures }: Sent) -> Round {
        for failure in failures.iter().take(FAILURES_SHOWN) {
            println!("failed: {failure}");
        }
        let used = self.server.end(took.len());
        Round {
            cpu_micros: used.cpu_micros_an_operation,
            resident_mib: used.resident_mib,
            driver_cores: self.driver.end(1).cores,
            took,
            failed: u32::try_from(failures.len()).unwrap(),
        }
    }
}

/// Sends them all, so many at a time.
pub async fn send_all(requests: Vec<RequestBuilder>, at_once: usize) -> Sent {
    let requests = Arc::new(Mutex::new(requests.into_iter()));
    let mut clients = JoinSet::new();
    for _ in 0..at_once {
        let requests = Arc::clone(&requests);
        clients.spawn(async move {
            let mut sent = Sent::default();
            loop {
                let next = requests.lock().unwrap().next();
                let Some(request) = next else { return sent };
                let began_at = Instant::now();
                let failure = failure_of(request).await;
                sent.took.push(began_at.elapsed());
                sent.failures.extend(failure);
            }
        });
    }
    let mut all = Sent::default();
    clients.join_all().await.into_iter().for_each(|sent| all.add(sent));
    all
}

/// Sends it; answers what went wrong.
async fn failure_of(request: RequestBuilder) -> Option<String> {
    let answer = request.send().await.map_err(|error| error.to_string());
    let (status, body) = match answer {
        Ok(answer) => (answer.status(), answer.text().await),
        Err(error) => return Some(error),
    };
    match body {
        Ok(_) if status == StatusCode::OK => None,
        Ok(body) => Some(format!("{status}: {body}")),
        Err(error) => Some(error.to_string()),
    }
}

impl Sent {
    pub fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.failures.extend(other.failures);
    }
}

/// The rounds of one contender, as a line.
pub struct Summary<'a>(pub &'a [Round]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |what: fn(&Round) -> f64| median(self.0, what);
        let cpu_micros = of(|round| round.cpu_micros);
        let mut took: Vec<Duration> =
            self.0.iter().flat_map(|round| round.took.iter().copied()).collect();
        let [p50, p95] = [0.5, 0.95].map(|fraction| milliseconds(quantile(&mut took, fraction)));
        write!(
            f,
            "{cpu_micros:>6.0} us a request, {:>6.0} requests a core-second, \
             {:.0} MiB, p50 {p50:.1} ms, p95 {p95:.1} ms; the client took {:.2} cores",
            1e6 / cpu_micros,
            of(|round| round.resident_mib),
            of(|round| round.driver_cores),
        )
    }
}

pub fn median(rounds: &[Round], what: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(what).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
