//! Views that are tables: folded live, beside what requests write, and folded anew.

use backoffice::{
    access::session::Due,
    commands::mapped_sessions,
    inbox::{
        envelope::Incoming,
        revocation::{Revocation, RevokedSubject},
        store,
    },
    projector::{Advance, Lane, Settings, Stores, table},
};
use chrono::{DateTime, TimeDelta, Utc};
use events::{
    DeviceId, Metadata, SessionId, StreamId, TenantId,
    ledger::{
        device_sync::DeviceSyncEvent,
        operator_session::{ClosingReason, OperatorSessionEvent},
    },
    upstream::UpstreamEvent,
};
use projections::{DeviceSyncStatus, Log, SessionMap};
use serde_json::{Value, json};
use sqlx::Row;
use ulid::Ulid;

use crate::support::{
    database::TestDatabase,
    facts::tenant,
    ledger::{TestLedger, append, at, operator, write},
    redis::RedisServer,
};

#[tokio::test]
async fn what_was_recorded_of_a_device_comes_back_and_names_where_it_is_used() {
    let (house, tenant) = (House::start().await, tenant());
    house.open(&tenant, "bos_01HZX3V7Q8M4N5P6R7S8T9W0XY", "dev_1").await;
    house.heartbeat(&tenant, "dev_1", (3, at())).await;
    house.heartbeat(&tenant, "dev_1", (1, at() + TimeDelta::minutes(1))).await;
    let mut told = Vec::new();

    let pools = house.database.pools();
    let rows = table::rebuild::<DeviceSyncStatus>(pools.project(), |done, total| {
        told.push((done, total));
    })
    .await;

    assert_eq!(rows.unwrap(), 3);
    assert_eq!((told.first(), told.last()), (Some(&(0, 3)), Some(&(3, 3))));
    let devices = house.devices(&tenant).await;
    assert_eq!(devices, [("dev_1".to_owned(), 1, vec!["prp_1".to_owned()])]);
}

#[tokio::test]
async fn a_rebuild_makes_no_device_older_than_it_is_and_takes_none_away() {
    let (house, tenant) = (House::start().await, tenant());
    house.heartbeat(&tenant, "dev_1", (3, at())).await;
    house.fold_all().await;
    // What most heartbeats do: the table has them, no log does.
    let mut superuser = house.database.superuser().await;
    sqlx::raw_sql(
        "update device_sync_status \
         set pending_actions = 7, heartbeat_at = heartbeat_at + interval '1 hour', property_ids = '{prp_9}'; \
         insert into device_sync_status \
         select tenant_id, 'dev_2', operator_id, app_version, app_platform, network_mode, 5, \
             last_sync_at, clock_skew_ms, heartbeat_at, '{\"rooms\": \"c1\"}', now(), property_ids \
         from device_sync_status",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let before = house.devices(&tenant).await;

    let pools = house.database.pools();
    table::rebuild::<DeviceSyncStatus>(pools.project(), |_, _| ()).await.unwrap();

    assert_eq!(house.devices(&tenant).await, before);
    let properties = vec!["prp_9".to_owned()];
    assert_eq!(before[0], ("dev_1".to_owned(), 7, properties.clone()));
    assert_eq!(before[1], ("dev_2".to_owned(), 5, properties));
    assert_eq!(house.cursors(&tenant, "dev_2").await, json!({ "rooms": "c1" }));
}

#[tokio::test]
async fn cursors_that_are_known_follow_what_was_moved_since_and_others_stay_unknown() {
    let (house, tenant) = (House::start().await, tenant());
    for device in ["dev_1", "dev_2"] {
        house.heartbeat(&tenant, device, (0, at())).await;
    }
    house.fold_all().await;
    let mut superuser = house.database.superuser().await;
    sqlx::query(
        "update device_sync_status set cursors = '{\"rooms\": \"r1\", \"folios\": \"f1\"}', cursors_at = $1 \
         where device_id = 'dev_1'",
    )
    .bind(at())
    .execute(&mut superuser)
    .await
    .unwrap();
    let moved = |device: &str, stream: &str, cursor: &str, seconds: i64| {
        let at = at() + TimeDelta::seconds(seconds);
        let payload = json!({ "deviceId": device, "stream": stream, "cursor": cursor, "at": at });
        ("melmastoon.sync.cursor.advanced.v1", payload)
    };

    house
        .hear(
            &tenant,
            [
                moved("dev_1", "rooms", "r3", 3),
                moved("dev_1", "rooms", "r2", 2),
                moved("dev_1", "folios", "f0", -1),
                moved("dev_1", "guests", "g1", 1),
                moved("dev_2", "rooms", "r3", 3),
            ],
        )
        .await;
    house.fold_all().await;

    let known = json!({ "rooms": "r3", "folios": "f1", "guests": "g1" });
    assert_eq!(house.cursors(&tenant, "dev_1").await, known);
    assert_eq!(house.cursors(&tenant, "dev_2").await, Value::Null);
}

#[tokio::test]
async fn a_revoked_device_is_nobodys_until_it_is_heard_of_again() {
    let (house, one, other) = (House::start().await, tenant(), tenant());
    for tenant in [&one, &other] {
        house.heartbeat(tenant, "dev_1", (0, at())).await;
    }
    let payload = json!({ "deviceId": "dev_1", "at": at() + TimeDelta::seconds(1) });
    house.hear(&one, [("melmastoon.iam.device.revoked.v1", payload)]).await;
    house.fold_all().await;

    assert!(house.listed(&one).await.is_empty());
    assert_eq!(house.listed(&other).await, ["dev_1"], "one id in two tenants is two devices");

    house.heartbeat(&one, "dev_1", (0, at() + TimeDelta::seconds(2))).await;
    house.fold_all().await;
    assert_eq!(house.listed(&one).await, ["dev_1"]);
}

#[tokio::test]
async fn a_heartbeat_that_no_row_can_hold_stops_no_other() {
    let (house, tenant) = (House::start().await, tenant());
    let event = heartbeat("dev_1", (0, at()));
    let DeviceSyncEvent::Heartbeat { device_id, last_sync_at, clock_skew_ms, at, .. } = event
    else {
        unreachable!()
    };
    let strange = DeviceSyncEvent::Heartbeat {
        device_id,
        app_version: String::new(),
        network_mode: "excellent".to_owned(),
        pending_actions: u32::MAX,
        last_sync_at,
        clock_skew_ms,
        at,
    };
    house.append(&tenant, &StreamId::device_sync(&device("dev_1")), &strange).await;
    house.heartbeat(&tenant, "dev_2", (0, at)).await;

    house.fold_all().await;

    assert_eq!(house.listed(&tenant).await, ["dev_2"]);
}

#[tokio::test]
async fn the_session_map_knows_who_is_where_until_the_session_has_ended() {
    let (house, one, other) = (House::start().await, tenant(), tenant());
    let [first, second, third] = [1, 2, 3].map(|number| format!("bos_{}", Ulid(number)));
    house.open(&one, &first, "dev_1").await;
    house.open(&one, &second, "dev_2").await;
    house.open(&other, &third, "dev_1").await;
    house.close(&one, &second).await;

    house.fold_all().await;

    for subject in [
        RevokedSubject::Session(format!("ses_{first}")),
        RevokedSubject::Device(device("dev_1")),
        RevokedSubject::Operator(operator("usr_1")),
        RevokedSubject::Tenant,
    ] {
        let open = house.ended_by(&one, subject.clone(), at()).await;
        assert_eq!(open, std::slice::from_ref(&first), "{subject:?}");
    }
    let ended = RevokedSubject::Session(format!("ses_{second}"));
    assert!(house.ended_by(&one, ended, at()).await.is_empty());
    let foreign = RevokedSubject::Session(format!("ses_{third}"));
    assert!(house.ended_by(&one, foreign.clone(), at()).await.is_empty());
    assert_eq!(house.ended_by(&other, foreign, at()).await, [third]);
    // Let in after the revocation: only iam's own session ends all the same.
    let earlier = at() - TimeDelta::seconds(1);
    assert!(house.ended_by(&one, RevokedSubject::Tenant, earlier).await.is_empty());
    let own = RevokedSubject::Session(format!("ses_{first}"));
    assert_eq!(house.ended_by(&one, own, earlier).await.len(), 1);
}

#[tokio::test]
async fn readers_of_the_session_map_see_all_of_it_while_it_is_rebuilt_and_folded() {
    let (house, tenant) = (House::start().await, tenant());
    let mut count = 20;
    for number in 0..count {
        let session = format!("bos_{}", Ulid(number));
        house.open(&tenant, &session, &format!("dev_{number}")).await;
    }
    house.fold_all().await;
    let mut superuser = house.database.superuser().await;
    sqlx::raw_sql("update session_map set device_id = 'wrong' where session_id < 'bos_1'")
        .execute(&mut superuser)
        .await
        .unwrap();
    let pools = house.database.pools();
    let rebuild = async {
        for _ in 0..3 {
            table::rebuild::<SessionMap>(pools.project(), |_, _| ()).await.unwrap();
        }
    };
    let fold = async {
        for _ in 0..5 {
            let session = format!("bos_{}", Ulid(count));
            house.open(&tenant, &session, &format!("dev_{count}")).await;
            count += 1;
            house.fold_all().await;
        }
    };
    let (tx, mut over) = tokio::sync::oneshot::channel();
    let read = async {
        let mut most = 20;
        while over.try_recv().is_err() {
            let seen = house.ended_by(&tenant, RevokedSubject::Tenant, at()).await.len();
            assert!(most <= seen, "{seen} after {most}");
            most = seen;
        }
    };
    let work = async {
        tokio::join!(rebuild, fold);
        tx.send(()).unwrap();
    };

    tokio::join!(work, read);

    let all = house.ended_by(&tenant, RevokedSubject::Tenant, at()).await;
    assert_eq!(all.len(), 25);
    let wrong = RevokedSubject::Device(device("wrong"));
    assert!(house.ended_by(&tenant, wrong, at()).await.is_empty(), "the ledger is the truth");
}

#[tokio::test]
async fn sessions_that_ended_long_ago_are_forgotten_and_a_late_fold_does_not_open_them_again() {
    let (house, tenant) = (House::start().await, tenant());
    let [old, open] = [1, 2].map(|number| format!("bos_{}", Ulid(number)));
    house.open(&tenant, &old, "dev_1").await;
    house.close(&tenant, &old).await;
    house.open(&tenant, &open, "dev_1").await;
    house.fold_all().await;
    let pools = house.database.pools();
    let mut superuser = house.database.superuser().await;
    let rewind = "update projector_cursor set position = 0; \
        update session_map set ended_at = now() - interval '29 days' where ended_at is not null";
    sqlx::raw_sql(rewind).execute(&mut superuser).await.unwrap();

    assert_eq!(mapped_sessions::forget_ended(pools.jobs()).await.unwrap(), 0);
    house.fold_all().await;
    let still = house.ended_by(&tenant, RevokedSubject::Tenant, at()).await;
    assert_eq!(still, [open]);

    let age =
        "update session_map set ended_at = now() - interval '31 days' where ended_at is not null";
    sqlx::raw_sql(age).execute(&mut superuser).await.unwrap();
    assert_eq!(mapped_sessions::forget_ended(pools.jobs()).await.unwrap(), 1);
}

struct House {
    database: TestDatabase,
    ledger: TestLedger,
    _redis: RedisServer,
    stores: Stores,
}

impl House {
    async fn start() -> Self {
        let (database, redis) = tokio::join!(TestDatabase::create(), RedisServer::start());
        let tier = redis.connect().await;
        let stores = Stores { pools: database.pools(), cache: tier.clone(), session: tier };
        let ledger = TestLedger::start(database.pools());
        Self { database, ledger, _redis: redis, stores }
    }

    /// Folds until both logs are done, then gives the leases back.
    async fn fold_all(&self) {
        for log in Log::ALL {
            let mut lane = Lane::new(&self.stores, &Settings::default(), log);
            while lane.advance().await.unwrap() != Advance::Idle {}
            lane.release().await.unwrap();
        }
    }

    async fn append<E: events::LedgerEvent>(
        &self,
        tenant: &TenantId,
        stream: &StreamId,
        event: &E,
    ) {
        let version = self.ledger.ledger.stream_version::<E>(tenant, stream).await.unwrap();
        let mut append = append(tenant, vec![write(stream, version, std::slice::from_ref(event))]);
        append.metadata = Metadata { app_platform: Some("linux".to_owned()), ..append.metadata };
        self.ledger.ledger.append(append).await.unwrap();
    }

    async fn heartbeat(&self, tenant: &TenantId, name: &str, said: (u32, DateTime<Utc>)) {
        self.append(tenant, &StreamId::device_sync(&device(name)), &heartbeat(name, said)).await;
    }

    async fn open(&self, tenant: &TenantId, session: &str, device_id: &str) {
        let session_id: SessionId = session.parse().unwrap();
        let opened = OperatorSessionEvent::Opened {
            session_id: session_id.clone(),
            operator_id: operator("usr_1"),
            device_id: device(device_id),
            iam_session_id: Some(format!("ses_{session}")),
            property_ids: vec!["prp_1".parse().unwrap()],
            roles: vec!["front_desk".to_owned()],
            opened_at: at(),
        };
        self.append(tenant, &StreamId::session(&session_id), &opened).await;
    }

    async fn close(&self, tenant: &TenantId, session: &str) {
        let session_id: SessionId = session.parse().unwrap();
        let stream = StreamId::session(&session_id);
        let reason = ClosingReason::SignedOut;
        let closed = OperatorSessionEvent::Closed { session_id, reason, at: at() };
        self.append(tenant, &stream, &closed).await;
    }

    /// Subjects and payloads, as intake takes them in.
    async fn hear<const N: usize>(&self, tenant: &TenantId, said: [(&str, Value); N]) {
        let events = said.map(|(subject, payload)| Incoming {
            tenant_id: tenant.clone(),
            producer: subject.split('.').nth(1).unwrap().to_owned(),
            event_id: Ulid::generate().to_string(),
            subject: subject.to_owned(),
            property_id: None,
            occurred_at: at(),
            event: UpstreamEvent::read(subject, payload.clone()).unwrap().unwrap(),
            payload,
        });
        let mut connection = self.stores.pools.intake().acquire().await.unwrap();
        store::append(&mut connection, &events, at()).await.unwrap();
    }

    /// Device, pending actions and properties of every row.
    async fn devices(&self, tenant: &TenantId) -> Vec<(String, i32, Vec<String>)> {
        sqlx::query_as(
            "select device_id, pending_actions, property_ids from device_sync_status \
             where tenant_id = $1 order by device_id",
        )
        .bind(tenant.as_str())
        .fetch_all(&mut self.database.superuser().await)
        .await
        .unwrap()
    }

    async fn cursors(&self, tenant: &TenantId, device: &str) -> Value {
        let row = sqlx::query(
            "select coalesce(cursors, 'null')::text from device_sync_status \
             where tenant_id = $1 and device_id = $2",
        )
        .bind(tenant.as_str())
        .bind(device)
        .fetch_one(&mut self.database.superuser().await)
        .await
        .unwrap();
        serde_json::from_str(row.get(0)).unwrap()
    }

    /// The devices that their operator is shown.
    async fn listed(&self, tenant: &TenantId) -> Vec<String> {
        use backoffice::commands::device_sync::status;

        let wanted = (&operator("usr_1"), 100);
        let listed = status::of_operator(&self.stores.pools, tenant, wanted).await.unwrap();
        listed.into_iter().map(|status| status.device_id).collect()
    }

    /// The sessions that a revocation at `at` ends.
    async fn ended_by(
        &self,
        tenant: &TenantId,
        subject: RevokedSubject,
        at: DateTime<Utc>,
    ) -> Vec<String> {
        let revocation = Revocation {
            tenant_id: tenant.clone(),
            subject,
            reason: "admin".to_owned(),
            at,
            event_id: "e1".to_owned(),
        };
        let ended = mapped_sessions::ended_by(&self.stores.pools, &revocation).await.unwrap();
        ended.into_iter().map(|Due { session_id, .. }| session_id.to_string()).collect()
    }
}

fn heartbeat(name: &str, (pending_actions, at): (u32, DateTime<Utc>)) -> DeviceSyncEvent {
    DeviceSyncEvent::Heartbeat {
        device_id: device(name),
        app_version: "1.4.2".to_owned(),
        network_mode: "good".to_owned(),
        pending_actions,
        last_sync_at: None,
        clock_skew_ms: None,
        at,
    }
}

fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}
