//! Integration tests: the real parts together. One binary, so that they link once.
//!
//! `DATABASE_ADMIN_URL` names Postgres (a superuser), `REDIS_SESSION_URL` and `REDIS_CACHE_URL` two Redis servers,
//! `PUBSUB_EMULATOR_HOST` a broker; `make test` starts them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access_gate;
mod access_keys;
mod access_token;
mod access_world;
mod architecture;
mod conformance;
mod dpop;
mod end_to_end;
mod fuzz_seeds;
mod http_server;
mod http_surface;
mod inbox;
mod ledger_append;
mod ledger_roles;
mod ledger_torture;
mod live;
mod outbox;
mod projector;
mod queries;
mod schemas;
mod support;
mod tenant_isolation;
mod upstream_calls;
mod views;
