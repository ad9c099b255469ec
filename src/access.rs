//! Who may enter: DPoP-bound requests verified, sessions found, roles turned into scopes.

mod caller;
mod claims;
mod credentials;
pub mod dpop;
mod entrant;
pub mod fence;
pub mod flags;
mod gate;
pub mod idempotency_key;
pub mod jwks;
mod jws;
pub mod membership;
pub mod nonce;
pub mod policy;
pub mod rate;
mod refusal;
pub mod replay;
pub mod scheduler;
pub mod session;
mod settings;
pub mod standing;
mod store;
mod strict_json;
pub mod token;
pub mod version_floor;

pub use self::{
    caller::{App, AppPlatform, Caller, NetworkMode},
    entrant::PendingSession,
    gate::{AccessRequest, Admission, BareProof, DeviceHeaders, Gate, GrantError, Granted, Place},
    refusal::{Reason, Refusal},
    settings::{Issuer, NonceMode, Settings, SettingsError},
    store::{SessionTier, StoreError},
};
