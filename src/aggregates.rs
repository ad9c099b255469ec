//! The rules, as cqrs-es aggregates: given what happened, may this happen now? No I/O, no clock, no
//! chance.

pub mod alert_acknowledgment;
pub mod device_sync;
pub mod lock_action;
pub mod mfa_attestation;
pub mod operator_action;
pub mod operator_activity;
pub mod operator_session;
pub mod suggestion_decision;

pub use alert_acknowledgment::AlertAcknowledgment;
pub use device_sync::DeviceSync;
pub use lock_action::LockAction;
pub use mfa_attestation::MfaAttestation;
pub use operator_action::OperatorAction;
pub use operator_activity::OperatorActivity;
pub use operator_session::OperatorSession;
pub use suggestion_decision::SuggestionDecision;
