//! The commands of one instance inside the test's process, over the stores and the simulated
//! platform of a world.

use std::sync::Arc;

use backoffice::{
    app::connect,
    clock::{SharedClock, SystemClock},
    commands::{
        Actor, CommandError, Resources,
        acknowledge_alert::{self, Request, Wish},
        idempotency::{KeyedRequest, Outcome, turn::Turns},
    },
    database::Settings,
    ledger::{self, Ledger, Pools},
    secrets::Secrets,
    upstream::{self, Upstream, id_token},
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

use super::{alerts, platform, service::World};
use crate::access_world;

/// What commands work with; its sequencer ends with it.
pub struct Replica {
    pub resources: Resources,
    pub pools: Pools,
    shutdown: CancellationToken,
}

impl Replica {
    /// With pools of eight, as in service.
    pub fn start(world: &World) -> Self {
        let settings =
            Settings { request_pool_max: 8, pool_max: 8, ..world.database.settings().clone() };
        Self::start_with(world, Pools::connect(&settings).unwrap(), Arc::new(SystemClock))
    }

    pub fn start_with(world: &World, pools: Pools, clock: SharedClock) -> Self {
        let secrets = Secrets::read(world.secrets_dir()).unwrap();
        let shutdown = CancellationToken::new();
        let ledger = Ledger::start(
            pools.clone(),
            ledger::Settings::default(),
            connect::master_key(&secrets).unwrap(),
            &TaskTracker::new(),
            shutdown.clone(),
        );
        let resources = Resources {
            ledger,
            upstream: upstream(world),
            secrets: Arc::new(secrets),
            clock,
            instance: "replica".into(),
            turns: Turns::default(),
        };
        Self { resources, pools, shutdown }
    }

    /// The same with a circuit to the upstreams that has seen no failure yet.
    pub fn renewed(&self, world: &World) -> Resources {
        Resources { upstream: upstream(world), ..self.resources.clone() }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn upstream(world: &World) -> Upstream {
    let mut settings = upstream::Settings::new(id_token::Settings::Static("test".into()));
    let root = world.simulator.url().parse().unwrap();
    settings.base_urls = upstream::Settings::all_below(&root);
    Upstream::new(&settings).unwrap()
}

/// One wish of one operator under one key, to be sent as often as a test likes.
#[derive(Clone)]
pub struct Press {
    pub actor: Actor,
    pub wish: Wish,
    pub key: Ulid,
}

impl Press {
    /// An operator of the first tenant who presses the button of an alert raised just now.
    pub async fn new(world: &World) -> Self {
        let actor = actor(world).await;
        Self::by(world, actor).await
    }

    /// The same operator, another alert, another key.
    pub async fn another(&self, world: &World) -> Self {
        Self::by(world, self.actor.clone()).await
    }

    async fn by(world: &World, actor: Actor) -> Self {
        let property_id = actor.caller.property_ids[0].clone();
        let place = (actor.caller.tenant_id.as_str(), property_id.as_str());
        let alert_id = alerts::raise_at(world, place, "Raised").await;
        let wish = Wish { alert_id: alert_id.parse().unwrap(), property_id, comment: None };
        Self { actor, wish, key: Ulid::generate() }
    }

    pub fn alert_id(&self) -> &str {
        self.wish.alert_id.as_str()
    }

    /// The request as it comes in once more: another attempt of its own.
    pub fn keyed(&self, resources: &Resources) -> KeyedRequest {
        let route = format!("POST /alerts/{}/acknowledge?", self.wish.alert_id);
        let body = json!({ "comment": self.wish.comment });
        KeyedRequest::new(resources, &self.actor, self.key, &route, &body)
    }

    pub async fn send(&self, resources: &Resources) -> Result<Outcome, CommandError> {
        let keyed = self.keyed(resources);
        let request = Request { actor: &self.actor, wish: &self.wish, keyed: &keyed };
        acknowledge_alert::run(resources, request).await
    }
}

/// An operator of the first tenant, admitted by a gate.
pub async fn actor(world: &World) -> Actor {
    let gate = access_world::World::new();
    let pending = access_world::opening(gate.enter_anew().await);
    let session = gate.open(&pending).await;
    let mut caller = pending.into_caller(&session);
    let known = platform::look(world, "/sim/world").await;
    let tenant = &known["tenants"][0];
    caller.tenant_id = tenant["id"].as_str().unwrap().parse().unwrap();
    caller.device_id = format!("dev_{}", Ulid::generate()).parse().unwrap();
    caller.property_ids = vec![tenant["properties"][0]["id"].as_str().unwrap().parse().unwrap()];
    Actor {
        caller,
        request_id: Ulid::generate().to_string(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
    }
}

/// Lets the lease of every claim still worked on be over, as the database's clock sees it.
pub async fn expire_leases(world: &World) {
    let expire = "update idempotency set lease_until = now() - interval '1 second' \
                  where state = 'in_progress'";
    sqlx::raw_sql(expire).execute(&mut world.database.superuser().await).await.unwrap();
}

/// The states of all claims under a key, one a device and tenant.
pub async fn claims(world: &World, key: &str) -> Vec<String> {
    let query = "select state from idempotency where key = $1 order by tenant_id, device_id";
    let mut connection = world.database.superuser().await;
    sqlx::query_scalar(query).bind(key).fetch_all(&mut connection).await.unwrap()
}
