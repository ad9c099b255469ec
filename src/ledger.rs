//! The ledger: what operators did, append-only, in the order of commit, in Postgres.

pub mod lint;
pub mod partitions;
pub mod pools;
pub mod relay;
