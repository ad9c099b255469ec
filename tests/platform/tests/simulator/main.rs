//! The simulated platform as its users see it: over HTTP and through Pub/Sub.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod alerts;
mod events;
mod faults;
mod identity;
mod strictness;
mod support;
mod world;
