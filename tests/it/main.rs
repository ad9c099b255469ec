//! Integration tests: the real parts together. One binary, so that they link once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod schemas;
