//! What other services say, taken in from Pub/Sub once, in an order of its own, for the projector
//! to fold.

pub mod dead_letter;
pub mod envelope;
pub mod intake;
pub mod read;
pub mod retention;
pub mod revocation;
pub mod store;
