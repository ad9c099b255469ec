//! Dashboards and proofs, beside a Node service that does the same work for the same desktops on the
//! same stores and upstreams. tests/counterparts holds the peer to that.
//!
//! Closed loop, in alternation: what counts is the processor's time a request takes of the server, not
//! how fast the client is. What the service does and the peer does not (fences, rates, version floor,
//! sessions, circuits, its workers and the intake of events) counts against the service.

pub mod program;
mod round;

use std::{collections::BTreeMap, process::Command};

use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{ACCEPT, ACCEPT_LANGUAGE},
};
use serde_json::json;
use tokio::task::JoinSet;

use self::round::{Metered, Round, Sent, Summary, median, send_all};
use crate::{
    report::{Figure, Report},
    screens,
    seats::HTTP,
    support::{
        desktop::Desktop,
        service::{Service, World},
        wait,
    },
};

const TENANTS: usize = 6;
/// Of either, in alternation; the first is warm-up.
const ROUNDS: usize = 6;
/// In a round.
const REQUESTS: u32 = 3_000;
const COLD_REQUESTS: u32 = 300;
const AT_ONCE: usize = 16;
/// What is cold asks fourteen times as many upstreams.
const COLD_AT_ONCE: usize = 6;
const PEER: &str = "Fastify + jose + ioredis + undici";
const SERVER_CORE: &str = "0";
const OTHER_CORE: &str = "1";

struct Bench {
    world: World,
    contenders: [Contender; 2],
    /// One of every property that has any.
    desktops: Vec<Desktop>,
    percent: u32,
}

struct Contender {
    name: &'static str,
    service: Service,
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Work {
    /// The least there is behind a token and a proof.
    Session,
    /// Everything from snapshots, in one document.
    Warm,
    /// Nothing from snapshots, in frames.
    Cold,
}

/// All rounds of both; the first is the service.
struct Compared([Vec<Round>; 2]);

pub async fn run(percent: u32) -> Report {
    let bench = Bench::start(percent).await;
    let tokens = bench.compare(Work::Session).await;
    let url = format!("{}/sim/events", bench.world.simulator.url());
    let mut changing = JoinSet::new();
    changing.spawn(screens::change(url, bench.places()));
    let warm = bench.compare(Work::Warm).await;
    assert!(changing.try_join_next().is_none(), "events cannot be published");
    changing.shutdown().await;
    let cold = bench.compare(Work::Cold).await;
    let [ours, theirs] = warm.of(|round| round.resident_mib);
    let all = [&tokens, &warm, &cold].into_iter().flat_map(|compared| compared.0.iter().flatten());
    let (failed, sent) = all.fold((0, 0), |(failed, sent), round| {
        (failed + round.failed, sent + u32::try_from(round.took.len()).unwrap())
    });
    Report(vec![
        tokens.figure("a session behind token and proof, processor", 1.0 / 4.0),
        warm.figure("a warm dashboard, processor", 1.0 / 6.0),
        cold.figure("a cold dashboard, processor", 0.4),
        Figure::smaller("resident, warm dashboards", ours, (PEER, theirs)),
        Figure::share("requests that failed, of both", (failed, sent), 1.0),
    ])
}

impl Bench {
    async fn start(percent: u32) -> Self {
        let is_pinned = pin(std::process::id(), OTHER_CORE);
        let world = World::with_tenants(TENANTS).await;
        let one_core = [("CONNECTIONS_PER_ADDRESS_MAX", "0"), ("TOKIO_WORKER_THREADS", "1")];
        let ours = world.service_with(&one_core).await;
        let peer = program::start(&world).await;
        for service in [&ours, &peer] {
            pin(service.process_id(), SERVER_CORE);
        }
        let place = if is_pinned {
            "servers on one core, client, platform and Redis on another"
        } else {
            "nothing is pinned: no taskset, or one core"
        };
        println!("backoffice {} beside {}", env!("CARGO_PKG_VERSION"), program::versions());
        println!("{place}; {ROUNDS} rounds in alternation, the first dropped, medians\n");
        let desktops = desktops(&world, &ours).await;
        let contenders = [("backoffice", ours), ("node", peer)]
            .map(|(name, service)| Contender { name, service });
        Self { world, contenders, desktops, percent }
    }

    async fn compare(&self, work: Work) -> Compared {
        let mut rounds = [Vec::new(), Vec::new()];
        for number in 0..ROUNDS {
            for (contender, rounds) in self.contenders.iter().zip(&mut rounds) {
                let round = self.round(contender, work).await;
                if 0 < number {
                    rounds.push(round);
                }
            }
        }
        for (contender, rounds) in self.contenders.iter().zip(&rounds) {
            println!("{:<12} {:<20} {}", contender.name, work.path_name(), Summary(rounds));
        }
        Compared(rounds)
    }

    async fn round(&self, contender: &Contender, work: Work) -> Round {
        if matches!(work, Work::Cold) {
            return self.cold_round(contender).await;
        }
        // What others have done since is made good.
        self.send(contender, work, self.one_each(), AT_ONCE).await;
        let requests = (REQUESTS * self.percent / 100).max(1);
        let requests = self.signed(contender, work, requests);
        let metered = Metered::begin(&contender.service);
        let sent = send_all(requests, AT_ONCE).await;
        metered.end(sent)
    }

    /// All properties at once, as often as it takes; each time without a snapshot.
    async fn cold_round(&self, contender: &Contender) -> Round {
        let batches = (COLD_REQUESTS * self.percent / 100).max(1).div_ceil(self.one_each());
        let metered = Metered::begin(&contender.service);
        let mut sent = Sent::default();
        for _ in 0..batches {
            self.forget_snapshots().await;
            sent.add(self.send(contender, Work::Cold, self.one_each(), COLD_AT_ONCE).await);
        }
        metered.end(sent)
    }

    async fn send(&self, contender: &Contender, work: Work, requests: u32, at_once: usize) -> Sent {
        send_all(self.signed(contender, work, requests), at_once).await
    }

    /// Requests with their proofs: many desktops have many processors for signing.
    fn signed(&self, contender: &Contender, work: Work, count: u32) -> Vec<RequestBuilder> {
        let desktops = self.desktops.iter().cycle().take(usize::try_from(count).unwrap());
        desktops.map(|desktop| work.of(desktop, &contender.service)).collect()
    }

    fn one_each(&self) -> u32 {
        u32::try_from(self.desktops.len()).unwrap()
    }

    fn places(&self) -> Vec<(String, String)> {
        let place = |desktop: &Desktop| {
            (desktop.text("tenantId").to_owned(), desktop.property().to_owned())
        };
        self.desktops.iter().map(place).collect()
    }

    async fn forget_snapshots(&self) {
        let cache = &self.world.cache_tier;
        let keys = cache.keys().await;
        let kept = keys.iter().filter(|key| key.contains("snapshot:")).map(String::as_str);
        let unlink: Vec<&str> = ["UNLINK"].into_iter().chain(kept).collect();
        if 1 < unlink.len() {
            cache.command(&unlink).await;
        }
    }
}

/// A desktop of every property, with an open session and the inboxes of its property built.
async fn desktops(world: &World, service: &Service) -> Vec<Desktop> {
    let mut desktops = BTreeMap::new();
    for tenant_id in world.simulator.tenant_ids() {
        let known = Desktop::sign_in(world, &tenant_id, json!({})).await;
        for property_id in known.grant["propertyIds"].as_array().unwrap() {
            let options = json!({ "propertyIds": [property_id] });
            let mut desktop =
                Desktop::sign_in_over(HTTP.clone(), (world, &tenant_id), options).await;
            let path = dashboard(&desktop);
            wait::until("a dashboard is shown", async || {
                desktop.get(service, &path).await.status == StatusCode::OK
            })
            .await;
            desktops.insert(property_id.to_string(), desktop);
        }
    }
    desktops.into_values().collect()
}

fn dashboard(desktop: &Desktop) -> String {
    format!("/dashboard?propertyId={}", desktop.property())
}

impl Work {
    fn of(self, desktop: &Desktop, service: &Service) -> RequestBuilder {
        let (path, form) = match self {
            Self::Session => ("/session".to_owned(), "application/json"),
            Self::Warm => (dashboard(desktop), "application/json"),
            Self::Cold => (dashboard(desktop), "application/x-ndjson"),
        };
        let proof = desktop.proof(service, &Method::GET, &path);
        let request = desktop.signed(service, Method::GET, &path, &proof);
        request.header(ACCEPT, form).header(ACCEPT_LANGUAGE, "en")
    }

    const fn path_name(self) -> &'static str {
        match self {
            Self::Session => "token and proof",
            Self::Warm => "warm dashboards",
            Self::Cold => "cold dashboards",
        }
    }
}

impl Compared {
    /// The medians of both.
    fn of(&self, what: impl Fn(&Round) -> f64 + Copy) -> [f64; 2] {
        self.0.each_ref().map(|rounds| median(rounds, what))
    }

    fn figure(&self, name: &'static str, target: f64) -> Figure {
        let [ours, theirs] = self.of(|round| round.cpu_micros);
        Figure::beside(name, ours, (PEER, theirs), target)
    }
}

/// Holds a process to one core; false where that cannot be done.
fn pin(process_id: u32, core: &str) -> bool {
    let process_id = process_id.to_string();
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", core, &process_id]).output();
    pinned.is_ok_and(|output| output.status.success())
}
