//! What the service relies on a Pub/Sub broker for, shown on the embedded broker and, where
//! `PUBSUB_EMULATOR_HOST` names one, on Google's emulator with the same tests.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod brokers;
mod embedded;
mod official_client;
mod shared;
