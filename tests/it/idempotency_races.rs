//! Many requests under one key at once: on one instance, on several, with the first one slow,
//! frozen or overtaken.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use backoffice::{
    clock::{Clock, SystemClock, TestClock},
    commands::{CommandError, idempotency::Outcome},
    ledger::{Append, ClaimState},
};
use chrono::TimeDelta;
use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    alerts::{acknowledge, calls, effects, events_of, fault, heal, path, raised, settled},
    desktop::{Answer, Desktop, key},
    ledger,
    platform::tenant,
    replica::{Press, Replica, claims, expire_leases},
    service::{Service, World},
    wait,
};

/// A press whose claim is being worked on, by somebody who takes his time.
async fn begun(press: &Press, replica: &Replica) -> Append {
    let (resources, actor) = (&replica.resources, &press.actor);
    let keyed = press.keyed(resources);
    let alert_id = press.alert_id();
    let event = ledger::acknowledged(alert_id, None);
    let mut first = ledger::append(
        &actor.caller.tenant_id,
        vec![ledger::write(&ledger::stream(alert_id), 0, &[event])],
    );
    first.claim = Some(keyed.start(actor));
    resources.ledger.append(first).await.unwrap();
    let body = br#"{"the":"answer"}"#.to_vec();
    let response = backoffice::ledger::StoredResponse::new(200, [], body);
    let mut last = ledger::append(&actor.caller.tenant_id, Vec::new());
    last.claim = Some(keyed.complete(response));
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn id_17_of_any_number_of_duplicates_one_has_the_effect() {
    let world = World::start().await;
    let replica = Replica::start(&world);
    let mut press = Press::new(&world).await;
    for number in [2, 10, 50, 200] {
        let duplicates = (0..number).map(|_| press.send(&replica.resources));
        let outcomes = join_all(duplicates).await;

        let mut bodies = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => bodies.push(outcome.response.body),
                Err(CommandError::InProgress) => (),
                Err(error) => panic!("{number} duplicates: {error:?}"),
            }
        }
        assert!(!bodies.is_empty(), "{number}");
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{number}");
        assert_eq!(effects(&world, press.alert_id()).await, 1, "{number}");
        assert_eq!(events_of(&world, press.alert_id()).await.len(), 2, "{number}");
        press = press.another(&world).await;
    }
}

/// Sends presses at the same moment, over the instances in turn; answers status and body of each.
async fn at_once(
    desktop: &Desktop,
    services: &[&Service],
    (alert_id, key): (&str, &str),
    bodies: &[Value],
) -> Vec<(Value, StatusCode, Answer)> {
    let path = path(alert_id);
    let presses = bodies.iter().enumerate().map(|(number, body)| {
        let service = services[number % services.len()];
        let proof = desktop.proof(service, &Method::POST, &path);
        let path = &path;
        async move {
            let sent = desktop.send_with_proof(service, path, Some((key, body)), &proof).await;
            let answer = Answer::read(sent).await;
            (body.clone(), answer.status, answer)
        }
    });
    join_all(presses).await
}

#[tokio::test(flavor = "multi_thread")]
async fn id_18_of_duplicates_on_three_instances_one_has_the_effect() {
    let world = World::start().await;
    let services = tokio::join!(world.service(), world.service(), world.service());
    let services = [&services.0, &services.1, &services.2];
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    // Each instance's base is an origin of its own, and each asks for its nonce once.
    for service in services {
        assert_eq!(desktop.get(service, "/alerts").await.status, StatusCode::OK);
    }
    for _ in 0..2 {
        let alert_id = raised(&world, &mut desktop, services[0]).await;
        let key = key();
        let bodies = vec![json!({}); 36];
        let answers = at_once(&desktop, &services, (&alert_id, &key), &bodies).await;

        let mut accepted = Vec::new();
        for (_, status, answer) in &answers {
            match *status {
                StatusCode::OK => accepted.push(&answer.bytes),
                StatusCode::CONFLICT => {
                    let code = &answer.body["code"];
                    assert_eq!(*code, "MELMASTOON.GENERAL.IDEMPOTENCY_IN_PROGRESS");
                    assert_eq!(answer.headers["retry-after"], "1");
                }
                status => panic!("{status}: {}", answer.body),
            }
        }
        assert!(!accepted.is_empty());
        assert!(accepted.iter().all(|body| *body == accepted[0]));
        settled(&world, &alert_id).await;
        assert_eq!(claims(&world, &key).await, ["completed"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_19_of_duplicates_with_different_bodies_one_body_is_applied() {
    let world = World::start().await;
    let services = tokio::join!(world.service(), world.service());
    let services = [&services.0, &services.1];
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    for service in services {
        assert_eq!(desktop.get(service, "/alerts").await.status, StatusCode::OK);
    }
    let alert_id = raised(&world, &mut desktop, services[0]).await;
    let key = key();
    // Both bodies at both instances.
    let comment = |number: usize| if (number / 2).is_multiple_of(2) { "one" } else { "two" };
    let bodies: Vec<Value> = (0..24).map(|number| json!({ "comment": comment(number) })).collect();
    let answers = at_once(&desktop, &services, (&alert_id, &key), &bodies).await;

    let mut statuses: BTreeMap<String, Vec<StatusCode>> = BTreeMap::new();
    for (body, status, _) in answers {
        statuses.entry(body["comment"].to_string()).or_default().push(status);
    }
    let applied: Vec<_> = statuses
        .iter()
        .filter(|(_, statuses)| statuses.contains(&StatusCode::OK))
        .map(|(comment, _)| comment.clone())
        .collect();
    assert_eq!(applied.len(), 1, "{statuses:?}");
    // While nobody knows which of them is applied, the repetitions of either are in progress.
    for (comment, statuses) in &statuses {
        let answer = if applied.contains(comment) {
            StatusCode::OK
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        };
        let known = |status: &StatusCode| [answer, StatusCode::CONFLICT].contains(status);
        assert!(statuses.iter().all(known), "{comment}: {statuses:?}");
        assert!(statuses.contains(&answer), "{comment}: {statuses:?}");
        let body = json!({ "comment": comment.trim_matches('"') });
        for service in services {
            let later = desktop.post(service, &path(&alert_id), &key, &body).await;
            assert_eq!(later.status, answer, "{comment}: {}", later.body);
        }
    }
    settled(&world, &alert_id).await;
    let told = calls(&world, &alert_id).await;
    let comments: Vec<String> =
        told.iter().map(|call| call["body"]["comment"].to_string()).collect();
    assert!(comments.iter().all(|comment| *comment == applied[0]), "{comments:?}");
}

/// A press at `service` that has begun and is frozen there, with its whole instance, while
/// notification-service hangs. Answers its alert and key, and the answer to come.
async fn frozen<'a>(
    world: &World,
    (desktop, watcher): (&'a Desktop, &mut Desktop),
    service: &'a Service,
) -> (String, String, impl Future<Output = Answer> + 'a) {
    loop {
        let alert_id = raised(world, watcher, service).await;
        let key = key();
        fault(world, json!({ "hang": true })).await;
        let (path, body) = (path(&alert_id), json!({}));
        let proof = desktop.proof(service, &Method::POST, &path);
        let pressed = key.clone();
        let request = async move {
            let mutation = Some((pressed.as_str(), &body));
            Answer::read(desktop.send_with_proof(service, &path, mutation, &proof).await).await
        };
        let mut request = Box::pin(request);
        let begun = wait::until("the press has begun", async || {
            !events_of(world, &alert_id).await.is_empty()
        });
        tokio::select! {
            answer = &mut request => {
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
                heal(world).await;
                continue;
            }
            () = begun => service.freeze(),
        }
        heal(world).await;
        if claims(world, &key).await == ["in_progress"] {
            // Else the freeze came too late, on a busy machine: once more.
            return (alert_id, key, request);
        }
        service.thaw();
        request.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_10_20_34_while_the_first_is_frozen_others_are_answered_at_once_and_may_take_over() {
    let world = World::start().await;
    let services = tokio::join!(world.service(), world.service());
    let (slow, quick) = (&services.0, &services.1);
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut other = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let device = json!({
        "operatorId": desktop.text("operatorId"), "deviceId": desktop.text("deviceId"),
    });
    for service in [slow, quick] {
        assert_eq!(desktop.get(service, "/alerts").await.status, StatusCode::OK);
    }
    // A frozen instance holds its leases, and with them what is heard of alerts.
    let other_alert = raised(&world, &mut other, quick).await;
    let (alert_id, key, first) = frozen(&world, (&desktop, &mut other), slow).await;
    // The same operator on the same device, by a second connection.
    let mut again = Desktop::sign_in(&world, &tenant(&world, 0), device).await;

    let mut latencies = Vec::new();
    for _ in 0..40 {
        let started = Instant::now();
        let answer = acknowledge(&mut again, quick, &alert_id, &key).await;
        latencies.push(started.elapsed());
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    latencies.sort();
    // A wait for a lock of the first one would take three seconds each.
    assert!(latencies[20] < Duration::from_secs(1), "{latencies:?}");
    let body = json!({ "comment": "x" });
    let reused = again.post(quick, &path(&alert_id), &key, &body).await;
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY, "id_10: {}", reused.body);
    let unhindered = acknowledge(&mut other, quick, &other_alert, &self::key()).await;
    assert_eq!(unhindered.status, StatusCode::OK, "{}", unhindered.body);

    expire_leases(&world).await;
    let taken_over = acknowledge(&mut again, quick, &alert_id, &key).await;
    assert_eq!(taken_over.status, StatusCode::OK, "id_34: {}", taken_over.body);
    slow.thaw();
    let zombie = first.await;

    assert_eq!(zombie.status, StatusCode::CONFLICT, "id_34: {}", zombie.body);
    let replayed = acknowledge(&mut again, quick, &alert_id, &key).await;
    assert_eq!(replayed.bytes, taken_over.bytes);
    assert_eq!(replayed.headers["idempotency-replayed"], "true");
    settled(&world, &alert_id).await;
    let keys = upstream_keys(&world, &alert_id).await;
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

async fn upstream_keys(world: &World, alert_id: &str) -> Vec<Value> {
    let told = calls(world, alert_id).await;
    told.iter().map(|call| call["headers"]["idempotency-key"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn id_20_five_hundred_duplicates_of_a_slow_request_exhaust_nothing() {
    let world = World::start().await;
    let replica = Replica::start(&world);
    let press = Press::new(&world).await;
    let other = press.another(&world).await;
    let last = begun(&press, &replica).await;

    let duplicates = join_all((0..500).map(|_| press.send(&replica.resources)));
    let (outcomes, unhindered) = tokio::join!(duplicates, other.send(&replica.resources));

    assert_eq!(unhindered.unwrap().response.status, 200);
    for outcome in outcomes {
        assert!(matches!(outcome, Err(CommandError::InProgress)), "{outcome:?}");
    }
    replica.resources.ledger.append(last).await.unwrap();
    assert!(press.send(&replica.resources).await.unwrap().replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_35_a_lease_runs_by_the_clock_of_the_database_alone() {
    let world = World::start().await;
    let skewed = |seconds| {
        let clock = TestClock::at(SystemClock.now() + TimeDelta::seconds(seconds));
        Replica::start_with(&world, world.database.other_pools(), clock)
    };
    let (fast, slow) = (skewed(60), skewed(-60));
    let press = Press::new(&world).await;
    let last = begun(&press, &slow).await;

    for replica in [&fast, &slow] {
        let early = press.send(&replica.resources).await;
        assert!(matches!(early, Err(CommandError::InProgress)), "{early:?}");
    }
    expire_leases(&world).await;
    let taken_over = press.send(&slow.resources).await.unwrap();

    assert_eq!(taken_over.response.status, 200);
    let overtaken = slow.resources.ledger.append(last).await;
    assert!(matches!(overtaken, Err(backoffice::ledger::AppendError::Fenced)));
    let replayed = press.send(&fast.resources).await.unwrap();
    assert_eq!(replayed.response, taken_over.response);
    let keyed = press.keyed(&fast.resources);
    let claim = fast.resources.ledger.read_claim(&keyed.key).await.unwrap().unwrap();
    assert_eq!((claim.state, claim.attempt), (ClaimState::Completed, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn id_53_clients_that_wait_as_told_all_get_the_answer_soon() {
    const CLIENTS: usize = 200;
    const FIRST_ENDS_AT_MS: u64 = 3_500;
    let world = World::start().await;
    let replica = Replica::start(&world);
    let press = Press::new(&world).await;
    let last = begun(&press, &replica).await;
    let mut last = Some(last);
    let mut random = StdRng::seed_from_u64(53);
    // Virtual time: who tries when, in slots of 50 ms. A client waits the second it is told to and
    // up to half of one more.
    let mut tries: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for client in 0..CLIENTS {
        tries.entry(random.random_range(0..20)).or_default().push(client);
    }
    let mut sent_by = vec![0; CLIENTS];
    let mut answers: Vec<Outcome> = Vec::new();
    let mut ends_at_ms = 0;

    while let Some((slot, clients)) = tries.pop_first() {
        let now_ms = slot * 50;
        if FIRST_ENDS_AT_MS <= now_ms
            && let Some(last) = last.take()
        {
            replica.resources.ledger.append(last).await.unwrap();
        }
        let sent = clients.iter().map(|_| press.send(&replica.resources));
        for (client, outcome) in clients.iter().zip(join_all(sent).await) {
            sent_by[*client] += 1;
            match outcome {
                Ok(outcome) => {
                    answers.push(outcome);
                    ends_at_ms = now_ms;
                }
                Err(CommandError::InProgress) => {
                    let pause_ms = 1_000 + random.random_range(0..=500);
                    tries.entry((now_ms + pause_ms).div_ceil(50)).or_default().push(*client);
                }
                Err(error) => panic!("{error:?} at {now_ms} ms"),
            }
        }
    }

    assert_eq!(answers.len(), CLIENTS);
    assert!(answers.iter().all(|answer| answer.response == answers[0].response));
    assert!(answers.iter().all(|answer| answer.replayed));
    // Nobody waits longer than one pause after the first one's end.
    assert!(ends_at_ms <= FIRST_ENDS_AT_MS + 1_550, "{ends_at_ms}");
    assert!(sent_by.iter().all(|sent| *sent <= 5), "{sent_by:?}");
}
