//! What all parts of the simulator share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings, clock,
    envelope::Event,
    issuer::Issuer,
    problem::Problem,
    publisher::Publisher,
    upstream::{Service, Upstream},
    world::{World, seed},
};

/// Streams of random numbers, apart from those of the tenants (1, 2, …).
const ISSUER_STREAM: u64 = u64::MAX;
const CHANCE_STREAM: u64 = u64::MAX - 1;

/// The state of one simulator. Locks are taken in the order effects, world, issuer.
pub struct Platform {
    world: Mutex<World>,
    issuer: Mutex<Issuer>,
    chance: Mutex<ChaCha8Rng>,
    upstreams: Vec<Upstream>,
    publisher: Option<Publisher>,
    /// Cancelled when the simulator stops; what hangs ends with it.
    pub shutdown: CancellationToken,
}

impl Platform {
    /// Draws the world and the first signing key from the seed.
    pub fn new(
        settings: &Settings,
        publisher: Option<Publisher>,
        shutdown: CancellationToken,
    ) -> Self {
        let size = seed::Size {
            tenants: settings.tenants,
            devices_per_tenant: settings.devices_per_tenant,
        };
        Self {
            world: Mutex::new(seed::world(settings.seed, size, clock::now())),
            issuer: Mutex::new(Issuer::new(
                settings.issuer.clone(),
                stream(settings.seed, ISSUER_STREAM),
            )),
            chance: Mutex::new(stream(settings.seed, CHANCE_STREAM)),
            upstreams: Service::ALL.iter().map(|_| Upstream::idle()).collect(),
            publisher,
            shutdown,
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    pub fn issuer(&self) -> MutexGuard<'_, Issuer> {
        locked(&self.issuer)
    }

    pub fn upstream(&self, service: Service) -> &Upstream {
        &self.upstreams[service as usize]
    }

    /// Something random, from the seed.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        draw(&mut locked(&self.chance))
    }

    /// True once in `1 / probability` times.
    pub fn happens(&self, probability: f64) -> bool {
        probability > 0.0 && self.draw(|random| random.random_bool(probability.min(1.0)))
    }

    /// The publisher of upstream events.
    ///
    /// # Errors
    /// 503 when the simulator runs without Pub/Sub.
    pub fn publisher(&self) -> Result<&Publisher, Problem> {
        self.publisher.as_ref().ok_or_else(|| {
            Problem::new(
                axum::http::StatusCode::SERVICE_UNAVAILABLE,
                "MELMASTOON.SIM.PUBSUB_MISSING",
                "this simulator was started without a Pub/Sub endpoint (--pubsub host:port), so \
                 nothing can be published",
            )
        })
    }

    /// Publishes what a service did, when there is somewhere to publish to.
    pub fn publish_in_background(&self, events: &[Event]) {
        if let Some(publisher) = &self.publisher {
            publisher.publish_in_background(events);
        }
    }

    /// Waits for publications under way.
    pub async fn drain(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.drain().await;
        }
    }
}

/// The lock's value, also after a panic elsewhere: one failed request must not stop the others.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}
