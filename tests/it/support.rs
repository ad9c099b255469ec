//! What the tests share: real servers, made and removed quickly.

pub mod database;
