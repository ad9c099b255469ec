//! An attestation and the action that takes it along, over a real ledger with real claims.

use std::sync::Arc;

use backoffice::{
    access::Caller,
    aggregates::mfa_attestation::Purpose,
    clock::{Clock, SharedClock},
    commands::{
        Actor, CommandError, Resources,
        consume_attestation::{self, AttestationError, Demand},
        idempotency::{KeyedRequest, Known, turn::Turns},
    },
    ledger::{Append, AppendError, StoredResponse, StreamWrite},
    secrets::Secrets,
    upstream::{self, Upstream},
};
use chrono::TimeDelta;
use events::{
    AttestationId, StreamId, TenantId,
    ledger::mfa_attestation::{MfaAttestationEvent, StepUpFactor, StepUpScope},
};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use ulid::Ulid;

use crate::{
    access_keys::with,
    access_world::{World as Gate, opening},
    support::{
        database::TestDatabase,
        ledger::{self, TestLedger, acknowledged, response, stream},
        service::secrets,
    },
};

const RESOURCE: &str = "lck_1";

/// One instance over a database of its own, with callers of several tenants and devices.
struct Bench {
    database: TestDatabase,
    _secrets: tempfile::TempDir,
    resources: Resources,
    gate: Gate,
    clock: Arc<backoffice::clock::TestClock>,
}

/// What became of an action.
#[derive(Debug, PartialEq)]
enum Done {
    /// It ran, now; its answer.
    Now(Vec<u8>),
    /// The answer of an earlier run.
    Replayed(Vec<u8>),
    /// It stopped after its first append, as by `kill -9`.
    Crashed,
}

impl Bench {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let gate = Gate::new();
        let clock = Arc::clone(&gate.clock);
        let secrets = secrets();
        let settings = upstream::Settings::new(upstream::id_token::Settings::Static("x".into()));
        let resources = Resources {
            ledger: TestLedger::start(database.pools()).ledger,
            upstream: Upstream::new(&settings).unwrap(),
            secrets: Arc::new(Secrets::read(secrets.path()).unwrap()),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            instance: "test".into(),
            turns: Turns::default(),
        };
        Self { database, _secrets: secrets, resources, gate, clock }
    }

    /// A verified caller whose token has these claims otherwise.
    async fn actor(&self, claims: &[(&str, Value)]) -> Actor {
        let mut token = self.gate.token_claims();
        for (name, value) in claims {
            token = with(token, name, value.clone());
        }
        let device_id = token["device_id"].as_str().unwrap().to_owned();
        let token = self.gate.token_of(&token);
        let mut headers = Gate::headers(&token, &self.gate.proof(&token));
        headers.insert("x-device-id", device_id.parse().unwrap());
        let pending = opening(self.gate.send(&headers).await);
        actor(pending.clone().into_caller(&self.gate.open(&pending).await))
    }

    fn clock(&self) -> &SharedClock {
        &self.resources.clock
    }

    /// What iam-service has confirmed for an operator.
    async fn attest(&self, actor: &Actor, resource: Option<&str>) -> AttestationId {
        let id = AttestationId::new(Ulid::generate());
        self.attest_as(actor, &id, resource).await;
        id
    }

    async fn attest_as(&self, actor: &Actor, id: &AttestationId, resource: Option<&str>) {
        let now = self.clock().now();
        let event = MfaAttestationEvent::SteppedUp {
            attestation_id: id.clone(),
            operator_id: actor.caller.operator_id.clone(),
            device_id: actor.caller.device_id.clone(),
            key_thumbprint: actor.caller.jkt.clone(),
            scope: StepUpScope::LockRevoke,
            resource: resource.map(str::to_owned),
            factor: StepUpFactor::Totp,
            stepped_up_at: now,
            expires_at: now + TimeDelta::minutes(5),
            iam_attestation_id: None,
        };
        let write = ledger::write(&StreamId::attestation(id), 0, &[event]);
        let append = ledger::append(&actor.caller.tenant_id, vec![write]);
        self.resources.ledger.append(append).await.unwrap();
    }

    /// An action as commands do it: the key first, then the attestation, then one append with
    /// claim, consumption and first event; then the effect; then the answer.
    async fn act(
        &self,
        actor: &Actor,
        wish: &Wish<'_>,
        crash: bool,
    ) -> Result<Done, AttestationError> {
        let body = json!({ "resource": wish.purpose.resource });
        let keyed = KeyedRequest::new(&self.resources, actor, wish.key, "POST /test", &body);
        for _ in 0..3 {
            let resumed = match keyed.known(&self.resources).await? {
                Some(Known::Answered(answer)) => return Ok(Done::Replayed(answer.body)),
                Some(Known::Resumed(keyed)) => Some(keyed),
                None => None,
            };
            let demand =
                Demand { presented: wish.presented, purpose: wish.purpose.clone(), key: wish.key };
            let ledger = &self.resources.ledger;
            let attested = consume_attestation::check(ledger, self.clock(), actor, &demand).await?;
            let keyed = if let Some(resumed) = resumed {
                assert!(attested.writes().is_empty(), "consumed in the first append");
                resumed
            } else {
                match self.begin(actor, &keyed, attested.writes()).await {
                    Ok(()) => keyed.clone(),
                    Err(AppendError::Conflict { .. } | AppendError::ClaimRefused) => continue,
                    Err(error) => return Err(CommandError::from(error).into()),
                }
            };
            if crash {
                return Ok(Done::Crashed);
            }
            let answer = self.finish(actor, &keyed).await;
            return Ok(Done::Now(answer.body));
        }
        Err(CommandError::Busy.into())
    }

    /// Claim, consumption and the action's first event, in one append.
    async fn begin(
        &self,
        actor: &Actor,
        keyed: &KeyedRequest,
        mut writes: Vec<StreamWrite>,
    ) -> Result<(), AppendError> {
        let alert = format!("requested-{}", keyed.key.key);
        writes.push(ledger::write(&stream(&alert), 0, &[acknowledged(&alert, None)]));
        let append = Append {
            tenant_id: actor.caller.tenant_id.clone(),
            writes,
            claim: Some(keyed.start(actor)),
            metadata: actor.metadata("test", None, Some(keyed.key.key)),
        };
        self.resources.ledger.append(append).await.map(|_| ())
    }

    /// The effect, which the test counts by its event, and the answer.
    async fn finish(&self, actor: &Actor, keyed: &KeyedRequest) -> StoredResponse {
        let alert = format!("effect-{}", keyed.key.key);
        let answer = response(&alert);
        let append = Append {
            tenant_id: actor.caller.tenant_id.clone(),
            writes: vec![ledger::write(&stream(&alert), 0, &[acknowledged(&alert, None)])],
            claim: Some(keyed.complete(answer.clone())),
            metadata: actor.metadata("test", None, Some(keyed.key.key)),
        };
        self.resources.ledger.append(append).await.unwrap();
        answer
    }

    async fn effects(&self) -> i64 {
        let mut connection = self.database.superuser().await;
        let query = "select count(*) from event where stream like 'ali:effect-%'";
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }

    /// Lets the lease of every claim in progress run out.
    async fn expire_leases(&self) {
        let mut connection = self.database.superuser().await;
        let query = "update idempotency set lease_until = clock_timestamp() - interval '1 s'";
        sqlx::query(query).execute(&mut connection).await.unwrap();
    }
}

/// An action of the given key, purpose and attestation.
struct Wish<'a> {
    key: Ulid,
    presented: Option<&'a str>,
    purpose: Purpose,
}

fn wish(key: Ulid, presented: &str) -> Wish<'_> {
    let purpose = Purpose { scope: StepUpScope::LockRevoke, resource: Some(RESOURCE.to_owned()) };
    Wish { key, presented: Some(presented), purpose }
}

fn actor(caller: Caller) -> Actor {
    Actor {
        caller,
        request_id: Ulid::generate().to_string(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
    }
}

/// The name of a refusal.
fn refusal(done: Result<Done, AttestationError>) -> &'static str {
    match done {
        Err(AttestationError::Required) => "MFA_REQUIRED",
        Err(AttestationError::Invalid) => "MFA_INVALID",
        Err(AttestationError::Expired) => "MFA_EXPIRED",
        Err(AttestationError::Used) => "MFA_USED",
        Err(AttestationError::ScopeMismatch) => "MFA_SCOPE_MISMATCH",
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn id_43_a_repeated_action_is_answered_again_although_its_attestation_is_consumed() {
    let bench = Bench::start().await;
    let actor = bench.actor(&[]).await;
    let id = bench.attest(&actor, Some(RESOURCE)).await.to_string();
    let wish = wish(Ulid::generate(), &id);

    let Ok(Done::Now(first)) = bench.act(&actor, &wish, false).await else {
        panic!("the action is allowed")
    };
    // The answer was lost; much later the same request comes again.
    bench.clock.advance(TimeDelta::minutes(10));
    let again = bench.act(&actor, &wish, false).await;

    assert_eq!(again.unwrap(), Done::Replayed(first));
    assert_eq!(bench.effects().await, 1);
}

#[tokio::test]
async fn id_44_another_key_cannot_use_a_consumed_attestation() {
    let bench = Bench::start().await;
    let actor = bench.actor(&[]).await;
    let id = bench.attest(&actor, Some(RESOURCE)).await.to_string();
    bench.act(&actor, &wish(Ulid::generate(), &id), false).await.unwrap();

    let other = bench.act(&actor, &wish(Ulid::generate(), &id), false).await;

    assert_eq!(refusal(other), "MFA_USED");
    assert_eq!(bench.effects().await, 1);
}

#[tokio::test]
async fn id_45_after_a_crash_the_same_key_goes_on_and_no_other_does() {
    let bench = Bench::start().await;
    let actor = bench.actor(&[]).await;
    let id = bench.attest(&actor, Some(RESOURCE)).await.to_string();
    let key = Ulid::generate();
    assert_eq!(bench.act(&actor, &wish(key, &id), true).await.unwrap(), Done::Crashed);
    assert_eq!(bench.effects().await, 0);

    // The lease has not run out: whoever crashed could still be at work.
    let early = bench.act(&actor, &wish(key, &id), false).await;
    assert!(matches!(early, Err(AttestationError::Command(CommandError::InProgress))), "{early:?}");
    bench.expire_leases().await;
    bench.clock.advance(TimeDelta::minutes(6));
    let other = bench.act(&actor, &wish(Ulid::generate(), &id), false).await;
    assert_eq!(refusal(other), "MFA_USED");
    let resumed = bench.act(&actor, &wish(key, &id), false).await;
    assert!(matches!(resumed, Ok(Done::Now(_))), "{resumed:?}");
    assert_eq!(bench.effects().await, 1);
}

#[tokio::test]
async fn id_46_an_attestation_is_bound_to_who_made_it_what_for_and_five_minutes() {
    let bench = Bench::start().await;
    let maker = bench.actor(&[]).await;
    let id = bench.attest(&maker, Some(RESOURCE)).await.to_string();
    let operator = bench.actor(&[("sub", json!("usr_2"))]).await;
    let device = bench.actor(&[("device_id", json!("dev_2"))]).await;
    let mut key = maker.clone();
    "another thumbprint".clone_into(&mut key.caller.jkt);
    let tenant = in_another_tenant(&maker);
    let good = wish(Ulid::generate(), &id);
    let other = |scope, resource: Option<&str>| Wish {
        purpose: Purpose { scope, resource: resource.map(str::to_owned) },
        ..wish(Ulid::generate(), &id)
    };
    let never_issued = AttestationId::new(Ulid::generate()).to_string();

    for (case, actor, wish, expected) in [
        ("operator", &operator, &good, "MFA_INVALID"),
        ("device", &device, &good, "MFA_INVALID"),
        ("jkt", &key, &good, "MFA_INVALID"),
        ("tenant", &tenant, &good, "MFA_INVALID"),
        ("action", &maker, &other(StepUpScope::FolioRefund, Some(RESOURCE)), "MFA_SCOPE_MISMATCH"),
        ("resource", &maker, &other(StepUpScope::LockRevoke, Some("lck_2")), "MFA_SCOPE_MISMATCH"),
        ("never issued", &maker, &wish(Ulid::generate(), &never_issued), "MFA_INVALID"),
        ("no id", &maker, &wish(Ulid::generate(), "mfa_x"), "MFA_INVALID"),
        ("none", &maker, &Wish { presented: None, ..wish(Ulid::generate(), "") }, "MFA_REQUIRED"),
    ] {
        assert_eq!(refusal(bench.act(actor, wish, false).await), expected, "id_46 {case}");
    }
    bench.clock.advance(TimeDelta::seconds(-60));
    assert_eq!(refusal(bench.act(&maker, &good, false).await), "MFA_INVALID", "id_46 future");
    bench.clock.advance(TimeDelta::seconds(60 + 301));
    assert_eq!(refusal(bench.act(&maker, &good, false).await), "MFA_EXPIRED", "id_46 301 s");
    assert_eq!(bench.effects().await, 0);
    bench.clock.advance(TimeDelta::seconds(-2));
    bench.act(&maker, &good, false).await.expect("id_46 299 s");
    assert_eq!(bench.effects().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_47_of_two_actions_at_once_with_one_attestation_one_has_an_effect() {
    let bench = Arc::new(Bench::start().await);
    let actor = bench.actor(&[]).await;
    for round in 1..=10 {
        let id = bench.attest(&actor, Some(RESOURCE)).await.to_string();
        let start = Arc::new(Barrier::new(2));
        let act = || {
            let (bench, actor, id) = (Arc::clone(&bench), actor.clone(), id.clone());
            let start = Arc::clone(&start);
            async move {
                start.wait().await;
                bench.act(&actor, &wish(Ulid::generate(), &id), false).await
            }
        };
        let (one, other) = tokio::join!(act(), act());
        let (done, refused): (Vec<_>, Vec<_>) = [one, other].into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1, "round {round}");
        for refused in refused {
            assert_eq!(refusal(refused), "MFA_USED", "round {round}");
        }
        assert_eq!(bench.effects().await, round);
    }
}

#[tokio::test]
async fn the_consumption_stands_or_falls_with_the_action() {
    let bench = Bench::start().await;
    let actor = bench.actor(&[]).await;
    let id = bench.attest(&actor, None).await;
    let key = Ulid::generate();
    // Another command has the action's own stream already: the whole append is a conflict.
    let alert = format!("requested-{key}");
    let taken = ledger::acknowledgment(&actor.caller.tenant_id, &alert);
    bench.resources.ledger.append(taken).await.unwrap();

    let refused = bench.act(&actor, &wish(key, id.as_str()), false).await;

    assert!(matches!(refused, Err(AttestationError::Command(CommandError::Busy))), "{refused:?}");
    let events = bench
        .resources
        .ledger
        .read_stream::<MfaAttestationEvent>(&actor.caller.tenant_id, &StreamId::attestation(&id))
        .await
        .unwrap();
    assert_eq!(events.len(), 1, "nothing is consumed");
    bench.act(&actor, &wish(Ulid::generate(), id.as_str()), false).await.unwrap();
}

#[tokio::test]
async fn ti_42_an_attestation_of_one_tenant_is_unknown_in_another() {
    let bench = Bench::start().await;
    let ours = bench.actor(&[]).await;
    let theirs = in_another_tenant(&ours);
    let id = bench.attest(&ours, Some(RESOURCE)).await.to_string();

    let refused = bench.act(&theirs, &wish(Ulid::generate(), &id), false).await;

    assert_eq!(refusal(refused), "MFA_INVALID");
    assert_eq!(bench.effects().await, 0);
    bench.act(&ours, &wish(Ulid::generate(), &id), false).await.expect("it is still unused");
}

#[tokio::test]
async fn ti_33_an_attestation_of_the_same_id_in_two_tenants_is_two() {
    let bench = Bench::start().await;
    let ours = bench.actor(&[]).await;
    let theirs = in_another_tenant(&ours);
    let id = AttestationId::new(Ulid::generate());
    bench.attest_as(&ours, &id, None).await;
    bench.attest_as(&theirs, &id, None).await;
    let key = Ulid::generate();

    for actor in [&ours, &theirs] {
        let done = bench.act(actor, &wish(key, id.as_str()), false).await;
        assert!(matches!(done, Ok(Done::Now(_))), "{done:?}");
        let again = bench.act(actor, &wish(Ulid::generate(), id.as_str()), false).await;
        assert_eq!(refusal(again), "MFA_USED");
    }
}

/// The same operator, device and key in another tenant.
fn in_another_tenant(actor: &Actor) -> Actor {
    let mut actor = actor.clone();
    actor.caller.tenant_id = TenantId::try_from(format!("tnt_{}", Ulid::generate())).unwrap();
    actor
}
