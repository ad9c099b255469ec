//! Integration tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

mod access_dpop;
mod access_gate;
mod access_keys;
mod access_token;
mod access_world;
