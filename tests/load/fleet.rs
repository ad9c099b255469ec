//! Many signed-in desktops at one instance.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use futures::{StreamExt, stream};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    say,
    support::{
        desktop::Desktop,
        service::{Service, World},
    },
};

/// The most a tenant has: `SERVICE_OVERVIEW` §10.
const DESKTOPS_A_TENANT: u32 = 200;
/// Desktops that share a pool of connections: a client of its own for each would cost this process
/// more than the service.
const DESKTOPS_A_CLIENT: u32 = 50;
/// How long an operation may be under way before its desktop gives it up.
pub const PATIENCE: Duration = Duration::from_secs(30);
const SIGN_INS_AT_ONCE: usize = 32;

pub struct Fleet {
    pub world: World,
    pub service: Service,
    pub desktops: Vec<Arc<Member>>,
}

/// One desktop of the fleet. It hears a new nonce with an answer to any of its requests.
pub struct Member {
    desktop: RwLock<Desktop>,
}

/// An answer with status and time of its first byte.
pub struct Answered {
    pub status: StatusCode,
    pub first_byte_at: Instant,
    pub replayed: bool,
    pub body: Vec<u8>,
}

/// Looks into the cache tier, by part.
#[derive(Clone, Debug, Default)]
pub struct Cache(pub BTreeMap<String, Looks>);

#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    pub all: f64,
    /// Those that found nothing that could be shown.
    pub missed: f64,
}

impl Cache {
    /// What was looked for after `before`.
    pub fn since(mut self, before: &Self) -> Self {
        for (part, looks) in &mut self.0 {
            if let Some(before) = before.0.get(part) {
                looks.all -= before.all;
                looks.missed -= before.missed;
            }
        }
        self
    }

    pub fn found_percent(&self) -> f64 {
        let sum = |of: fn(&Looks) -> f64| self.0.values().map(of).sum::<f64>();
        (1.0 - sum(|it| it.missed) / sum(|it| it.all).max(1.0)) * 100.0
    }
}

impl Fleet {
    /// Signs that many operators in, on a device each, and opens their sessions.
    pub async fn sign_in(count: u32) -> Self {
        say(&format!("{count} desktops sign in"));
        let tenants = count.div_ceil(DESKTOPS_A_TENANT);
        let world = World::with_tenants(usize::try_from(tenants).unwrap()).await;
        let connections = (count * 3).to_string();
        let service = world
            .service_with(&[
                // All desktops come from one address.
                ("CONNECTIONS_PER_ADDRESS_MAX", "0"),
                ("CONNECTIONS_MAX", &connections),
            ])
            .await;
        let tenant_ids = world.simulator.tenant_ids();
        let clients: Vec<reqwest::Client> = (0..count.div_ceil(DESKTOPS_A_CLIENT))
            .map(|_| reqwest::Client::builder().no_proxy().build().unwrap())
            .collect();
        let desktops = stream::iter(0..usize::try_from(count).unwrap())
            .map(async |number| {
                let http = clients[number % clients.len()].clone();
                let tenant_id = &tenant_ids[number % tenant_ids.len()];
                let mut desktop = Desktop::sign_in_over(http, (&world, tenant_id), json!({})).await;
                let session = desktop.get(&service, "/session").await;
                assert_eq!(session.status, StatusCode::OK, "{}", session.body);
                Arc::new(Member { desktop: RwLock::new(desktop) })
            })
            .buffered(SIGN_INS_AT_ONCE)
            .collect()
            .await;
        Self { world, service, desktops }
    }

    /// The desktop whose turn it is. Neighbours are of different tenants.
    pub fn member(&self, number: usize) -> &Arc<Member> {
        &self.desktops[number % self.desktops.len()]
    }

    /// One desktop of every property that has any.
    pub fn one_a_place(&self) -> Vec<&Arc<Member>> {
        let mut places = BTreeMap::new();
        for member in &self.desktops {
            let place = (member.text("tenantId"), member.property());
            places.entry(place).or_insert(member);
        }
        places.into_values().collect()
    }

    /// How the cache tier served the parts of screens so far.
    pub async fn cache(&self) -> Cache {
        let metrics = self.service.metrics().await;
        let mut cache = Cache::default();
        let reads = "bff_backoffice_snapshot_reads_total";
        for line in metrics.lines().filter(|line| line.starts_with(reads)) {
            let count: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            let part = line.split("part=\"").nth(1).unwrap().split('"').next().unwrap();
            let looks = cache.0.entry(part.to_owned()).or_default();
            looks.all += count;
            if line.contains("found=\"miss\"") {
                looks.missed += count;
            }
        }
        cache
    }
}

impl Member {
    pub fn text(&self, member: &str) -> String {
        self.desktop.read().unwrap().text(member).to_owned()
    }

    pub fn property(&self) -> String {
        self.desktop.read().unwrap().property().to_owned()
    }

    /// A request with a fresh proof.
    pub fn signed(&self, service: &Service, method: &Method, path: &str) -> RequestBuilder {
        let desktop = self.desktop.read().unwrap();
        let proof = desktop.proof(service, method, path);
        desktop.signed(service, method.clone(), path, &proof)
    }

    /// Sends what `make` makes; once more, with a new proof, when the service asks for its nonce.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn send(&self, make: impl Fn() -> RequestBuilder) -> Result<Answered, String> {
        let mut answer = self.once(&make).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            answer = self.once(&make).await?;
        }
        Ok(answer)
    }

    async fn once(&self, make: impl Fn() -> RequestBuilder) -> Result<Answered, String> {
        let mut response = make().send().await.map_err(|error| format!("{error:?}"))?;
        self.hear_nonce(&response);
        let (status, mut body) = (response.status(), Vec::new());
        let replayed = response.headers().contains_key("idempotency-replayed");
        let mut first_byte_at = None;
        while let Some(chunk) = response.chunk().await.map_err(|error| format!("{error:?}"))? {
            first_byte_at.get_or_insert_with(Instant::now);
            body.extend_from_slice(&chunk);
        }
        let first_byte_at = first_byte_at.unwrap_or_else(Instant::now);
        Ok(Answered { status, first_byte_at, replayed, body })
    }

    pub fn hear_nonce(&self, response: &reqwest::Response) {
        if let Some(nonce) = response.headers().get("dpop-nonce") {
            self.desktop.write().unwrap().nonce = Some(nonce.to_str().unwrap().to_owned());
        }
    }
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}
