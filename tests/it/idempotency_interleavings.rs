//! Whatever happens to a key in whatever order: at most one effect, and one answer.

use std::{sync::Arc, time::Duration};

use backoffice::{
    access::idempotency_key::{self, KeyError},
    clock::{Clock, SystemClock},
    commands::{CommandError, Resources, report},
    ledger::{Pools, idempotency::purge},
};
use chrono::TimeDelta;
use http::HeaderMap;
use proptest::{
    prelude::{Just, Strategy, any},
    prop_oneof,
    test_runner::{Config, TestRunner},
};
use serde_json::json;
use tokio::runtime::Handle;

use crate::support::{
    alerts::{calls, effects, events_of, fault, heal},
    replica::{Press, Replica, claims, expire_leases},
    service::World,
    wait,
};

const CASES: u32 = 14;
const STEPS_MAX: usize = 9;

/// What may happen to a key.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends the request to one of two instances.
    Send { at: bool },
    /// The same request arrives at both instances at once, so many times.
    Duplicates(usize),
    /// An instance dies so many milliseconds after the request came in.
    Crash { after_ms: u64 },
    /// Upstream does what it is told and its answer is lost.
    LostAnswer,
    /// Upstream does not answer in time.
    Timeout,
    /// The lease of who works on it is over.
    Takeover,
    /// The purge runs.
    Purge,
    /// So many hours pass.
    Wait { hours: i64 },
    /// The worker that tells upstream gets its turn.
    Forward,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|at| Step::Send { at }),
        2 => (2_usize..8).prop_map(Step::Duplicates),
        3 => (0_u64..40).prop_map(|after_ms| Step::Crash { after_ms }),
        2 => Just(Step::LostAnswer),
        1 => Just(Step::Timeout),
        3 => Just(Step::Takeover),
        2 => Just(Step::Purge),
        1 => (1_i64..27).prop_map(|hours| Step::Wait { hours }),
        1 => Just(Step::Forward),
    ]
}

/// One key's life: two instances, and every answer of 2xx that a client was given.
struct Life<'a> {
    world: &'a World,
    press: Press,
    instances: [Resources; 2],
    pools: Pools,
    /// How much later it is than the machine's clock says.
    later: TimeDelta,
    answers: Vec<Vec<u8>>,
}

impl Life<'_> {
    async fn go_through(&mut self, steps: &[Step]) {
        for step in steps {
            self.take(step).await;
            let effects = effects(self.world, self.press.alert_id()).await;
            assert!(effects <= 1, "{effects} effects after {step:?}");
            assert!(self.answers.iter().all(|answer| *answer == self.answers[0]), "{step:?}");
        }
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Send { at } => self.send(usize::from(at)).await,
            Step::Duplicates(number) => self.duplicate(number).await,
            Step::Crash { after_ms } => {
                if self.is_good() {
                    let sent = self.press.send(&self.instances[0]);
                    let limit = Duration::from_millis(after_ms);
                    let survived = tokio::time::timeout(limit, sent).await;
                    if let Ok(Ok(outcome)) = survived {
                        self.answers.push(outcome.response.body);
                    }
                }
            }
            Step::LostAnswer => self.send_during(json!({ "dropAfterEffect": true })).await,
            Step::Timeout => self.send_during(json!({ "hang": true })).await,
            Step::Takeover => expire_leases(self.world).await,
            Step::Purge => {
                let open = self.open_claims().await;
                purge::purge(self.pools.jobs()).await.unwrap();
                assert_eq!(self.open_claims().await, open, "the purge took open work");
                if self.is_good() && !self.answers.is_empty() {
                    let kept = claims(self.world, &self.press.key.to_string()).await;
                    assert_eq!(kept, ["completed"], "the purge took a key that is still good");
                }
            }
            Step::Wait { hours } => self.wait(hours).await,
            Step::Forward => self.forward().await,
        }
    }

    /// Whether the key is one that a service would take now.
    fn is_good(&self) -> bool {
        let mut headers = HeaderMap::new();
        let key = self.press.key.to_string().parse().unwrap();
        headers.insert("x-idempotency-key", key);
        match idempotency_key::parse(&headers, SystemClock.now() + self.later) {
            Ok(_) => true,
            Err(KeyError::Expired) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn send(&mut self, at: usize) {
        if self.is_good() {
            let outcome = self.press.send(&self.instances[at]).await;
            self.note(outcome.map(|outcome| outcome.response.body));
        }
    }

    async fn send_during(&mut self, trouble: serde_json::Value) {
        fault(self.world, trouble).await;
        self.send(0).await;
        heal(self.world).await;
    }

    async fn duplicate(&mut self, number: usize) {
        if self.is_good() {
            let sent = (0..number).map(|number| self.press.send(&self.instances[number % 2]));
            for outcome in futures::future::join_all(sent).await {
                self.note(outcome.map(|outcome| outcome.response.body));
            }
        }
    }

    fn note(&mut self, answer: Result<Vec<u8>, CommandError>) {
        match answer {
            Ok(body) => self.answers.push(body),
            Err(CommandError::InProgress | CommandError::Busy) => (),
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn wait(&mut self, hours: i64) {
        self.later += TimeDelta::hours(hours);
        let age = "update idempotency set created_at = created_at - $1 * interval '1 hour' \
                   where key = $2";
        let mut superuser = self.world.database.superuser().await;
        let aged = sqlx::query(age).bind(hours).bind(self.press.key.to_string());
        aged.execute(&mut superuser).await.unwrap();
    }

    /// As the worker does, whatever is due and whatever is not yet.
    async fn forward(&self) {
        while 0 < report::read_on(self.pools.jobs()).await.unwrap() {}
        let due = "update upstream_report set next_try_at = now()";
        let mut superuser = self.world.database.superuser().await;
        sqlx::raw_sql(due).execute(&mut superuser).await.unwrap();
        report::try_due(&self.instances[1], self.pools.jobs()).await.unwrap();
    }

    async fn open_claims(&self) -> Vec<String> {
        let claims = claims(self.world, &self.press.key.to_string()).await;
        claims.into_iter().filter(|state| state != "completed").collect()
    }

    /// In the end, once nothing is wrong any more.
    async fn end(mut self) {
        let alert_id = self.press.alert_id().to_owned();
        if self.is_good() {
            // A crash may have left an append under way.
            wait::until("the key is answered", async || {
                expire_leases(self.world).await;
                self.send(0).await;
                !self.answers.is_empty()
            })
            .await;
            self.send(1).await;
            assert!(self.answers.iter().all(|answer| *answer == self.answers[0]));
        }
        if !self.answers.is_empty() {
            wait::until("what was answered is done", async || {
                self.forward().await;
                effects(self.world, &alert_id).await == 1
            })
            .await;
        }
        let effects = effects(self.world, &alert_id).await;
        assert!(effects <= 1, "{effects} effects in the end");
        let recorded = events_of(self.world, &alert_id).await;
        let acknowledged = recorded.iter().filter(|kind| *kind == "alert.acknowledged.v1").count();
        assert_eq!(acknowledged, usize::from(!recorded.is_empty()), "{recorded:?}");
        let told = calls(self.world, &alert_id).await;
        let mut keys: Vec<String> =
            told.iter().map(|call| call["headers"]["idempotency-key"].to_string()).collect();
        keys.dedup();
        assert!(keys.len() <= 1, "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_52_no_interleaving_makes_two_effects_or_two_answers_of_one_key() {
    let world = World::start().await;
    let replicas = [Replica::start(&world), Replica::start(&world)];
    let first = Press::new(&world).await;
    let handle = Handle::current();
    let scenes = Arc::new((world, replicas, first));
    let config = Config {
        cases: CASES,
        max_shrink_iters: 8,
        failure_persistence: None,
        ..Config::default()
    };
    let running = Arc::clone(&scenes);
    let outcome = tokio::task::spawn_blocking(move || {
        let steps = proptest::collection::vec(step(), 1..=STEPS_MAX);
        TestRunner::new(config).run(&steps, |steps| {
            let (world, replicas, first) = &*running;
            handle.block_on(async {
                let mut life = Life {
                    world,
                    press: first.another(world).await,
                    // Circuits of their own: one life's troubles are not the next one's.
                    instances: [replicas[0].renewed(world), replicas[1].renewed(world)],
                    pools: replicas[0].pools.clone(),
                    later: TimeDelta::zero(),
                    answers: Vec::new(),
                };
                life.go_through(&steps).await;
                heal(world).await;
                Box::pin(life.end()).await;
            });
            Ok(())
        })
    });
    outcome.await.unwrap().unwrap();
}
