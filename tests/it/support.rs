//! What the tests share: real servers, made and removed quickly.

pub mod broker;
pub mod database;
pub mod facts;
pub mod redis;
pub mod wait;
