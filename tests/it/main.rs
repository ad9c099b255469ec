//! Integration tests.
#![expect(clippy::unwrap_used, reason = "a test may say that a step cannot fail by failing")]

mod http_server;
mod http_surface;
mod upstream_calls;
