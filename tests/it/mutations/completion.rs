//! What stopped in between and nobody comes back for: asked for again while that is early enough,
//! said to be unknown later, and ended, archived and forgotten in the end.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection;
use tokio::task::JoinSet;

use super::{Bench, stock::Wish};
use crate::support::{
    desktop::key,
    replica::{claims, expire_leases},
    wait,
};

/// A payment: all of it stands in the ledger.
const WHOLE: &str = "folio.payment";
/// A charge: what somebody wrote on it stands nowhere.
const WRITTEN: &str = "folio.charge";

impl Bench {
    /// Sends a request that nobody waits for any more once the service calls upstream and
    /// `meanwhile` is over.
    async fn abandon(&self, wish: &Wish, key: &str, meanwhile: impl AsyncFnOnce()) {
        let request = self
            .desktop
            .bare(&self.service, &reqwest::Method::POST, &wish.path)
            .header("x-idempotency-key", key)
            .header("x-property-id", &wish.property_id)
            .json(&wish.body);
        let mut unanswered = JoinSet::new();
        unanswered.spawn(request.send());
        wait::until("the call is under way", async || {
            !self.upstream(wish, "calls").await.is_empty()
        })
        .await;
        meanwhile().await;
        unanswered.abort_all();
    }

    /// Leaves a request for the row's upstream that hangs, and answers the request's key.
    async fn leave_hanging(&mut self, wish: &Wish) -> String {
        let key = key();
        self.desktop.get(&self.service, "/session").await;
        let hang = json!({ "hang": true, "mutationsOnly": true });
        self.set_faults(wish.mutation.service, &hang).await;
        self.abandon(wish, &key, async || ()).await;
        key
    }

    /// Kills the instance; what its connections were about to do is not done.
    async fn kill(&mut self) {
        self.service.kill();
        let end = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where datname = current_database() and usename like 'backoffice_%'";
        let mut superuser = self.world.database.superuser().await;
        sqlx::raw_sql(end).execute(&mut superuser).await.unwrap();
    }

    /// Lets everything open have been asked for so long ago, and be due.
    async fn age(&self, minutes: f64) {
        wait::until("the action is known to be open", async || self.open().await == 1).await;
        expire_leases(&self.world).await;
        let age = "update open_action set next_try_at = now(), \
                   requested_at = now() - $1 * interval '1 minute'";
        let mut superuser = self.world.database.superuser().await;
        sqlx::query(age).bind(minutes).execute(&mut superuser).await.unwrap();
    }

    async fn open(&self) -> i64 {
        self.world.database.count("open_action").await
    }

    /// What a completed mutation is: one effect, one answer that stands, nothing open.
    async fn check_completed(&mut self, wish: &Wish, key: &str) {
        let verb = wish.mutation.verb;
        wait::until("nothing is open", async || self.open().await == 0).await;
        assert_eq!(claims(&self.world, key).await, ["completed"], "{verb}");
        let calls = self.upstream(wish, "calls").await.len();
        let answer = self.ask(wish, key, &[]).await;
        assert_eq!(answer.status.as_u16(), wish.mutation.success, "{verb}: {}", answer.body);
        assert_eq!(answer.headers["idempotency-replayed"], "true", "{verb}");
        assert!(answer.body["data"]["id"].is_string(), "{verb}: {}", answer.body);
        assert_eq!(self.upstream(wish, "effects").await.len(), 1, "{verb}");
        let all = self.upstream(wish, "calls").await;
        assert_eq!(all.len(), calls, "{verb}: the answer is from the record");
        let keys: Vec<&Value> = all.iter().map(|it| &it["headers"]["idempotency-key"]).collect();
        assert!(keys.iter().all(|it| it.is_string() && *it == keys[0]), "{verb}: {keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_28_killed_before_the_effect_a_mutation_is_done_by_another_instance_with_nobody_there() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for(WHOLE).await;
    let key = bench.leave_hanging(&wish).await;
    bench.kill().await;
    bench.heal(wish.mutation.service).await;
    assert_eq!(bench.kinds(&key).await, ["requested"]);
    assert!(bench.upstream(&wish, "effects").await.is_empty());

    bench.service = bench.world.service().await;
    bench.age(0.5).await;
    wait::until("another instance has done it", async || {
        bench.kinds(&key).await == ["requested", "completed"]
    })
    .await;

    bench.check_completed(&wish, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_29_killed_after_the_effect_a_mutation_has_that_effect_alone_with_nobody_there() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for(WHOLE).await;
    let key = key();
    bench.desktop.get(&bench.service, "/session").await;
    let slow = json!({ "latencyMs": 300, "mutationsOnly": true });
    bench.set_faults(wish.mutation.service, &slow).await;
    let mut holder = bench.world.database.superuser().await;
    let mut held = holder.begin().await.unwrap();
    bench
        .abandon(&wish, &key, async || {
            // The outcome cannot be recorded while somebody else has the row of the claim.
            let query = "select from idempotency where key = $1 for update";
            let rows = sqlx::query(query).bind(&key).fetch_all(&mut *held).await.unwrap();
            assert_eq!(rows.len(), 1);
            wait::until("upstream has done it", async || {
                bench.upstream(&wish, "effects").await.len() == 1
            })
            .await;
        })
        .await;
    bench.kill().await;
    held.rollback().await.unwrap();
    bench.heal(wish.mutation.service).await;
    assert_eq!(bench.kinds(&key).await, ["requested"]);

    bench.service = bench.world.service().await;
    bench.age(0.5).await;
    wait::until("another instance has found it out", async || {
        bench.kinds(&key).await == ["requested", "completed"]
    })
    .await;

    bench.check_completed(&wish, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_a_lost_answer_is_asked_for_with_nobody_there_but_not_before_the_desktop_had_its_turn()
 {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for(WHOLE).await;
    let key = key();
    bench.set_faults(wish.mutation.service, &json!({ "dropAfterEffect": true })).await;
    let lost = bench.ask(&wish, &key, &[]).await;
    bench.heal(wish.mutation.service).await;
    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.body);
    wait::until("it is known to be unknown", async || bench.open().await == 1).await;
    let due = "select extract(epoch from next_try_at - requested_at)::float8 from open_action";
    let mut superuser = bench.world.database.superuser().await;
    let due_after: f64 = sqlx::query_scalar(due).fetch_one(&mut superuser).await.unwrap();
    assert!(30.0 < due_after, "{due_after}");

    bench.age(1.5).await;
    wait::until("the worker has found it out", async || {
        bench.kinds(&key).await == ["requested", "outcome_unknown", "resolved"]
    })
    .await;

    bench.check_completed(&wish, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_found_out_later_is_kept_in_the_language_of_its_request() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for("reservation.cancel").await;
    let (key, other_key) = (key(), key());
    let upstream = wish.mutation.service;
    bench.set_faults(upstream, &json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    let lost = bench.ask(&wish, &key, &[]).await;
    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.body);
    bench.heal(upstream).await;
    // Meanwhile it is done otherwise, so that it is refused now.
    let mut other = bench.ask(&wish, &other_key, &[]).await;
    wait::until("the circuit is closed again", async || {
        other = bench.ask(&wish, &other_key, &[]).await;
        other.status != StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert_eq!(other.status.as_u16(), wish.mutation.success, "{}", other.body);

    bench.age(1.0).await;
    wait::until("the worker has found it out", async || {
        bench.kinds(&key).await == ["requested", "outcome_unknown", "resolved"]
    })
    .await;

    assert_eq!(bench.recorded(&key).await[2].1["outcome"], "refused");
    let answer = bench.ask(&wish, &key, &[]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
    assert_eq!(answer.headers["idempotency-replayed"], "true");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let locale = &bench.desktop.get(&bench.service, "/session").await.body["locale"];
    let language = answer.headers["content-language"].to_str().unwrap();
    assert!(locale.as_str().unwrap().starts_with(language), "{locale} and {language}");
    assert_eq!(answer.body["instance"], format!("/bff/backoffice/v1{}", wish.path));
    assert_eq!(answer.body["source"], upstream.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn id_29_late_or_without_its_words_a_mutation_is_only_said_to_be_unknown_until_its_key_comes()
{
    let mut bench = Bench::start().await;
    for (verb, minutes) in [(WHOLE, 2.5), (WRITTEN, 0.5)] {
        let wish = bench.stock.wish_for(verb).await;
        let key = bench.leave_hanging(&wish).await;
        bench.kill().await;
        bench.heal(wish.mutation.service).await;

        bench.service = bench.world.service().await;
        bench.age(minutes).await;
        wait::until("the worker has given it up", async || {
            bench.kinds(&key).await == ["requested", "outcome_unknown"]
        })
        .await;

        assert_eq!(bench.upstream(&wish, "calls").await.len(), 1, "{verb}: nothing is asked late");
        assert_eq!(claims(&bench.world, &key).await, ["unknown"], "{verb}");
        assert_eq!(bench.open().await, 1, "{verb}");
        // The desktop has all of the request.
        let answer = bench.ask(&wish, &key, &[]).await;
        assert_eq!(answer.status.as_u16(), wish.mutation.success, "{verb}: {}", answer.body);
        assert_eq!(bench.kinds(&key).await, ["requested", "outcome_unknown", "resolved"], "{verb}");
        bench.check_completed(&wish, &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_36_37_what_nobody_comes_back_for_is_ended_archived_and_only_then_forgotten() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for(WRITTEN).await;
    let (lost_key, done_key) = (key(), key());
    bench.set_faults(wish.mutation.service, &json!({ "dropAfterEffect": true })).await;
    let lost = bench.ask(&wish, &lost_key, &[]).await;
    bench.heal(wish.mutation.service).await;
    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.body);
    let done = bench.ask(&wish, &done_key, &[]).await;
    assert_eq!(done.status, StatusCode::CREATED, "{}", done.body);
    let mut superuser = bench.world.database.superuser().await;
    let age = "update idempotency set created_at = now() - interval '27 hours'";
    sqlx::raw_sql(age).execute(&mut superuser).await.unwrap();
    let archive = async |superuser: &mut sqlx::PgConnection| -> Vec<(String, i32)> {
        let query = "select key::text, status from idempotency_archive order by created_at, key";
        sqlx::query_as(query).fetch_all(superuser).await.unwrap()
    };

    let (ran, said) = bench.world.run(&["job", "purge-idempotency"]);
    assert!(ran && said.contains("0 answered keys forgotten"), "nothing is archived yet: {said}");
    let (ran, said) = bench.world.run(&["job", "archive"]);
    assert!(ran && said.contains("2 answered keys archived, 1 ended"), "{said}");
    let (ran, said) = bench.world.run(&["job", "archive"]);
    assert!(ran && said.contains("0 answered keys archived, 0 ended"), "{said}");

    let mut expected = vec![(lost_key.clone(), 504), (done_key.clone(), 201)];
    expected.sort();
    let mut archived = archive(&mut superuser).await;
    archived.sort();
    assert_eq!(archived, expected);
    assert_eq!(claims(&bench.world, &lost_key).await, ["completed"]);
    let (ran, said) = bench.world.run(&["job", "purge-idempotency"]);
    assert!(ran && said.contains("2 answered keys forgotten"), "{said}");
    assert_eq!(archive(&mut superuser).await.len(), 2);
    // Nobody can find more out: the ledger has the last word, and nothing is open.
    bench.age_all().await;
    wait::until("nothing is open", async || bench.open().await == 0).await;
    assert_eq!(bench.kinds(&lost_key).await, ["requested", "outcome_unknown"]);
    assert_eq!(bench.upstream(&wish, "effects").await.len(), 2);
    let old = "update idempotency_archive set archived_at = now() - interval '91 days' \
               where key = $1";
    sqlx::query(old).bind(&done_key).execute(&mut superuser).await.unwrap();
    let (ran, said) = bench.world.run(&["job", "archive"]);
    assert!(ran && said.contains("1 forgotten"), "{said}");
    assert_eq!(archive(&mut superuser).await, [(lost_key, 504)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_again_or_for_long_stays_unknown_and_its_key_still_finds_it() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for(WHOLE).await;
    let key = key();
    let upstream = wish.mutation.service;
    bench.set_faults(upstream, &json!({ "dropAfterEffect": true, "mutationsOnly": true })).await;
    let lost = bench.ask(&wish, &key, &[]).await;
    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.body);
    let asked = bench.upstream(&wish, "calls").await.len();

    bench.age(1.0).await;
    wait::until("it is asked for again", async || {
        asked < bench.upstream(&wish, "calls").await.len()
    })
    .await;
    let before = bench.attempts().await;
    bench.age(20.0).await;
    wait::until("it is looked at once more", async || before < bench.attempts().await).await;

    assert_eq!(bench.kinds(&key).await, ["requested", "outcome_unknown"]);
    assert_eq!(bench.open().await, 1);
    bench.heal(upstream).await;
    let mut answer = lost;
    wait::until("the circuit is closed again", async || {
        answer = bench.ask(&wish, &key, &[]).await;
        !answer.status.is_server_error()
    })
    .await;
    assert_eq!(answer.status.as_u16(), wish.mutation.success, "{}", answer.body);
    assert_eq!(bench.kinds(&key).await, ["requested", "outcome_unknown", "resolved"]);
    bench.check_completed(&wish, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_answered_is_unknown_once_its_claim_was_ended() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for(WHOLE).await;
    let key = bench.leave_hanging(&wish).await;
    // While the request is at work, nobody takes it from it.
    wait::until("the action is known to be open", async || bench.open().await == 1).await;
    bench.age_all().await;
    wait::until("it is looked at", async || 0 < bench.attempts().await).await;
    assert_eq!(bench.kinds(&key).await, ["requested"]);
    bench.kill().await;
    let asked = bench.upstream(&wish, "calls").await.len();
    bench.heal(wish.mutation.service).await;
    expire_leases(&bench.world).await;
    let mut superuser = bench.world.database.superuser().await;
    let age = "update idempotency set created_at = now() - interval '27 hours'";
    sqlx::raw_sql(age).execute(&mut superuser).await.unwrap();
    let (ran, said) = bench.world.run(&["job", "archive"]);
    assert!(ran && said.contains("1 ended"), "{said}");

    bench.service = bench.world.service().await;
    bench.age_all().await;
    wait::until("nothing is open", async || bench.open().await == 0).await;

    assert_eq!(bench.kinds(&key).await, ["requested", "outcome_unknown"]);
    assert_eq!(bench.upstream(&wish, "calls").await.len(), asked, "nothing is asked late");
}

impl Bench {
    /// How often the worker has looked at what is open.
    async fn attempts(&self) -> i32 {
        let mut superuser = self.world.database.superuser().await;
        let query = "select coalesce(max(attempts), 0) from open_action";
        sqlx::query_scalar(query).fetch_one(&mut superuser).await.unwrap()
    }

    /// Lets whatever is open be a day old, and due.
    async fn age_all(&self) {
        let age = "update open_action set next_try_at = now(), \
                   requested_at = now() - interval '27 hours'";
        let mut superuser = self.world.database.superuser().await;
        sqlx::raw_sql(age).execute(&mut superuser).await.unwrap();
    }
}
