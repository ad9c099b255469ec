//! What the tests share: real servers, made and removed quickly.

pub mod database;
pub mod ledger;
pub mod proxy;
