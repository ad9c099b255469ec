//! The service beside programs that nobody here wrote and not every machine has: other signers of
//! proofs, nginx, haproxy, pgbouncer, networks that go silent (unshare, ip). `make conformance` runs
//! them; what is missing fails its test, which says what to install.
//!
//! The same servers as for the integration tests are needed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../it/tenant_isolation/client.rs"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod client;
mod nginx_cache;
mod node_peer;
#[path = "../bench/peers/program.rs"]
#[expect(dead_code, reason = "the benchmarks use more of it")]
mod peer;
mod pgbouncer;
mod program;
mod proxies;
mod signers;
/// What the integration tests stand on, those parts that are needed here.
#[path = "../it/support"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod support {
    pub mod alerts;
    pub mod broker;
    pub mod database;
    pub mod desktop;
    pub mod ledger;
    pub mod platform;
    pub mod port;
    pub mod redis;
    pub mod service;
    pub mod wait;
}
