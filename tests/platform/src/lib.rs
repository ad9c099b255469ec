//! The simulated platform.

pub mod broker;
