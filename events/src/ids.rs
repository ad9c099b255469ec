//! Identifiers as types, so that one is never taken for another and none can break a key or a log
//! line.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The text is not an identifier of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(pub &'static str);

/// Declares a newtype over `String` that can only hold what `$valid` accepts.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $label:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId($label)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A tenant, `tnt_` and a ULID; never cast to a uuid. Source: the verified access token.
    TenantId,
    "tenant id",
    |text| is_prefixed_ulid(text, "tnt_")
);
id!(
    /// An operator's user id at iam, opaque, 1–64 characters.
    OperatorId,
    "operator id",
    is_opaque
);
id!(
    /// A device registered at iam, opaque, 1–64 characters.
    DeviceId,
    "device id",
    is_opaque
);
id!(
    /// A property at property-service, opaque, 1–64 characters.
    PropertyId,
    "property id",
    is_opaque
);
id!(
    /// An alert at the service that raised it, opaque, 1–64 characters.
    AlertId,
    "alert id",
    is_opaque
);
id!(
    /// A suggestion at ai-orchestrator-service, opaque, 1–64 characters.
    SuggestionId,
    "suggestion id",
    is_opaque
);
id!(
    /// A lock of a door at lock-integration-service, opaque, 1–64 characters.
    LockId,
    "lock id",
    is_opaque
);
id!(
    /// A key of a door at lock-integration-service, opaque, 1–64 characters.
    KeyCredentialId,
    "key credential id",
    is_opaque
);
id!(
    /// A reservation at reservation-service, opaque, 1–64 characters.
    ReservationId,
    "reservation id",
    is_opaque
);
id!(
    /// A room at inventory-service, opaque, 1–64 characters.
    RoomId,
    "room id",
    is_opaque
);
id!(
    /// An action on a lock of ours, `lap_` and a ULID.
    LockActionId,
    "lock action id",
    |text| is_prefixed_ulid(text, "lap_")
);
id!(
    /// A session of ours, `bos_` and a ULID.
    SessionId,
    "session id",
    |text| is_prefixed_ulid(text, "bos_")
);
id!(
    /// A step-up of an operator, `mfa_` and a ULID.
    AttestationId,
    "attestation id",
    |text| is_prefixed_ulid(text, "mfa_")
);
id!(
    /// A recorded event of ours, `evt_` and a ULID.
    EventId,
    "event id",
    |text| is_prefixed_ulid(text, "evt_")
);
id!(
    /// A stream of the ledger: the aggregate's id, or a derived id such as `ali:<alertId>`; 1–128
    /// characters.
    StreamId,
    "stream id",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(is_id_byte)
);

impl TenantId {
    /// The tenant of system events that belong to none.
    pub fn system() -> Self {
        Self("tnt_00000000000000000000000000".to_owned())
    }
}

impl SessionId {
    pub fn new(ulid: Ulid) -> Self {
        Self(format!("bos_{ulid}"))
    }
}

impl AttestationId {
    pub fn new(ulid: Ulid) -> Self {
        Self(format!("mfa_{ulid}"))
    }
}

impl LockActionId {
    pub fn new(ulid: Ulid) -> Self {
        Self(format!("lap_{ulid}"))
    }
}

impl EventId {
    pub fn new(ulid: Ulid) -> Self {
        Self(format!("evt_{ulid}"))
    }
}

impl StreamId {
    /// The one stream of the acknowledgments of an alert; its derived id makes the first one win.
    pub fn alert_acknowledgment(alert_id: &AlertId) -> Self {
        Self(format!("ali:{alert_id}"))
    }

    /// The one stream of the decisions on a suggestion; its derived id makes the first one stand.
    pub fn suggestion_decision(suggestion_id: &SuggestionId) -> Self {
        Self(format!("sdl:{suggestion_id}"))
    }

    pub fn session(session_id: &SessionId) -> Self {
        Self(session_id.to_string())
    }

    /// One mutation; `ulid` is derived from its claim, so that a repetition finds the stream.
    pub fn operator_action(ulid: Ulid) -> Self {
        Self(format!("act_{ulid}"))
    }

    pub fn lock_action(action_id: &LockActionId) -> Self {
        Self(action_id.to_string())
    }

    /// What a device says of itself, for as long as the ledger remembers.
    pub fn device_sync(device_id: &DeviceId) -> Self {
        Self(format!("dsy:{device_id}"))
    }

    /// What one request tells of an operator; an id derived from the request makes it one.
    pub fn activity(ulid: Ulid) -> Self {
        Self(format!("act_{ulid}"))
    }

    /// Issued, then used once: the versions of this stream decide.
    pub fn attestation(attestation_id: &AttestationId) -> Self {
        Self(attestation_id.to_string())
    }
}

fn is_prefixed_ulid(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == 26
            && rest.bytes().all(|byte| {
                byte.is_ascii_digit()
                    || (byte.is_ascii_uppercase() && !matches!(byte, b'I' | b'L' | b'O' | b'U'))
            })
    })
}

fn is_opaque(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(is_id_byte)
}

/// No braces, globs, slashes, spaces or control characters: an id can stand in a key, a path and a
/// log line.
fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_is_upper_case_crockford_after_its_prefix() {
        assert!("tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse::<TenantId>().is_ok());
        for wrong in [
            "",
            "tnt_",
            "tnt_01hzx3v7q8m4n5p6r7s8t9w0xy",
            "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XI",
            "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XYZ",
            "ten_01HZX3V7Q8M4N5P6R7S8T9W0XY",
            " tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY",
        ] {
            assert_eq!(wrong.parse::<TenantId>(), Err(InvalidId("tenant id")), "{wrong}");
        }
    }

    #[test]
    fn an_opaque_id_cannot_carry_what_would_break_a_key() {
        for wrong in ["", "a b", "a{b}", "a*", "a/b", "a\n", "é", &"x".repeat(65)] {
            assert!(wrong.parse::<AlertId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn reading_an_invalid_id_from_json_fails() {
        assert!(serde_json::from_str::<PropertyId>("\"a{b}\"").is_err());
    }
}
