//! The service beside programs that a developer may not have: pgbouncer, nginx. Run by
//! `make conformance`; a program that is missing fails its test and is named.
//!
//! The same servers as for the integration tests are needed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "what the integration tests share is used here in part")]

#[path = "../it/support/broker.rs"]
mod broker;
#[path = "../it/tenant_isolation/client.rs"]
mod client;
#[path = "../it/support/database.rs"]
mod database;
#[path = "../it/support/ledger.rs"]
mod ledger;
#[path = "../it/support/redis.rs"]
mod redis;
#[path = "../it/support/service.rs"]
mod service;
#[path = "../it/support/wait.rs"]
mod wait;

mod nginx_cache;
mod pgbouncer;

/// What the shared files call `crate::support`.
mod support {
    pub(crate) use super::{service, wait};
}
