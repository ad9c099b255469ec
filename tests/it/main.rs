//! Integration tests: the service against real servers. `DATABASE_ADMIN_URL` names Postgres.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ledger_roles;
mod live;
mod outbox;
mod projector;
mod support;
mod views;
