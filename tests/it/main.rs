//! Integration tests: the service against real servers. `DATABASE_ADMIN_URL` names Postgres.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod inbox;
mod ledger_append;
mod ledger_roles;
mod outbox;
mod support;
