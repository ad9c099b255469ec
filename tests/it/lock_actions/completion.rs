//! What stopped in between is found out: by asking again while that is early enough, by looking
//! later, and never by asking late.

use std::time::Duration;

use backoffice::{
    app::jobs,
    commands::{
        Actor, Resources, StoredResponse,
        complete_actions::{Completer, count, read_on},
        idempotency::{KeyedRequest, Outcome},
        lock_action::{self, Deed, LockActionError, Wish},
    },
};
use events::{Ledger, ledger::lock_action::KeyKind};
use tokio::task::JoinSet;
use ulid::Ulid;

use super::*;
use crate::support::{
    locks,
    platform::happened,
    replica::{self, Replica},
};

/// A door, an operator, and one instance inside the test, without its workers.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) replica: Replica,
    actor: Actor,
    door: Door,
    key: Ulid,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let world = World::start().await;
        let replica = Replica::start(&world);
        let actor = replica::actor(&world).await;
        let door = Door::of(&world, actor.caller.property_ids[0].as_str(), 0).await;
        Self { world, replica, actor, door, key: Ulid::generate() }
    }

    pub(super) async fn issue(&self) -> Result<Outcome, LockActionError> {
        self.issue_at(&self.resources()).await
    }

    /// The same request, at some instance.
    pub(super) async fn issue_at(&self, resources: &Resources) -> Result<Outcome, LockActionError> {
        let wish = Wish {
            lock_id: self.door.lock.parse().unwrap(),
            deed: Deed::Issue {
                reservation_id: self.door.reservation.parse().unwrap(),
                rooms: vec![self.door.room.parse().unwrap()],
                valid_from: "2026-11-22T12:00:00Z".parse().unwrap(),
                valid_until: "2026-11-24T12:00:00Z".parse().unwrap(),
                preferred_kinds: vec![KeyKind::RfidCard],
            },
        };
        let keyed = KeyedRequest::new(resources, &self.actor, self.key, "POST /locks", &json!({}));
        let render = |error: &backoffice::upstream::UpstreamError| {
            StoredResponse::json(502, &json!({ "said": error.to_string() }))
        };
        let request = lock_action::Request {
            actor: &self.actor,
            wish: &wish,
            keyed: &keyed,
            presented: None,
            render: &render,
        };
        lock_action::run(resources, request).await
    }

    pub(super) fn tenant_id(&self) -> &str {
        self.actor.caller.tenant_id.as_str()
    }

    /// With a circuit that has seen no failure yet.
    fn resources(&self) -> Resources {
        self.replica.renewed(&self.world)
    }

    /// A request whose answer is lost.
    pub(super) async fn lose(&self, trouble: Value) {
        fault(&self.world, trouble).await;
        let lost = Box::pin(self.issue()).await;
        assert!(matches!(lost, Err(LockActionError::Upstream(_))), "{lost:?}");
        while read_on(self.replica.pools.jobs()).await.unwrap() != 0 {}
        assert_eq!(open(&self.world).await, 1);
    }

    /// Lets the request have been made so long ago, and be due.
    pub(super) async fn age(&self, minutes: f64) {
        while read_on(self.replica.pools.jobs()).await.unwrap() != 0 {}
        locks::age(&self.world, minutes).await;
    }

    async fn complete(&self) {
        assert_eq!(self.completer().try_due().await.unwrap(), 1);
        let jobs = self.replica.pools.jobs();
        while read_on(jobs).await.unwrap() != 0 {}
    }

    pub(super) fn completer(&self) -> Completer {
        jobs::completer(&self.replica.pools, &self.resources())
    }

    pub(super) async fn kinds(&self) -> Vec<String> {
        recorded(&self.world).await.into_iter().map(|(_, kind)| kind).collect()
    }

    pub(super) async fn resolution(&self) -> Value {
        locks::last_word(&self.world).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soon_after_its_request_an_action_is_asked_for_again_under_the_same_key() {
    for (trouble, answered) in [("resetRate", json!(1.0)), ("dropAfterEffect", json!(true))] {
        let bench = Bench::start().await;
        bench.lose(json!({ trouble: answered, "mutationsOnly": true })).await;
        heal(&bench.world).await;
        bench.age(1.0).await;
        bench.complete().await;
        let expected = ["requested.v1", "outcome_unknown.v1", "resolved.v1"];
        assert_eq!(bench.kinds().await, expected, "{trouble}");
        assert_eq!(bench.resolution().await["foundBy"], "repeated", "{trouble}");
        assert_eq!(effects(&bench.world).await.len(), 1, "{trouble}");
        assert_eq!(open(&bench.world).await, 0, "{trouble}");
        // The client finds what the worker found.
        let answer = bench.issue().await.unwrap();
        assert_eq!(answer.response.status, 200, "{trouble}");
        let calls = calls(&bench.world).await;
        assert_eq!(calls.len(), 2, "{trouble}");
        let key = |call: &Value| call["headers"]["idempotency-key"].clone();
        assert_eq!(key(&calls[0]), key(&calls[1]), "{trouble}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_an_action_is_only_looked_at() {
    let bench = Bench::start().await;
    bench.lose(json!({ "dropAfterEffect": true, "mutationsOnly": true })).await;
    heal(&bench.world).await;
    bench.age(3.0).await;
    bench.complete().await;
    assert_eq!(bench.resolution().await["foundBy"], "read");
    assert_eq!(bench.resolution().await["outcome"], "completed");
    assert_eq!(calls(&bench.world).await.len(), 1, "nothing was asked for late");
    assert_eq!(open(&bench.world).await, 0);
    let answer = bench.issue().await.unwrap();
    assert_eq!(answer.response.status, 200);
    assert_eq!(calls(&bench.world).await.len(), 1, "the answer is from the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_happened_is_said_to_have_failed_and_is_never_done_late() {
    let bench = Bench::start().await;
    bench.lose(json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    heal(&bench.world).await;
    // Too late to ask for it, too early to be sure that it does not happen any more.
    bench.age(2.1).await;
    bench.complete().await;
    assert_eq!(open(&bench.world).await, 1);
    bench.age(3.0).await;
    bench.complete().await;
    let resolution = bench.resolution().await;
    assert_eq!(
        (&resolution["outcome"], &resolution["reason"]),
        (&json!("failed"), &json!("not_applied"))
    );
    assert_eq!(calls(&bench.world).await.len(), 1);
    let (first, again) = (bench.issue().await.unwrap(), bench.issue().await.unwrap());
    assert_eq!(first.response.status, 502);
    assert_eq!(again.response, first.response);
    assert!(again.replayed);
    assert_eq!(effects(&bench.world).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn among_keys_that_do_not_say_what_they_were_asked_for_under_nothing_is_ruled_out() {
    let bench = Bench::start().await;
    bench.lose(json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    heal(&bench.world).await;
    let elsewhere = json!({
        "keyCredentialId": "key_7", "kind": "rfid_card", "rooms": [bench.door.room],
        "reservationId": bench.door.reservation,
    });
    let issued = "melmastoon.lock.credential.issued.v1";
    happened(&bench.world, bench.tenant_id(), issued, elsewhere).await;
    bench.age(600.0).await;

    bench.complete().await;

    assert_eq!(open(&bench.world).await, 1);
    assert_eq!(bench.kinds().await, ["requested.v1", "outcome_unknown.v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_services_own_event_closes_an_action() {
    let bench = Bench::start().await;
    bench.lose(json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    locks::says(&bench.world, bench.tenant_id(), ("issued", "key_7")).await;
    bench.age(600.0).await;
    bench.complete().await;
    let resolution = bench.resolution().await;
    assert_eq!(resolution["foundBy"], "event");
    assert_eq!(resolution["keyCredentialId"], "key_7");
    assert_eq!(calls(&bench.world).await.len(), 1);
    assert_eq!(open(&bench.world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_find_out_stays_open_and_is_counted() {
    let bench = Bench::start().await;
    bench.lose(json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    fault(&bench.world, json!({ "status": 503 })).await;
    bench.age(20.0).await;
    bench.complete().await;
    let openings = count(bench.replica.pools.jobs(), Ledger::LockAudit).await.unwrap();
    assert_eq!((openings.open, openings.unknown), (0, 1));
    assert!(Duration::from_mins(19) < openings.oldest, "{openings:?}");
    assert_eq!(bench.kinds().await, ["requested.v1", "outcome_unknown.v1"]);
    heal(&bench.world).await;
    bench.age(20.0).await;
    assert_eq!(bench.completer().run_once().await.unwrap(), 1);
    assert_eq!(bench.resolution().await["reason"], "not_applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_outcome_an_action_is_completed_by_another_instance() {
    let mut scene = Scene::set().await;
    let key = key();
    scene.desktop.get(&scene.service, "/session").await;
    fault(&scene.world, json!({ "hang": true, "mutationsOnly": true })).await;
    let path = scene.door.issue_path();
    let request = scene
        .desktop
        .bare(&scene.service, &Method::POST, &path)
        .header("x-idempotency-key", &key)
        .json(&scene.door.wish());
    let mut unanswered = JoinSet::new();
    unanswered.spawn(request.send());
    wait::until("the call is under way", async || !calls(&scene.world).await.is_empty()).await;
    scene.service.kill();
    unanswered.abort_all();
    heal(&scene.world).await;
    let stream = scene.only_stream().await;
    assert_eq!(kinds(&scene.world, &stream).await, ["requested.v1"]);

    scene.service = scene.world.service().await;
    wait::until("the other instance has found it out", async || {
        kinds(&scene.world, &stream).await == ["requested.v1", "completed.v1"]
            && open(&scene.world).await == 0
    })
    .await;
    assert_eq!(effects(&scene.world).await.len(), 1);
    expire_leases(&scene.world).await;
    let answer = scene.issue(&key).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(effects(&scene.world).await.len(), 1);
}
