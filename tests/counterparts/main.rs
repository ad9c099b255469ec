//! Tests against programs that nobody here wrote. `make conformance` runs them; what is missing on
//! a machine fails them, and says what to install.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod signers;

#[path = "../it"]
mod it {
    #[expect(dead_code, reason = "shared with the integration tests, which use all of it")]
    pub mod support;
}
