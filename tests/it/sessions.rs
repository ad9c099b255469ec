//! The life of a session: opened, refreshed, idle, signed out, revoked.

mod keeping;
mod refresh;
mod revocation;
mod rights;
mod sign_out;
mod streams;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    desktop::Desktop,
    platform::{self, happened, tenant},
    service::World,
    wait,
};

/// The kinds in a tenant's session ledger, in order and without their common beginning.
async fn ledger(world: &World, tenant_id: &str) -> Vec<String> {
    let query = "select substr(kind, 35) from event \
        where tenant_id = $1 and ledger = 'session' order by position";
    let mut connection = world.database.superuser().await;
    sqlx::query_scalar(query).bind(tenant_id).fetch_all(&mut connection).await.unwrap()
}

async fn count(world: &World, tenant_id: &str, kind: &str) -> usize {
    ledger(world, tenant_id).await.iter().filter(|it| *it == kind).count()
}

/// What iam was asked, on this path.
async fn iam_calls(world: &World, path: &str) -> Vec<Value> {
    platform::kept(world, ("iam-service", "calls"), path).await
}

async fn iam_effects(world: &World, path: &str) -> usize {
    platform::kept(world, ("iam-service", "effects"), path).await.len()
}

async fn fault(world: &World, fault: Value) {
    platform::fault(world, "iam-service", &fault).await;
}

async fn heal(world: &World) {
    platform::heal(world, "iam-service").await;
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_while_its_session_is_opened_finds_it_open() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant_id = tenant(&world, 0);
    let mut desktop = Desktop::sign_in(&world, &tenant_id, json!({})).await;
    let mut holder = world.database.superuser().await;
    let hold = "begin; lock table ledger_head in exclusive mode";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let mut looker = world.database.superuser().await;
    let waiting = wait::until("the opening waits for the ledger", async || {
        let query = "select count(*) from pg_locks where not granted";
        let waiting: i64 = sqlx::query_scalar(query).fetch_one(&mut looker).await.unwrap();
        0 < waiting
    });

    tokio::select! {
        answer = desktop.get(&service, "/session") => panic!("{}", answer.body),
        () = waiting => (),
    }
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    let answer = desktop.get(&service, "/session").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(count(&world, &tenant_id, "opened.v1").await, 1);
}
