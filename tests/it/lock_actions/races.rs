//! One action, and whoever comes in between: the same request elsewhere, the worker, a ledger that
//! takes nothing.

use backoffice::{
    app::jobs,
    commands::{
        CommandError,
        complete_actions::read_on,
        idempotency::Outcome,
        lock_action::{Done, LockActionError},
    },
    database::Role,
};
use sqlx::Connection;

use super::{completion::Bench, *};
use crate::support::{
    locks::{age, says},
    replica::Replica,
};

type Answered = Result<Outcome, LockActionError>;

fn is_in_progress(answer: &Answered) -> bool {
    matches!(answer, Err(LockActionError::Command(CommandError::InProgress)))
}

/// Nothing was recorded, and why is for the log.
fn is_unavailable(answer: &Answered) -> bool {
    matches!(answer, Err(LockActionError::Command(CommandError::Unavailable(_))))
}

impl Bench {
    /// Reads the ledger on, lets the action have been requested so long ago, and has another
    /// instance look after it.
    async fn look_after(&self, minutes: f64, before: impl AsyncFnOnce()) {
        let other = Replica::start(&self.world);
        let jobs = other.pools.jobs();
        while read_on(jobs).await.unwrap() != 0 {}
        before().await;
        age(&self.world, minutes).await;
        let completer = jobs::completer(&other.pools, &other.resources);
        assert_eq!(completer.try_due().await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_that_begin_with_one_key_at_once_one_does_it() {
    let bench = Bench::start().await;
    let other = Replica::start(&bench.world);
    let mut holder = bench.world.database.superuser().await;
    let mut held = holder.begin().await.unwrap();
    // Both find no claim, and neither can make one.
    let lock = "lock table idempotency in exclusive mode";
    sqlx::raw_sql(lock).execute(&mut *held).await.unwrap();

    let (one, two, ()) =
        tokio::join!(Box::pin(bench.issue()), Box::pin(bench.issue_at(&other.resources)), async {
            bench.world.database.until_waiting(Role::Append, 2).await;
            held.rollback().await.unwrap();
        });

    let (done, late) = if one.is_ok() { (one, two) } else { (two, one) };
    let done = done.unwrap();
    assert_eq!(done.response.status, 200);
    match late {
        Ok(repeated) => assert_eq!(repeated.response, done.response),
        late => assert!(is_in_progress(&late), "{late:?}"),
    }
    assert_eq!(effects(&bench.world).await.len(), 1);
    assert_eq!(bench.kinds().await, ["requested.v1", "completed.v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_not_done_again_under_a_key_whose_claim_is_gone() {
    let bench = Bench::start().await;
    assert_eq!(bench.issue().await.unwrap().response.status, 200);
    let mut superuser = bench.world.database.superuser().await;
    sqlx::raw_sql("delete from idempotency").execute(&mut superuser).await.unwrap();

    let again = bench.issue().await;

    let is_busy = matches!(again, Err(LockActionError::Command(CommandError::Busy)));
    assert!(is_busy, "{again:?}");
    assert_eq!(calls(&bench.world).await.len(), 1);
    assert_eq!(bench.kinds().await, ["requested.v1", "completed.v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_recorded_is_found_out_by_the_same_key() {
    let bench = Bench::start().await;
    bench.world.database.refuse_kind("completed.v1").await;

    let lost = bench.issue().await;

    assert!(is_unavailable(&lost), "{lost:?}");
    assert_eq!(bench.kinds().await, ["requested.v1"]);
    bench.world.database.accept_events().await;
    let early = bench.issue().await;
    assert!(is_in_progress(&early), "{early:?}");
    expire_leases(&bench.world).await;
    let found = bench.issue().await.unwrap();
    assert_eq!(found.response.status, 200);
    assert_eq!(effects(&bench.world).await.len(), 1);
    assert_eq!(bench.kinds().await, ["requested.v1", "completed.v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_worker_found_out_meanwhile_is_the_answer() {
    let bench = Bench::start().await;
    let held = bench.world.database.hold_claims().await;

    let (answer, ()) = tokio::join!(Box::pin(bench.issue()), async {
        // It was answered by now, and is about to record that.
        bench.world.database.until_waiting(Role::Append, 1).await;
        let said = async || says(&bench.world, bench.tenant_id(), ("issued", "key_7")).await;
        bench.look_after(0.1, said).await;
        held.close().await.unwrap();
    });

    let answer = answer.unwrap();
    let done: Done = serde_json::from_slice(&answer.response.body).unwrap();
    assert_eq!((answer.response.status, done.key_credential_id.as_str()), (200, "key_7"));
    assert_eq!(bench.resolution().await["foundBy"], "event");
    assert_eq!(bench.kinds().await, ["requested.v1", "resolved.v1"]);
    let again = bench.issue().await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.response, answer.response);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_turned_away_after_the_worker_lost_sight_of_it_stays_unknown() {
    let bench = Bench::start().await;
    fault(&bench.world, json!({ "status": 429, "mutationsOnly": true })).await;
    let held = bench.world.database.hold_claims().await;

    let (answer, ()) = tokio::join!(Box::pin(bench.issue()), async {
        bench.world.database.until_waiting(Role::Append, 1).await;
        // Too late to ask again, too early to be sure.
        bench.look_after(2.1, async || ()).await;
        held.close().await.unwrap();
    });

    let is_unknown = matches!(
        answer,
        Err(LockActionError::Upstream(backoffice::upstream::UpstreamError::OutcomeUnknown { .. }))
    );
    assert!(is_unknown, "{answer:?}");
    assert_eq!(bench.kinds().await, ["requested.v1", "outcome_unknown.v1"]);
    heal(&bench.world).await;
    assert_eq!(bench.issue().await.unwrap().response.status, 200);
    let expected = ["requested.v1", "outcome_unknown.v1", "resolved.v1"];
    assert_eq!(bench.kinds().await, expected);
    assert_eq!(effects(&bench.world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_turned_away_is_not_asked_for_again_while_that_cannot_be_recorded() {
    let bench = Bench::start().await;
    fault(&bench.world, json!({ "status": 429, "mutationsOnly": true })).await;
    let turned_away = bench.issue().await;
    assert!(matches!(turned_away, Err(LockActionError::Upstream(_))), "{turned_away:?}");
    heal(&bench.world).await;
    bench.world.database.refuse_events("lock-audit").await;

    let refused = bench.issue().await;

    assert!(is_unavailable(&refused), "{refused:?}");
    assert_eq!(calls(&bench.world).await.len(), 1);
    bench.world.database.accept_events().await;
    // Whoever tried has it for thirty seconds.
    let again = "update idempotency set lease_until = now() - interval '1 second'";
    let mut superuser = bench.world.database.superuser().await;
    sqlx::raw_sql(again).execute(&mut superuser).await.unwrap();
    assert_eq!(bench.issue().await.unwrap().response.status, 200);
    assert_eq!(effects(&bench.world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_since_the_ledger_was_read_is_left_alone() {
    let bench = Bench::start().await;
    bench.lose(json!({ "dropAfterEffect": true, "mutationsOnly": true })).await;
    heal(&bench.world).await;
    assert_eq!(bench.issue().await.unwrap().response.status, 200);
    let (kinds, asked) = (bench.kinds().await, calls(&bench.world).await.len());
    age(&bench.world, 1.0).await;

    assert_eq!(bench.completer().try_due().await.unwrap(), 1);

    assert_eq!(bench.kinds().await, kinds);
    assert_eq!(calls(&bench.world).await.len(), asked);
    assert_eq!(bench.completer().run_once().await.unwrap(), 0);
    assert_eq!(open(&bench.world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_record_what_it_found_fails_and_finds_it_again() {
    let bench = Bench::start().await;
    bench.lose(json!({ "dropAfterEffect": true, "mutationsOnly": true })).await;
    heal(&bench.world).await;
    bench.world.database.refuse_events("lock-audit").await;
    bench.age(1.0).await;

    let failed = bench.completer().try_due().await;

    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(open(&bench.world).await, 1);
    bench.world.database.accept_events().await;
    bench.age(1.0).await;
    assert_eq!(bench.completer().run_once().await.unwrap(), 1);
    assert_eq!(bench.resolution().await["foundBy"], "repeated");
    assert_eq!(effects(&bench.world).await.len(), 1);
}
