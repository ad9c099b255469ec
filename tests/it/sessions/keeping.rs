//! What no request tells: sessions that go idle, expire or are replaced; and the store's own ways.

use std::{sync::Arc, time::Duration};

use backoffice::{
    access::session::Session,
    clock::{Clock, SharedClock},
    commands::{
        Resources, close_session::Places, force_log_out, idempotency::turn::Turns, keep_sessions,
        open_session,
    },
    inbox::revocation::{Revocation, RevokedSubject},
    projector::table,
    secrets::Secrets,
    upstream::{self, Upstream, id_token},
};
use chrono::TimeDelta;
use projections::SessionMap;
use serde_json::json;

use crate::{
    access_keys::with,
    access_world::{Setup, World, known, opening},
    support::{database::TestDatabase, ledger::TestLedger, redis::RedisServer, service::secrets},
};

/// A gate, a ledger and a session tier of a test's own.
struct House {
    world: World,
    resources: Resources,
    database: TestDatabase,
    redis: RedisServer,
    _ledger: TestLedger,
}

impl House {
    async fn start() -> Self {
        let (database, redis) = (TestDatabase::create().await, RedisServer::start().await);
        let world = World::with(Setup { redis_url: redis.url(), ..Setup::default() });
        let ledger = TestLedger::start(database.pools());
        let resources = Resources {
            ledger: ledger.ledger.clone(),
            upstream: Upstream::new(&upstream::Settings::new(id_token::Settings::Static(
                "development".into(),
            )))
            .unwrap(),
            secrets: Arc::new(Secrets::read(secrets().path()).unwrap()),
            clock: Arc::clone(&world.clock) as SharedClock,
            instance: "test".into(),
            turns: Turns::default(),
        };
        Self { world, resources, database, redis, _ledger: ledger }
    }

    /// A device with iam's session `sid` asks for the first time.
    async fn open(&self, sid: &str) -> Session {
        let world = &self.world;
        let token = world.token_of(&with(world.token_claims(), "sid", json!(sid)));
        let pending = opening(world.enter(&token, &world.proof(&token)).await);
        let sessions = world.gate.sessions();
        let caller =
            open_session::run(&self.resources, sessions, pending, "request").await.unwrap();
        sessions.get(&caller.tenant_id, &caller.device_id).await.unwrap().unwrap()
    }

    async fn step(&self) -> usize {
        keep_sessions::step(&self.resources, self.world.gate.sessions()).await.unwrap()
    }

    /// What the projector does.
    async fn map_sessions(&self) {
        let pools = self.database.pools();
        table::rebuild::<SessionMap>(pools.project(), |_, _| ()).await.unwrap();
    }

    async fn ledger(&self) -> Vec<(String, Option<String>)> {
        let query = "select substr(kind, 35), convert_from(body, 'UTF8')::json ->> 'reason' \
            from event where ledger = 'session' order by position";
        let mut connection = self.database.superuser().await;
        sqlx::query_as(query).fetch_all(&mut connection).await.unwrap()
    }
}

#[tokio::test]
async fn a_session_goes_idle_when_its_token_ends_and_expires_when_it_is_gone() {
    let house = House::start().await;
    let clock = &house.world.clock;
    let session = house.open("ses_1").await;
    let opened = ("opened.v1".to_owned(), None);
    let idled = ("idled.v1".to_owned(), None);

    assert_eq!(house.step().await, 0, "its token is good");
    clock.advance(TimeDelta::seconds(890 + 30));
    assert_eq!(house.step().await, 1);
    assert_eq!(house.ledger().await, [opened.clone(), idled.clone()]);
    assert_eq!(house.step().await, 0, "it is idle once");

    clock.advance(TimeDelta::hours(12) + TimeDelta::seconds(2));
    assert_eq!(house.step().await, 1);
    assert_eq!(house.ledger().await.len(), 2, "it is there still: idle as before");

    let key = format!("{{{}}}:session:by-device:{}", session.tenant_id, session.device_id);
    house.redis.command(&["DEL", &key]).await;
    clock.advance(TimeDelta::hours(12) + TimeDelta::seconds(2));
    assert_eq!(house.step().await, 1);
    let expired = ("closed.v1".to_owned(), Some("expired".to_owned()));
    assert_eq!(house.ledger().await, [opened, idled, expired]);
    clock.advance(TimeDelta::days(3));
    assert_eq!(house.step().await, 0, "nobody looks for it any more");
}

#[tokio::test]
async fn a_session_that_was_given_another_token_does_not_go_idle() {
    let house = House::start().await;
    let session = house.open("ses_1").await;
    house.world.clock.advance(TimeDelta::seconds(600));
    let token = house.world.token();
    let caller = known(house.world.enter(&token, &house.world.proof(&token)).await);
    let sessions = house.world.gate.sessions();
    sessions.renew(&session.renewed(&caller)).await.unwrap();

    house.world.clock.advance(TimeDelta::seconds(500));

    assert_eq!(house.step().await, 0);
    assert_eq!(house.ledger().await.len(), 1);
}

#[tokio::test]
async fn what_a_crashed_instance_had_taken_to_look_after_is_looked_after_by_another() {
    let house = House::start().await;
    house.open("ses_1").await;
    house.world.clock.advance(TimeDelta::seconds(890 + 30));
    let sessions = house.world.gate.sessions();

    let taken = sessions.take_due(house.world.clock.now(), 10).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(house.step().await, 0, "it is in somebody's hands");
    house.world.clock.advance(TimeDelta::seconds(31));

    assert_eq!(house.step().await, 1);
    assert_eq!(house.ledger().await.len(), 2);
}

#[tokio::test]
async fn a_device_has_one_session_and_a_new_one_ends_the_one_before() {
    let house = House::start().await;
    let first = house.open("ses_1").await;
    let second = house.open("ses_2").await;

    assert_ne!(first.session_id, second.session_id);
    let replaced = ("closed.v1".to_owned(), Some("replaced".to_owned()));
    let opened = || ("opened.v1".to_owned(), None);
    assert_eq!(house.ledger().await, [opened(), replaced, opened()]);
    // Nothing of the first one can be put in the place of the second.
    let sessions = house.world.gate.sessions();
    let renewed = sessions.renew(&first).await.unwrap();
    assert_eq!(renewed, backoffice::access::session::Kept::Gone);
    assert!(!sessions.remove(&first).await.unwrap());
    let found = sessions.of_sid(&first.tenant_id, "ses_2").await.unwrap();
    assert_eq!(found.unwrap().session_id, second.session_id);
    assert_eq!(sessions.of_sid(&first.tenant_id, "ses_1").await.unwrap(), None);
    assert_eq!(sessions.of_tenant(&first.tenant_id).await.unwrap(), [second]);
}

#[tokio::test]
async fn what_stands_beside_a_session_ends_after_it() {
    let house = House::start().await;
    let session = house.open("ses_1").await;
    let left = async |name: &str| {
        let key = format!("{{{}}}:session:{name}", session.tenant_id);
        let left_ms = house.redis.command(&["PTTL", &key]).await;
        Duration::from_millis(redis::from_redis_value::<u64>(left_ms).unwrap())
    };

    let own = left("by-device:dev_1").await;

    assert!(own <= Duration::from_hours(12), "{own:?}");
    assert!(own < left("by-sid:ses_1").await);
    assert!(own < left("devices").await);
}

#[tokio::test]
async fn a_session_that_the_tier_has_lost_ends_in_the_ledger_all_the_same() {
    let house = House::start().await;
    house.open("ses_1").await;
    house.map_sessions().await;
    let sessions = house.world.gate.sessions();
    let look = async || keep_sessions::take_up_lost(&house.resources, sessions).await.unwrap();
    house.redis.command(&["FLUSHALL"]).await;
    assert_eq!((look().await, house.step().await), (0, 0), "it may come back yet");

    house.world.clock.advance(TimeDelta::hours(12) + TimeDelta::seconds(2));
    assert_eq!((look().await, house.step().await), (1, 1));

    let opened = ("opened.v1".to_owned(), None);
    let expired = ("closed.v1".to_owned(), Some("expired".to_owned()));
    assert_eq!(house.ledger().await, [opened, expired]);
    house.map_sessions().await;
    assert_eq!(look().await, 0);
}

#[tokio::test]
async fn one_that_lives_on_without_a_word_in_the_ledger_is_left_alone() {
    let house = House::start().await;
    let session = house.open("ses_1").await;
    house.map_sessions().await;
    let (clock, sessions) = (&house.world.clock, house.world.gate.sessions());
    clock.advance(TimeDelta::hours(13));
    let token = house.world.token();
    let caller = known(house.world.enter(&token, &house.world.proof(&token)).await);
    sessions.renew(&session.renewed(&caller)).await.unwrap();
    house.redis.command(&["DEL", "g:session:due"]).await;

    let lost = keep_sessions::take_up_lost(&house.resources, sessions).await.unwrap();

    assert_eq!((lost, house.step().await), (1, 1));
    assert_eq!(house.ledger().await.len(), 1, "it is looked after again, that is all");
}

#[tokio::test]
async fn a_revocation_ends_what_the_tier_has_lost_and_nothing_that_was_let_in_after_it() {
    let house = House::start().await;
    let first = house.open("ses_1").await;
    house.redis.command(&["FLUSHALL"]).await;
    house.world.clock.advance(TimeDelta::seconds(60));
    let second = house.open("ses_2").await;
    house.map_sessions().await;
    let places = Places {
        sessions: house.world.gate.sessions().clone(),
        session_tier: house.redis.connect().await,
    };
    let revocation = Revocation {
        tenant_id: first.tenant_id.clone(),
        subject: RevokedSubject::Operator(first.operator_id.clone()),
        reason: "user_locked".to_owned(),
        at: first.opened_at + TimeDelta::seconds(1),
        event_id: "e1".to_owned(),
    };

    for _ in 0..2 {
        force_log_out::run(&house.resources, &places, &revocation).await.unwrap();
    }

    let opened = || ("opened.v1".to_owned(), None);
    let ended = ("force_logged_out.v1".to_owned(), Some("user_locked".to_owned()));
    assert_eq!(house.ledger().await, [opened(), opened(), ended]);
    let living = places.sessions.get(&second.tenant_id, &second.device_id).await.unwrap();
    assert_eq!(living, Some(second));
}
