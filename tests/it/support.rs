//! What the tests share: real servers, made and removed quickly.

pub mod alerts;
pub mod broker;
pub mod database;
pub mod desktop;
pub mod facts;
pub mod ledger;
pub mod listener;
pub mod locks;
pub mod platform;
pub mod port;
pub mod proxy;
pub mod redis;
pub mod replica;
pub mod service;
pub mod sources;
pub mod suggestions;
pub mod wait;
pub mod wire;
