//! The life of a session: opened, refreshed, idle, signed out, revoked.

mod keeping;
mod refresh;
mod revocation;
mod rights;
mod sign_out;
mod streams;

use serde_json::Value;

use crate::support::{
    platform::{self, happened, tenant},
    service::World,
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
