//! The back-office BFF: a ledger of what operators do, views of what upstream services say, one live stream a desktop.

pub mod clock;
pub mod database;
pub mod ledger;
pub mod live;
pub mod views;
