//! One mutation, and whoever comes in between: the same request elsewhere, the worker, a ledger that
//! takes nothing or says what cannot be.

use backoffice::{
    app::jobs,
    commands::complete_actions::{Completer, read_on},
    database::Role,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use sqlx::Connection;

use super::{Bench, code, stock::Wish};
use crate::support::{
    desktop::{Answer, Desktop, key},
    locks::age,
    replica::{Replica, claims, expire_leases},
    service::Service,
};

const VERB: &str = "folio.payment";
const IN_PROGRESS: &str = "MELMASTOON.GENERAL.IDEMPOTENCY_IN_PROGRESS";
const UNAVAILABLE: &str = "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE";

/// The row's request, with a proof of its own.
fn request(desktop: &Desktop, service: &Service, wish: &Wish, key: &str) -> RequestBuilder {
    desktop
        .bare(service, &Method::POST, &wish.path)
        .header("x-idempotency-key", key)
        .header("x-property-id", &wish.property_id)
        .json(&wish.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_that_begin_with_one_key_at_once_one_asks() {
    let mut bench = Bench::start().await;
    let other = bench.world.service().await;
    let (wish, key) = (bench.stock.wish_for(VERB).await, key());
    for service in [&bench.service, &other] {
        assert_eq!(bench.desktop.get(service, "/session").await.status, StatusCode::OK);
    }
    let mut holder = bench.world.database.superuser().await;
    let mut held = holder.begin().await.unwrap();
    // Neither can claim the key, and both find it free.
    let lock = "lock table idempotency in exclusive mode";
    sqlx::raw_sql(lock).execute(&mut *held).await.unwrap();

    let (one, two, ()) = tokio::join!(
        request(&bench.desktop, &bench.service, &wish, &key).send(),
        request(&bench.desktop, &other, &wish, &key).send(),
        async {
            bench.world.database.until_waiting(Role::Append, 2).await;
            held.rollback().await.unwrap();
        }
    );

    let one = Answer::read(one.unwrap()).await;
    let two = Answer::read(two.unwrap()).await;
    let (done, late) = if one.status.is_success() { (one, two) } else { (two, one) };
    assert_eq!(done.status.as_u16(), wish.mutation.success, "{}", done.body);
    if late.status != done.status {
        assert_eq!((late.status, code(&late)), (StatusCode::CONFLICT, IN_PROGRESS));
    }
    assert_eq!(bench.kinds(&key).await, ["requested", "completed"]);
    assert_eq!(bench.upstream(&wish, "calls").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_neither_asked_for_nor_refused() {
    let mut bench = Bench::start().await;
    // The one without the step-up that it needs, whose refusal would have to be recorded.
    for verb in [VERB, "folio.refund"] {
        let (wish, key) = (bench.stock.wish_for(verb).await, key());
        bench.world.database.refuse_events("activity").await;

        let refused = bench.ask(&wish, &key, &[]).await;

        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{verb}: {}", refused.body);
        assert_eq!(code(&refused), UNAVAILABLE, "{verb}");
        assert!(bench.upstream(&wish, "calls").await.is_empty(), "{verb}");
        assert_eq!(bench.claims(&key).await, 0, "{verb}");
        bench.world.database.accept_events().await;
        let attestation = bench.attestation(&wish).await;
        let done = bench.ask(&wish, &key, &super::with(attestation.as_ref())).await;
        assert_eq!(done.status.as_u16(), wish.mutation.success, "{verb}: {}", done.body);
        assert_eq!(bench.kinds(&key).await, ["requested", "completed"], "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_recorded_is_found_out_by_the_same_key() {
    let mut bench = Bench::start().await;
    let (wish, key) = (bench.stock.wish_for(VERB).await, key());
    bench.world.database.refuse_kind("completed.v1").await;

    let lost = bench.ask(&wish, &key, &[]).await;

    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE, "{}", lost.body);
    assert_eq!(code(&lost), UNAVAILABLE);
    assert_eq!(bench.kinds(&key).await, ["requested"]);
    bench.world.database.accept_events().await;
    let early = bench.ask(&wish, &key, &[]).await;
    assert_eq!((early.status, code(&early)), (StatusCode::CONFLICT, IN_PROGRESS));
    expire_leases(&bench.world).await;
    let found = bench.ask(&wish, &key, &[]).await;
    assert_eq!(found.status.as_u16(), wish.mutation.success, "{}", found.body);
    assert_eq!(bench.kinds(&key).await, ["requested", "completed"]);
    assert_eq!(bench.upstream(&wish, "effects").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_is_not_asked_for_again_whatever_became_of_its_claim() {
    let mut bench = Bench::start().await;
    for (becomes, status, expected) in [
        (
            "delete from idempotency where key = $1",
            StatusCode::SERVICE_UNAVAILABLE,
            "MELMASTOON.BFF.OVERLOADED",
        ),
        (
            "update idempotency set state = 'unknown', status = null, headers = null, \
             body = null, completed_at = null, lease_until = now() - interval '1 second' \
             where key = $1",
            StatusCode::CONFLICT,
            IN_PROGRESS,
        ),
    ] {
        let (wish, key) = (bench.stock.wish_for(VERB).await, key());
        let done = bench.ask(&wish, &key, &[]).await;
        assert_eq!(done.status.as_u16(), wish.mutation.success, "{}", done.body);
        let mut superuser = bench.world.database.superuser().await;
        let changed = sqlx::query(becomes).bind(&key).execute(&mut superuser).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);

        let again = bench.ask(&wish, &key, &[]).await;

        assert_eq!((again.status, code(&again)), (status, expected), "{}", again.body);
        assert_eq!(bench.upstream(&wish, "calls").await.len(), 1, "{becomes}");
        assert_eq!(bench.kinds(&key).await, ["requested", "completed"], "{becomes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_up_that_nobody_can_read_allows_nothing() {
    let mut bench = Bench::start().await;
    let (wish, key) = (bench.stock.wish_for("folio.refund").await, key());
    let attestation = bench.attestation(&wish).await.unwrap();
    bench.world.database.spoil(&attestation).await;

    let answer = bench.ask(&wish, &key, &[("x-mfa-attestation", &attestation)]).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert_eq!(code(&answer), UNAVAILABLE);
    assert_eq!(bench.claims(&key).await, 0);
    assert!(bench.upstream(&wish, "calls").await.is_empty());
    assert_eq!(bench.kinds(&key).await, Vec::<String>::new());
}

/// A mutation that stopped in between. The instance that asked is gone; another one, without its
/// workers, looks after it when it is told to.
struct Left {
    bench: Bench,
    replica: Replica,
    wish: Wish,
    key: String,
}

impl Left {
    /// The upstream has done it and its answer was lost.
    async fn unanswered() -> Self {
        Self::by(async |bench, wish, key| {
            let upstream = wish.mutation.service;
            bench.set_faults(upstream, &json!({ "dropAfterEffect": true })).await;
            let lost = bench.ask(wish, key, &[]).await;
            bench.heal(upstream).await;
            assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.body);
        })
        .await
    }

    /// The upstream has done it, and the ledger would not have it.
    async fn unrecorded() -> Self {
        Self::by(async |bench, wish, key| {
            bench.world.database.refuse_kind("completed.v1").await;
            let lost = bench.ask(wish, key, &[]).await;
            assert_eq!(code(&lost), UNAVAILABLE, "{}", lost.body);
            bench.world.database.accept_events().await;
        })
        .await
    }

    async fn by(trouble: impl AsyncFnOnce(&mut Bench, &Wish, &str)) -> Self {
        let mut bench = Bench::start().await;
        let (wish, key) = (bench.stock.wish_for(VERB).await, key());
        trouble(&mut bench, &wish, &key).await;
        bench.service.kill();
        let replica = Replica::start(&bench.world);
        while read_on(replica.pools.jobs()).await.unwrap() != 0 {}
        assert_eq!(bench.world.database.count("open_action").await, 1);
        age(&bench.world, 1.0).await;
        Self { bench, replica, wish, key }
    }

    /// With a circuit that has seen no failure yet.
    fn completer(&self) -> Completer {
        jobs::completer(&self.replica.pools, &self.replica.renewed(&self.bench.world))
    }

    async fn kinds(&self) -> Vec<String> {
        self.bench.kinds(&self.key).await
    }

    async fn calls(&self) -> usize {
        self.bench.upstream(&self.wish, "calls").await.len()
    }

    /// In the end it is found out, and was done once.
    async fn is_found_out(&self, kinds: &[&str]) {
        let mut superuser = self.bench.world.database.superuser().await;
        let over = "update idempotency set lease_until = now() - interval '1 second'";
        sqlx::raw_sql(over).execute(&mut superuser).await.unwrap();
        age(&self.bench.world, 1.0).await;
        assert_eq!(self.completer().run_once().await.unwrap(), 1);
        assert_eq!(self.kinds().await, kinds);
        assert_eq!(claims(&self.bench.world, &self.key).await, ["completed"]);
        assert_eq!(self.bench.upstream(&self.wish, "effects").await.len(), 1);
        while read_on(self.replica.pools.jobs()).await.unwrap() != 0 {}
        assert_eq!(self.bench.world.database.count("open_action").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_takes_nothing_from_a_request_that_is_at_work() {
    let left = Left::unrecorded().await;
    let asked = left.calls().await;

    assert_eq!(left.completer().try_due().await.unwrap(), 1);

    assert_eq!((left.kinds().await, left.calls().await), (vec!["requested".to_owned()], asked));
    assert_eq!(claims(&left.bench.world, &left.key).await, ["in_progress"]);
    left.is_found_out(&["requested", "completed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_leaves_a_claim_to_the_client_that_comes_back_for_it() {
    let left = Left::unanswered().await;
    let asked = left.calls().await;
    let completer = left.completer();
    let mut client = left.bench.world.database.superuser().await;
    let mut taking = client.begin().await.unwrap();
    let take = "update idempotency set attempt = attempt + 1, owner = repeat('Z', 26), \
                lease_until = now() + interval '30 seconds' where key = $1";
    sqlx::query(take).bind(&left.key).execute(&mut *taking).await.unwrap();

    let (tried, ()) = tokio::join!(completer.try_due(), async {
        // It has found the claim free, and wants it.
        left.bench.world.database.until_waiting(Role::App, 1).await;
        taking.commit().await.unwrap();
    });

    assert_eq!(tried.unwrap(), 1);
    assert_eq!(left.kinds().await, ["requested", "outcome_unknown"]);
    assert_eq!(left.calls().await, asked);
    left.is_found_out(&["requested", "outcome_unknown", "resolved"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_claim_meanwhile_records_nothing() {
    let left = Left::unanswered().await;
    let asked = left.calls().await;
    // Whoever takes the claim over loses it to somebody else at once.
    let overtake = "create function overtake() returns trigger language plpgsql \
                    as 'begin new.owner := repeat(''Z'', 26); return new; end'; \
                    create trigger overtake before update on idempotency for each row \
                    when (old.attempt < new.attempt) execute function overtake()";
    let mut superuser = left.bench.world.database.superuser().await;
    sqlx::raw_sql(overtake).execute(&mut superuser).await.unwrap();

    assert_eq!(left.completer().try_due().await.unwrap(), 1);

    assert_eq!(left.calls().await, asked + 1);
    assert_eq!(left.kinds().await, ["requested", "outcome_unknown"]);
    assert_eq!(claims(&left.bench.world, &left.key).await, ["unknown"]);
    let mend = "drop trigger overtake on idempotency";
    sqlx::raw_sql(mend).execute(&mut superuser).await.unwrap();
    left.is_found_out(&["requested", "outcome_unknown", "resolved"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_record_what_it_found_fails_and_finds_it_again() {
    let left = Left::unanswered().await;
    left.bench.world.database.refuse_events("activity").await;

    let failed = left.completer().try_due().await;

    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(left.kinds().await, ["requested", "outcome_unknown"]);
    left.bench.world.database.accept_events().await;
    left.is_found_out(&["requested", "outcome_unknown", "resolved"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_leaves_alone_what_ended_since_it_read_the_ledger() {
    let left = Left::unanswered().await;
    left.is_found_out(&["requested", "outcome_unknown", "resolved"]).await;
    // The row as it was before the worker read on.
    let back = "insert into open_action (tenant_id, stream, ledger, state, requested_at, \
                next_try_at) select tenant_id, stream, ledger, 'unknown', now(), now() from event \
                where kind like '%mutation.resolved.v1'";
    let mut superuser = left.bench.world.database.superuser().await;
    let inserted = sqlx::raw_sql(back).execute(&mut superuser).await.unwrap();
    assert_eq!(inserted.rows_affected(), 1);
    let asked = left.calls().await;

    assert_eq!(left.completer().try_due().await.unwrap(), 1);

    assert_eq!(left.kinds().await, ["requested", "outcome_unknown", "resolved"]);
    assert_eq!(left.calls().await, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_says_what_is_wrong_with_a_row_that_cannot_be() {
    let left = Left::unanswered().await;
    let mut superuser = left.bench.world.database.superuser().await;
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut superuser).await.unwrap();
    for (spoil, said) in [
        (
            "update event set metadata = convert_to(\
                (convert_from(metadata, 'utf8')::jsonb - 'idempotencyKey')::text, 'utf8') \
                where kind like '%mutation.requested.v1'",
            "was requested under no key",
        ),
        (
            "alter table open_action drop constraint open_action_ledger_check; \
             update open_action set ledger = 'cash'",
            "is in no ledger: cash",
        ),
    ] {
        sqlx::raw_sql(spoil).execute(&mut superuser).await.unwrap();
        age(&left.bench.world, 1.0).await;

        let failed = left.completer().try_due().await.unwrap_err();

        assert!(failed.to_string().contains(said), "{failed}");
    }
}
