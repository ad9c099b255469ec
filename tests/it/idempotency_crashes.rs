//! What dies, hangs or is lost at each point of a mutation, and what its key finds afterwards: one
//! effect, one answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use backoffice::{
    clock::{Clock, SystemClock},
    commands::CommandError,
};
use chrono::{DateTime, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;
use tokio_util::task::TaskTracker;

use crate::support::{
    alerts::{acknowledge, calls, effects, events_of, fault, heal, path, raised, settled},
    desktop::{Answer, Desktop, key},
    platform::tenant,
    proxy::Proxy,
    replica::{Press, Replica, claims, expire_leases},
    service::{Service, World},
    wait,
};

/// A running service, a desktop, and an alert to press on.
struct Scene {
    world: World,
    service: Service,
    desktop: Desktop,
    alert_id: String,
    key: String,
}

impl Scene {
    async fn set() -> Self {
        let world = World::start().await;
        let service = world.service().await;
        Self::at(world, service).await
    }

    /// With a service that reaches Postgres through a proxy.
    async fn set_behind_a_proxy() -> (Self, Proxy) {
        let world = World::start().await;
        let proxy = Proxy::start(world.database.address()).await;
        let url = world.database.url_through(proxy.address);
        let service = world.service_with(&[("DATABASE_URL", &url)]).await;
        (Self::at(world, service).await, proxy)
    }

    async fn at(world: World, service: Service) -> Self {
        let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
        let alert_id = raised(&world, &mut desktop, &service).await;
        Self { world, service, desktop, alert_id, key: key() }
    }

    async fn press(&mut self) -> Answer {
        acknowledge(&mut self.desktop, &self.service, &self.alert_id, &self.key).await
    }

    /// Presses, and does something else once the claim is committed and the call upstream is under
    /// way; `None` when the answer was not waited for.
    async fn press_and(&self, then: impl AsyncFnOnce()) -> Option<Answer> {
        let path = path(&self.alert_id);
        let (proof, body) = (self.desktop.proof(&self.service, &Method::POST, &path), json!({}));
        let request = async {
            let mutation = Some((self.key.as_str(), &body));
            let sent = self.desktop.send_with_proof(&self.service, &path, mutation, &proof);
            Answer::read(sent.await).await
        };
        let then = async {
            wait::until("the call upstream is under way", async || {
                !calls(&self.world, &self.alert_id).await.is_empty()
            })
            .await;
            then().await;
        };
        tokio::select! {
            biased;
            () = then => None,
            answer = request => Some(answer),
        }
    }

    /// Presses, and lets something happen meanwhile; answers both ends.
    async fn press_during(&self, meanwhile: impl AsyncFnOnce()) -> Answer {
        let path = path(&self.alert_id);
        let (proof, body) = (self.desktop.proof(&self.service, &Method::POST, &path), json!({}));
        let mutation = Some((self.key.as_str(), &body));
        let request = self.desktop.send_with_proof(&self.service, &path, mutation, &proof);
        let meanwhile = async {
            wait::until("the call upstream is under way", async || {
                !calls(&self.world, &self.alert_id).await.is_empty()
            })
            .await;
            meanwhile().await;
        };
        let (answer, ()) = tokio::join!(request, meanwhile);
        Answer::read(answer).await
    }

    /// The same key at another instance after this one is gone: refused while the lease runs, then
    /// answered; and after that, answered the same.
    async fn recover(mut self) -> Answer {
        self.service = self.world.service().await;
        let early = self.press().await;
        assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.body);
        assert_eq!(early.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_IN_PROGRESS");
        expire_leases(&self.world).await;
        let answer = self.press().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        self.check_once(&answer).await;
        answer
    }

    /// One effect under one upstream key, in the end; the answer stays what it was.
    async fn check_once(&mut self, answer: &Answer) {
        settled(&self.world, &self.alert_id).await;
        let told = calls(&self.world, &self.alert_id).await;
        let keys: Vec<&Value> =
            told.iter().map(|call| &call["headers"]["idempotency-key"]).collect();
        assert!(keys.iter().all(|key| key.is_string() && *key == keys[0]), "{keys:?}");
        let again = self.press_until_available().await;
        assert_eq!((again.status, &again.bytes), (StatusCode::OK, &answer.bytes));
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(effects(&self.world, &self.alert_id).await, 1);
        assert_eq!(claims(&self.world, &self.key).await, ["completed"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_24_a_failure_that_recorded_nothing_leaves_the_key_free() {
    let mut scene = Scene::set().await;
    let mut superuser = scene.world.database.superuser().await;
    let fault = "create function fault() returns trigger language plpgsql \
                 as 'begin raise exception ''fault''; end'; \
                 create trigger fault before insert on event for each row execute function fault()";
    sqlx::raw_sql(fault).execute(&mut superuser).await.unwrap();

    let failed = scene.press().await;

    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{}", failed.body);
    assert_eq!(failed.body["code"], "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE");
    assert_eq!(claims(&scene.world, &scene.key).await, Vec::<String>::new());
    assert!(calls(&scene.world, &scene.alert_id).await.is_empty());
    // Dropping the trigger would lock the table against the workers that read it.
    let mend = "create or replace function fault() returns trigger language plpgsql \
                as 'begin return new; end'";
    sqlx::raw_sql(mend).execute(&mut superuser).await.unwrap();
    let answer = scene.press().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(!answer.headers.contains_key("idempotency-replayed"));
    scene.check_once(&answer).await;
}

/// A clock that breaks when it is asked for the n-th time.
struct BrokenClock {
    asked: AtomicU32,
    breaks_at: u32,
}

impl Clock for BrokenClock {
    fn now(&self) -> DateTime<Utc> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        assert_ne!(asked, self.breaks_at, "the clock is broken");
        SystemClock.now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_25_a_panic_anywhere_leaves_a_key_that_can_be_used_on() {
    let world = World::start().await;
    let sound = Replica::start(&world);
    let mut press = Press::new(&world).await;
    // Before the claim, between the claim's decision and its append, and after the call upstream.
    let mut recovered = Vec::new();
    for breaks_at in 0..3 {
        let clock = Arc::new(BrokenClock { asked: AtomicU32::new(0), breaks_at });
        let broken = Replica::start_with(&world, world.database.other_pools(), clock);
        let (tracker, pressed, resources) =
            (TaskTracker::new(), press.clone(), broken.resources.clone());
        let panicked = tracker.spawn(async move { pressed.send(&resources).await.map(|_| ()) });
        assert!(panicked.await.unwrap_err().is_panic(), "{breaks_at}");

        let key = press.key.to_string();
        let is_claimed = claims(&world, &key).await == ["in_progress"];
        if is_claimed {
            let early = press.send(&sound.resources).await;
            assert!(matches!(early, Err(CommandError::InProgress)), "{early:?}");
            expire_leases(&world).await;
        }
        let answer = press.send(&sound.resources).await.unwrap();
        assert_eq!((answer.response.status, answer.replayed), (200, false));
        let replayed = press.send(&sound.resources).await.unwrap();
        assert_eq!(replayed.response, answer.response);
        assert_eq!(effects(&world, press.alert_id()).await, 1);
        // The instance goes on.
        let next = press.another(&world).await;
        assert_eq!(next.send(&broken.resources).await.unwrap().response.status, 200);
        recovered.push(is_claimed);
        press = next.another(&world).await;
    }
    assert_eq!(recovered, [false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_27_an_answer_that_upstream_did_not_give_is_asked_for_under_the_same_key() {
    let mut scene = Scene::set().await;
    for trouble in [
        json!({ "dropAfterEffect": true }),
        json!({ "resetRate": 1.0 }),
        json!({ "hang": true }),
        json!({ "status": 503 }),
    ] {
        scene.alert_id = raised(&scene.world, &mut scene.desktop, &scene.service).await;
        scene.key = key();
        fault(&scene.world, trouble.clone()).await;
        let answer = scene.press().await;
        assert_eq!(answer.status, StatusCode::OK, "{trouble}: {}", answer.body);
        assert_eq!(answer.body["forwarded"], false, "{trouble}");
        let again = scene.press().await;
        assert_eq!(again.bytes, answer.bytes, "{trouble}");
        heal(&scene.world).await;
        scene.check_once(&answer).await;
        assert!(1 < calls(&scene.world, &scene.alert_id).await.len(), "{trouble}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_27_a_refusal_by_upstream_is_final_and_kept() {
    let mut scene = Scene::set().await;
    fault(&scene.world, json!({ "status": 422 })).await;

    let answer = scene.press().await;
    heal(&scene.world).await;
    let again = scene.press().await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["forwarded"], false);
    assert_eq!(again.bytes, answer.bytes);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let recorded = events_of(&scene.world, &scene.alert_id).await;
    assert_eq!(recorded, ["alert.acknowledged.v1", "acknowledgment.forward_failed.v1"]);
    assert_eq!(calls(&scene.world, &scene.alert_id).await.len(), 1);
    assert_eq!(effects(&scene.world, &scene.alert_id).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_28_killed_after_its_claim_a_request_is_finished_by_its_key() {
    let mut scene = Scene::set().await;
    fault(&scene.world, json!({ "hang": true })).await;
    let unanswered = scene.press_and(async || ()).await;
    assert!(unanswered.is_none());
    scene.service.kill();
    heal(&scene.world).await;
    assert_eq!(effects(&scene.world, &scene.alert_id).await, 0);
    assert_eq!(claims(&scene.world, &scene.key).await, ["in_progress"]);

    scene.recover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_29_killed_after_the_effect_upstream_a_request_has_that_effect_alone() {
    let mut scene = Scene::set().await;
    fault(&scene.world, json!({ "latencyMs": 300 })).await;
    let mut holder = scene.world.database.superuser().await;
    let mut held = holder.begin().await.unwrap();
    let unanswered = scene
        .press_and(async || {
            // The claim cannot be completed while somebody else has its row.
            let query = "select from idempotency where key = $1 for update";
            let rows = sqlx::query(query).bind(&scene.key).fetch_all(&mut *held);
            assert_eq!(rows.await.unwrap().len(), 1);
            wait::until("upstream has done it", async || {
                effects(&scene.world, &scene.alert_id).await == 1
            })
            .await;
        })
        .await;
    assert!(unanswered.is_none());
    scene.service.kill();
    // The backend would go on without its client.
    let mut superuser = scene.world.database.superuser().await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity \
               where datname = current_database() and usename = 'backoffice_append'";
    sqlx::raw_sql(end).execute(&mut superuser).await.unwrap();
    held.rollback().await.unwrap();
    heal(&scene.world).await;
    assert_eq!(claims(&scene.world, &scene.key).await, ["in_progress"]);

    assert_eq!(calls(&scene.world, &scene.alert_id).await.len(), 1);

    scene.recover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_30_killed_before_its_answer_left_a_request_is_answered_from_the_record() {
    let (mut scene, proxy) = Scene::set_behind_a_proxy().await;
    fault(&scene.world, json!({ "latencyMs": 300 })).await;
    let unanswered = scene
        .press_and(async || {
            proxy.hold_the_answer_to(scene.key.as_bytes());
            wait::until("the answer is recorded", async || {
                claims(&scene.world, &scene.key).await == ["completed"]
            })
            .await;
        })
        .await;
    assert!(unanswered.is_none() && proxy.has_lost());
    scene.service.kill();
    heal(&scene.world).await;

    scene.service = scene.world.service().await;
    let answer = scene.press().await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers["idempotency-replayed"], "true");
    assert_eq!(answer.body["forwarded"], true);
    scene.check_once(&answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_32_a_client_that_hangs_up_leaves_a_finished_request() {
    let mut scene = Scene::set().await;
    fault(&scene.world, json!({ "latencyMs": 200 })).await;
    let unanswered = scene.press_and(async || ()).await;
    assert!(unanswered.is_none());
    wait::until("the request is finished", async || {
        claims(&scene.world, &scene.key).await == ["completed"]
    })
    .await;
    heal(&scene.world).await;

    let answer = scene.press().await;

    assert_eq!(answer.headers["idempotency-replayed"], "true");
    assert_eq!(answer.body["forwarded"], true);
    scene.check_once(&answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_33_a_service_that_drains_finishes_what_it_has_begun() {
    let mut scene = Scene::set().await;
    fault(&scene.world, json!({ "latencyMs": 300 })).await;
    let answer = scene.press_during(async || scene.service.terminate()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["forwarded"], true);
    heal(&scene.world).await;
    let next = scene.world.service().await;
    let stopped = std::mem::replace(&mut scene.service, next).stop().await;

    assert!(stopped < Duration::from_secs(10), "{stopped:?}");
    scene.check_once(&answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_48_without_postgres_nothing_is_claimed_and_nothing_done() {
    let (mut scene, proxy) = Scene::set_behind_a_proxy().await;
    proxy.cut();
    let refused = scene.press().await;

    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.body);
    assert_eq!(refused.body["code"], "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE");
    assert!(refused.headers.contains_key("retry-after"));
    proxy.mend();
    assert_eq!(claims(&scene.world, &scene.key).await, Vec::<String>::new());
    assert_eq!(events_of(&scene.world, &scene.alert_id).await, Vec::<String>::new());
    assert!(calls(&scene.world, &scene.alert_id).await.is_empty());
    let answer = scene.press_until_available().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    scene.check_once(&answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_49_an_effect_whose_record_is_lost_is_found_again_by_its_key() {
    let (mut scene, proxy) = Scene::set_behind_a_proxy().await;
    fault(&scene.world, json!({ "latencyMs": 300 })).await;
    let lost = scene
        .press_during(async || {
            proxy.cut();
            wait::until("upstream has done it", async || {
                effects(&scene.world, &scene.alert_id).await == 1
            })
            .await;
        })
        .await;
    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE, "{}", lost.body);
    heal(&scene.world).await;
    proxy.mend();
    assert_eq!(claims(&scene.world, &scene.key).await, ["in_progress"]);

    let early = scene.press_until_available().await;
    assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.body);
    expire_leases(&scene.world).await;
    let answer = scene.press_until_available().await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    scene.check_once(&answer).await;
}

impl Scene {
    /// Presses as a client does after an outage: again after 503.
    async fn press_until_available(&mut self) -> Answer {
        for _ in 0..20 {
            let answer = self.press().await;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                return answer;
            }
        }
        panic!("the service does not recover");
    }
}
