//! The back-office BFF: a ledger of what operators do, views of what upstream services say, one
//! live stream a desktop.

pub mod access;
pub mod aggregates;
pub mod app;
pub mod clock;
pub mod commands;
pub mod composition;
pub mod config;
pub mod database;
pub mod desktop;
pub mod dev;
pub mod http;
pub mod inbox;
pub mod ledger;
pub mod live;
pub mod output;
pub mod projector;
pub mod pubsub;
pub mod secrets;
pub mod telemetry;
pub mod upstream;
pub mod views;
