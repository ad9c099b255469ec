//! The service among programs that others wrote: proxies in front of it, networks that go silent.
//! Needs nginx, haproxy, unshare and ip on the path; a test fails where one is missing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod proxies;

#[expect(dead_code, reason = "shared with the integration tests, which use all of it")]
#[path = "."]
mod support {
    #[path = "../it/support/broker.rs"]
    pub mod broker;
    #[path = "../it/support/database.rs"]
    pub mod database;
    #[path = "../it/support/desktop.rs"]
    pub mod desktop;
    #[path = "../it/support/redis.rs"]
    pub mod redis;
    #[path = "../it/support/service.rs"]
    pub mod service;
    #[path = "../it/support/wait.rs"]
    pub mod wait;
}
