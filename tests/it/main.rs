//! Integration tests: the real parts together. One binary, so that they link once.
//!
//! `DATABASE_ADMIN_URL` names Postgres (a superuser), `REDIS_SESSION_URL` and `REDIS_CACHE_URL` two Redis servers,
//! `PUBSUB_EMULATOR_HOST` a broker; `make test` starts them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod access_bench;
mod access_drill;
mod access_gate;
mod access_headers;
mod access_jwks;
mod access_keys;
mod access_nonce;
mod access_replay;
mod access_stores;
mod access_token;
mod access_world;
mod architecture;
mod asvs;
mod conformance;
mod dead_letters;
mod desk;
mod dpop;
mod end_to_end;
mod errors;
mod fuzz_seeds;
mod http_abuse;
mod http_server;
mod http_surface;
mod idempotency_claims;
mod idempotency_crashes;
mod idempotency_interleavings;
mod idempotency_keys;
mod idempotency_purge;
mod idempotency_races;
mod inbox;
mod inbox_retention;
mod jobs;
mod ledger_append;
mod ledger_audit;
mod ledger_roles;
mod ledger_torture;
mod live;
mod live_abuse;
mod live_hints;
mod live_service;
mod live_steadiness;
mod lock_actions;
mod mfa;
mod mfa_step_up;
mod mutations;
mod outbox;
mod policy;
mod projector;
mod queries;
mod rate_limits;
mod schemas;
mod screens;
mod secrets;
mod sessions;
mod suggestions;
mod support;
mod table_views;
mod tenant_isolation;
mod upstream_calls;
mod version_floor;
mod views;
mod write_routes;
