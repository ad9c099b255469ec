//! The back-office BFF: a ledger of what operators do, views of what upstream services say, one live stream a desktop.

pub mod clock;
pub mod database;
pub mod inbox;
pub mod ledger;
pub mod live;
pub mod projector;
pub mod pubsub;
pub mod views;
