//! Who may enter: DPoP-bound requests verified, sessions found, roles turned into scopes.

pub mod dpop;
pub mod jws;
pub mod nonce;
mod strict_json;
