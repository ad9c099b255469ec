//! Every route that changes something, in six ways: it succeeds, is refused, gets no answer from its
//! upstream, finds the circuit open, is repeated, and is killed in the middle.

mod tries;

use std::{collections::BTreeSet, fs};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::tries::{Bench, Try, UPSTREAMS};
use crate::support::{
    desktop::{Answer, key},
    platform::{fault, heal, kept},
    replica::expire_leases,
    sources::{files, root},
    wait,
};

/// Routes that end or renew a session, or are no operator's, are tried where that is: success,
/// refusal, no answer, circuit, repetition, crash. Empty: cannot be, for the reason beside it.
const ELSEWHERE: &[(&str, [&str; 6])] = &[
    (
        "refresh",
        [
            "dp_ref_01_a_refresh_token_and_a_proof_without_ath_give_tokens_for_the_same_key",
            "dp_ref_03_a_refresh_token_of_another_key_is_an_invalid_grant_and_stays_good",
            "while_iam_is_away_a_refresh_is_to_be_tried_again",
            "while_iam_is_away_a_refresh_is_to_be_tried_again",
            "dp_ref_04_a_repetition_under_its_key_gets_the_same_tokens_and_revokes_nobody",
            "dp_ref_04_a_lost_answer_is_asked_for_again_under_its_key",
        ],
    ),
    (
        "signOut",
        [
            "a_sign_out_ends_session_streams_and_tokens_once_and_for_all",
            "a_sign_out_needs_its_key_and_its_credentials",
            "a_sign_out_stands_while_iam_is_away",
            "a_sign_out_stands_while_iam_is_away",
            "a_sign_out_ends_session_streams_and_tokens_once_and_for_all",
            // One append: it is there or not, and the session's end is read from it.
            "",
        ],
    ),
    (
        "runJob",
        [
            "the_scheduler_runs_jobs_and_the_command_line_runs_the_same",
            "ab_28_jobs_are_for_the_schedulers_account_and_its_token_is_for_jobs_alone",
            // It has no upstream, and no key: a job may be started as often as one likes.
            "",
            "",
            "the_scheduler_runs_jobs_and_the_command_line_runs_the_same",
            "id_36_37_what_nobody_comes_back_for_is_ended_archived_and_only_then_forgotten",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_changes_something_is_tried_here_or_elsewhere() {
    let mut bench = Bench::start().await;
    let mut tried: BTreeSet<String> =
        bench.tries().await.iter().map(|it| it.operation.to_owned()).collect();
    let code: String =
        files("tests/it", "rs").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for (operation, tests) in ELSEWHERE {
        tried.insert((*operation).to_owned());
        for test in tests.iter().filter(|test| !test.is_empty()) {
            assert!(code.contains(&format!("async fn {test}()")), "{operation}: no test {test}");
        }
    }
    let document = fs::read_to_string(root().join("schemas/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let documented: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap())
        .filter(|(method, _)| ["post", "put", "patch", "delete"].contains(&method.as_str()))
        .map(|(_, operation)| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    let missing: Vec<&String> = documented.difference(&tried).collect();
    assert!(20 < documented.len() && missing.is_empty(), "nobody tries {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn id_06_07_each_succeeds_and_a_repetition_has_the_same_answer() {
    let mut bench = Bench::start().await;
    for one in bench.tries().await {
        let key = key();
        let first = bench.send(&one, &key).await;
        assert_eq!(first.status.as_u16(), one.success, "{}: {}", one.operation, first.body);
        bench.check_replayed(&one, &key, &first).await;
        bench.check_one_effect(&one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_27_a_refusal_upstream_is_passed_on_and_kept_or_changes_nothing_here() {
    let mut bench = Bench::start().await;
    let tries = bench.tries().await;
    bench.break_all(&json!({ "status": 422, "mutationsOnly": true })).await;
    // A code that is refused claims nothing: `mfa_step_up.rs` tries that.
    let asked = tries.iter().filter(|one| one.upstream.is_some() && one.operation != "stepUp");
    for one in asked {
        let key = key();
        let refused = bench.send(one, &key).await;
        let expected = if one.stands { one.success } else { 422 };
        assert_eq!(refused.status.as_u16(), expected, "{}: {}", one.operation, refused.body);
        bench.check_replayed(one, &key, &refused).await;
        let effects = bench.effects(one).await;
        assert_eq!(effects, one.effects.saturating_sub(1), "{}", one.operation);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_without_an_answer_upstream_each_is_asked_again_under_its_key_and_done_once() {
    let mut bench = Bench::start().await;
    let tries = bench.tries().await;
    for round in rounds(&tries) {
        bench.break_all(&json!({ "hang": true, "mutationsOnly": true })).await;
        let keys: Vec<String> = round.iter().map(|_| key()).collect();
        let late = join_all(round.iter().zip(&keys).map(|(one, key)| bench.send(one, key))).await;
        bench.heal_all().await;
        for ((one, key), late) in round.into_iter().zip(&keys).zip(late) {
            check_late(one, &late);
            let done = bench.until_done(one, key).await;
            assert_eq!(done.status.as_u16(), one.success, "{}: {}", one.operation, done.body);
            bench.check_one_effect(one).await;
        }
    }
}

/// One request of each upstream at a time: several answers that are lost in a row open its circuit.
fn rounds(tries: &[Try]) -> Vec<Vec<&Try>> {
    let mut rounds: Vec<Vec<&Try>> = Vec::new();
    for one in tries.iter().filter(|one| one.upstream.is_some()) {
        let free = rounds
            .iter_mut()
            .find(|round| round.iter().all(|other| other.upstream != one.upstream));
        match free {
            Some(round) => round.push(one),
            None => rounds.push(vec![one]),
        }
    }
    rounds
}

fn check_late(one: &Try, late: &Answer) {
    let operation = one.operation;
    if one.stands {
        assert_eq!(late.status.as_u16(), one.success, "{operation}: {}", late.body);
        return;
    }
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT, "{operation}: {}", late.body);
    let code = late.body["code"].as_str().unwrap();
    assert_eq!(code, "MELMASTOON.BFF.OUTCOME_UNKNOWN", "{operation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn id_24_behind_an_open_circuit_nothing_is_sent_and_the_key_does_it_later() {
    let mut bench = Bench::start().await;
    let tries = bench.tries().await;
    bench.break_all(&json!({ "status": 503 })).await;
    bench.open_circuits().await;
    let mut waiting = Vec::new();
    for one in tries.iter().filter(|one| one.upstream.is_some()) {
        let key = key();
        let refused = if one.stands {
            bench.send(one, &key).await
        } else {
            bench.refused_unsent(one, &key).await
        };
        let expected = if one.stands { one.success } else { 503 };
        assert_eq!(refused.status.as_u16(), expected, "{}: {}", one.operation, refused.body);
        waiting.push((one, key));
    }
    bench.heal_all().await;
    for (one, key) in waiting {
        let done = bench.until_done(one, &key).await;
        assert_eq!(done.status.as_u16(), one.success, "{}: {}", one.operation, done.body);
        bench.check_one_effect(one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_28_30_killed_while_all_are_under_way_each_is_finished_by_its_key_and_done_once() {
    let mut bench = Bench::start().await;
    let tries = bench.tries().await;
    bench.break_all(&json!({ "hang": true, "mutationsOnly": true })).await;
    let keys: Vec<String> = tries.iter().map(|_| key()).collect();
    let mut under_way = JoinSet::new();
    for (one, key) in tries.iter().zip(&keys) {
        under_way.spawn(bench.request(one, key).send());
    }
    wait::until("every upstream is being asked, and the rest is answered", async || {
        for one in &tries {
            if one.is_asked_at_once() && bench.calls(one).await == 0 {
                return false;
            }
        }
        bench.claims(&keys).await == tries.iter().filter(|one| one.claims_at_once()).count()
    })
    .await;
    bench.service.kill();
    under_way.abort_all();
    bench.heal_all().await;
    expire_leases(&bench.world).await;

    bench.service = bench.world.service().await;
    for (one, key) in tries.iter().zip(&keys) {
        let done = bench.until_done(one, key).await;
        assert_eq!(done.status.as_u16(), one.success, "{}: {}", one.operation, done.body);
        bench.check_replayed(one, key, &done).await;
        bench.check_one_effect(one).await;
    }
}

impl Bench {
    /// Of sync-service everything, which takes a handshake for a question.
    async fn break_all(&self, faults: &Value) {
        for upstream in UPSTREAMS {
            let mut faults = faults.clone();
            if upstream == "sync-service" {
                faults.as_object_mut().unwrap().remove("mutationsOnly");
            }
            fault(&self.world, upstream, &faults).await;
        }
    }

    async fn heal_all(&self) {
        for upstream in UPSTREAMS {
            heal(&self.world, upstream).await;
        }
    }

    /// What the route's upstream was asked for it.
    async fn calls(&self, one: &Try) -> usize {
        let (Some(upstream), Some(path)) = (one.upstream, &one.upstream_path) else { return 0 };
        let calls = kept(&self.world, (upstream, "calls"), path).await;
        calls.iter().filter(|call| call["method"] != "GET").count()
    }

    async fn effects(&self, one: &Try) -> usize {
        let (Some(upstream), Some(path)) = (one.upstream, &one.upstream_path) else { return 0 };
        kept(&self.world, (upstream, "effects"), path).await.len()
    }

    async fn check_one_effect(&self, one: &Try) {
        if one.effects != 0 {
            assert_eq!(self.effects(one).await, one.effects, "{}", one.operation);
        }
    }
}
