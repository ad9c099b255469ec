//! Many actions under faults and kills: none stays open, none is done twice. `LOCK_ACTIONS` says how
//! many.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::future::join_all;
use tokio::{
    sync::RwLock,
    time::{MissedTickBehavior, interval},
};

use super::*;

const ACTIONS: usize = 200;
const DESKTOPS: usize = 8;
/// For one action, with all that happens to it.
const PATIENCE: Duration = Duration::from_mins(3);
/// Faults come and go by the clock, whatever the desktops get done meanwhile.
const WAVE: Duration = Duration::from_millis(700);

/// What the desktops and the troublemaker share.
struct Drill {
    world: World,
    service: RwLock<Service>,
    left: AtomicUsize,
    done: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn under_faults_and_kills_no_lock_action_stays_open_and_none_is_done_twice() {
    let wanted = wanted();
    let world = World::start().await;
    let service = RwLock::new(world.service().await);
    let drill = Drill { world, service, left: AtomicUsize::new(wanted), done: AtomicUsize::new(0) };
    let desktops = join_all((0..DESKTOPS).map(|number| press(&drill, number)));
    let (kills, actions) = tokio::join!(make_trouble(&drill, wanted), desktops);
    let upstream: usize = actions.iter().sum();
    heal(&drill.world).await;

    wait::within(PATIENCE, "every action has its outcome", async || {
        (open(&drill.world).await == 0 && is_read(&drill.world).await).then_some(())
    })
    .await;
    let effects = effects(&drill.world).await;
    let keys: BTreeSet<&str> =
        effects.iter().map(|effect| effect["upstreamKey"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), effects.len(), "an action was done twice");
    assert_eq!(effects.len(), upstream, "as many as were answered");
    let mut streams: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (stream, kind) in recorded(&drill.world).await {
        streams.entry(stream).or_default().push(kind);
    }
    assert_eq!(streams.len(), upstream);
    for (stream, kinds) in &streams {
        assert_eq!(kinds[0], "requested.v1", "{stream}");
        let ends = ["completed.v1", "resolved.v1"];
        let ended = kinds.iter().filter(|kind| ends.contains(&kind.as_str())).count();
        assert_eq!(ended, 1, "{stream}: {kinds:?}");
        assert!(ends.contains(&kinds[kinds.len() - 1].as_str()), "{stream}: {kinds:?}");
    }
    let lost = streams.values().filter(|kinds| kinds.len() != 2).count();
    println!("lock actions: {upstream} done once each, {lost} of them with trouble, {kills} kills");
    assert!(0 < kills && 0 < lost);
}

/// The worker has read the ledger to its end.
async fn is_read(world: &World) -> bool {
    let query = "select c.position = h.position from open_action_cursor c, ledger_head h";
    let mut superuser = world.database.superuser().await;
    sqlx::query_scalar(query).fetch_one(&mut superuser).await.unwrap()
}

/// Faults that change, and now and then a `kill -9`, until every action is done. Answers the kills.
async fn make_trouble(drill: &Drill, wanted: usize) -> usize {
    let faults = [
        json!({ "dropAfterEffect": true, "mutationsOnly": true }),
        json!({}),
        json!({ "errorRate": 0.3, "status": 503, "mutationsOnly": true }),
        json!({ "resetRate": 0.2 }),
        json!({}),
        json!({ "latencyMs": 100, "jitterMs": 1500, "mutationsOnly": true }),
        json!({}),
    ];
    let (mut kills, mut kill_at, mut waves) = (0, wanted / 8, interval(WAVE));
    // An instance takes longer than a wave to start: the next one is not cut short for it.
    waves.set_missed_tick_behavior(MissedTickBehavior::Delay);
    waves.tick().await;
    for wave in 0.. {
        fault(&drill.world, faults[wave % faults.len()].clone()).await;
        waves.tick().await;
        let done = drill.done.load(Ordering::SeqCst);
        if wanted <= done {
            return kills;
        }
        if kill_at <= done {
            kills += 1;
            kill_at = done + wanted / 4 + 1;
            replace(drill).await;
        }
    }
    kills
}

/// Kills the instance in the middle of its work and starts another one.
async fn replace(drill: &Drill) {
    let process_id = drill.service.read().await.process_id().to_string();
    assert!(Command::new("kill").args(["-KILL", &process_id]).status().unwrap().success());
    let mut service = drill.service.write().await;
    service.kill();
    *service = drill.world.service().await;
    // What takes thirty seconds otherwise.
    expire_leases(&drill.world).await;
}

/// One desktop: issues keys, revokes every fifth, each until it is answered. Answers how many
/// actions that were.
async fn press(drill: &Drill, number: usize) -> usize {
    let tenant_id = tenant(&drill.world, number % 3);
    let for_the_whole_run = json!({ "ttlSeconds": 3600 });
    let mut desktop = Desktop::sign_in(&drill.world, &tenant_id, for_the_whole_run).await;
    let door = Door::of(&drill.world, desktop.property(), number).await;
    let mut actions = 0;
    while take(&drill.left) {
        let wish = (door.issue_path(), door.wish());
        let answer = until_answered(drill, &mut desktop, &wish, None).await;
        actions += 1;
        drill.done.fetch_add(1, Ordering::SeqCst);
        if actions % 5 == 0 && take(&drill.left) {
            let wish = json!({ "scope": "lock.revoke", "factor": "totp", "code": "000000",
                "resource": door.lock });
            let wish = ("/auth/mfa/step-up".to_owned(), wish);
            let step_up = until_answered(drill, &mut desktop, &wish, None).await;
            let attestation = step_up["attestationId"].as_str();
            let wish = json!({ "keyCredentialId": answer["keyCredentialId"], "reason": "lost" });
            let wish = (door.revoke_path(), wish);
            until_answered(drill, &mut desktop, &wish, attestation).await;
            actions += 1;
            drill.done.fetch_add(1, Ordering::SeqCst);
        }
    }
    actions
}

fn take(left: &AtomicUsize) -> bool {
    let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    taken.is_ok()
}

/// Sends one wish under one key until it is answered with 200, whatever happens to the instance.
async fn until_answered(
    drill: &Drill,
    desktop: &mut Desktop,
    (path, body): &(String, Value),
    attestation: Option<&str>,
) -> Value {
    let key = key();
    wait::within(PATIENCE, &format!("an answer to {path}"), async || {
        let sent = {
            let service = drill.service.read().await;
            let mut request = desktop
                .bare(&service, &Method::POST, path)
                .header("x-app-version", "1.4.2")
                .header("x-app-platform", "linux")
                .header("x-network-mode", "flaky")
                .header("x-idempotency-key", &key)
                .json(body);
            if let Some(attestation) = attestation {
                request = request.header("x-mfa-attestation", attestation);
            }
            request.send().await.ok()?
        };
        let (status, headers) = (sent.status(), sent.headers().clone());
        // The instance may be killed while it answers.
        let bytes = sent.bytes().await.ok()?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer { status, headers, bytes: bytes.to_vec(), body };
        if answer.headers.contains_key("dpop-nonce") {
            desktop.hear_nonce(&answer);
        }
        match answer.status.as_u16() {
            200 => Some(answer.body),
            401 if answer.body["code"] == "MELMASTOON.AUTH.NONCE_REQUIRED" => None,
            409 | 502 | 503 | 504 => None,
            _ => panic!("{path}: {}", answer.body),
        }
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "a long run is asked for by the environment")]
fn wanted() -> usize {
    std::env::var("LOCK_ACTIONS")
        .map_or(ACTIONS, |number| number.parse().expect("LOCK_ACTIONS is a number"))
}
