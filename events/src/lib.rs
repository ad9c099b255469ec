//! The vocabulary: every event the service writes or reads. No I/O, no async, no SQL, no clock.

pub mod envelope;
pub mod ids;
pub mod ledger;
pub mod schema;
pub mod upcast;
pub mod upstream;

pub use envelope::{Envelope, Metadata};
pub use ids::{
    AlertId, AttestationId, DeviceId, EventId, InvalidId, KeyCredentialId, LockActionId, LockId,
    OperatorId, PropertyId, ReservationId, RoomId, SessionId, StreamId, SuggestionId, TenantId,
};
pub use ledger::{Ledger, LedgerEvent, Period, RetentionClass};
