//! Workers serve all tenants: what one tenant's rows do to them must not reach another.

use backoffice::database::Role;
use serde_json::json;

use super::client::{Client, Wish, raise, until_listed};
use crate::support::{
    database::TestDatabase,
    ledger::{TestLedger, acknowledgment, tenant},
    listener::Listener,
    service::World,
    wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn ti_44_a_row_spliced_from_one_tenants_log_into_anothers_is_found() {
    let world = World::start().await;
    let test = TestLedger::start(world.database.pools());
    let (a, b) = (tenant(1), tenant(2));
    for number in 0..3 {
        for (tenant, name) in [(&a, "a"), (&b, "b")] {
            let alert = format!("alr_{name}{number}");
            test.ledger.append(acknowledgment(tenant, &alert)).await.unwrap();
        }
    }
    let (is_well, said) = world.run(&["ledger", "verify"]);
    assert!(is_well, "{said}");

    let mut superuser = world.database.superuser().await;
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut superuser).await.unwrap();
    let spliced: i64 = sqlx::query_scalar(
        "update event set tenant_id = $1, ledger_index = 3 where tenant_id = $2 and ledger_index = 2 \
         returning position",
    )
    .bind(a.as_str())
    .bind(b.as_str())
    .fetch_one(&mut superuser)
    .await
    .unwrap();

    let (is_well, said) = world.run(&["ledger", "verify"]);
    assert!(!is_well);
    assert!(said.contains(&format!("position {spliced}")), "{said}");
}

/// Acknowledgments that upstream refuses for one tenant, and an event that no reader understands.
#[tokio::test(flavor = "multi_thread")]
async fn ti_45_an_unreadable_event_of_one_tenant_stops_neither_relay_nor_views_of_another() {
    let world = World::start().await;
    let service = world.service().await;
    let published = Listener::on(&world, "melmastoon.bff.backoffice.alert-ack").await;
    let tenants = world.simulator.tenant_ids();
    let mut a = Client::sign_in(&world, &tenants[0], &json!({})).await;
    let b = Client::sign_in(&world, &tenants[1], &json!({})).await;
    raise(&world, &a, "alr_1", "of a").await;
    until_listed(&service, &mut a, "alr_1").await;

    // A kind of a version that nobody knows yet, and a body that is no JSON, at the head of the log.
    let mut append = world.database.superuser().await;
    for body in ["{}", "not json"] {
        sqlx::query(
            "with head as (update ledger_head set position = position + 1 where shard = 0 returning position), \
             log as (insert into log_head as l (tenant_id, ledger, period, size) \
                 values ($1, 'alert-ack', to_char(now() at time zone 'UTC', 'YYYY-MM'), 1) \
                 on conflict (tenant_id, ledger, period) do update set size = l.size + 1 \
                 returning period, size - 1 as ledger_index) \
             insert into event select $1, 'alert-ack', log.period, log.ledger_index, 0, head.position, 'ali:poison', \
                 log.ledger_index + 1, 'evt_' || lpad(head.position::text, 26, '0'), \
                 'melmastoon.bff.backoffice.alert.poisoned.v9', 1, convert_to($2, 'UTF8'), null, null, \
                 convert_to('{\"producerInstance\":\"it\",\"samplingPerMille\":1000}', 'UTF8'), \
                 now(), clock_timestamp(), sha256('leaf') from head, log",
        )
        .bind(b.text("tenantId"))
        .bind(body)
        .execute(&mut append)
        .await
        .unwrap();
    }

    let key = ulid::Ulid::generate().to_string();
    let wish = Wish::post("/alerts/alr_1/acknowledge", key, json!({}));
    let answer = a.ask(&service, &wish).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let message = published.message(|message| message["envelope"]["streamId"] == "ali:alr_1").await;
    assert_eq!(message["envelope"]["tenantId"], a.text("tenantId"));
    wait::until("the view has it", async || {
        let page = a.ask(&service, &Wish::get("/alerts?state=acknowledged")).await;
        page.text.contains("alr_1")
    })
    .await;
}

/// Purge and retention, outbox and projector work under roles that are not held to one tenant; what
/// they are granted says how far they reach.
#[tokio::test]
async fn ti_45_no_worker_may_change_what_requests_of_a_tenant_read() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    test.ledger.append(acknowledgment(&tenant(1), "alr_1")).await.unwrap();
    for role in [Role::Relay, Role::Project, Role::Intake, Role::Seal, Role::Maintain] {
        let mut worker = database.connect_as(role).await;
        for statement in
            ["delete from idempotency", "update subject_key set key_id = ''", "delete from event"]
        {
            let done = sqlx::raw_sql(statement).execute(&mut worker).await;
            assert_eq!(super::code(done), "42501", "{role:?}: {statement}");
        }
    }
}
