//! The client's name for one intended mutation: `X-Idempotency-Key`, a ULID of the last 24 hours.

use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName};
use ulid::Ulid;

use super::credentials::only;

const NAME: HeaderName = HeaderName::from_static("x-idempotency-key");
const ALIAS: HeaderName = HeaderName::from_static("idempotency-key");
const ULID_CHARS: usize = 26;
/// Older keys may be forgotten already: running them again would be a second effect.
const AGE_MAX: Duration = Duration::from_hours(24);
const FUTURE_MAX: Duration = Duration::from_mins(10);

/// Why a key is refused; 400 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("an idempotency key is required")]
    Missing,
    #[error("the idempotency key is not one upper-case ULID")]
    Invalid,
    #[error("the idempotency key is older than 24 hours or from the future")]
    Expired,
}

impl KeyError {
    /// The platform's error code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_MISSING",
            Self::Invalid => "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_INVALID",
            Self::Expired => "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_EXPIRED",
        }
    }
}

/// Reads the key. Lower case and the letters that Crockford takes for digits are refused, so that a
/// key has one spelling. Both header names may be used if they say the same.
///
/// # Errors
/// `Missing`, `Invalid`, or `Expired` for a ULID made more than 24 h ago or over 10 min ahead.
pub fn parse(headers: &HeaderMap, now: DateTime<Utc>) -> Result<Ulid, KeyError> {
    let mut key = None;
    for name in [NAME, ALIAS] {
        if !headers.contains_key(&name) {
            continue;
        }
        let read = only(headers, &name).and_then(read_ulid).ok_or(KeyError::Invalid)?;
        if *key.get_or_insert(read) != read {
            return Err(KeyError::Invalid);
        }
    }
    let key = key.ok_or(KeyError::Missing)?;
    let made_at = UNIX_EPOCH + Duration::from_millis(key.timestamp_ms());
    let made_at = DateTime::<Utc>::from(made_at);
    if (now - AGE_MAX..=now + FUTURE_MAX).contains(&made_at) {
        Ok(key)
    } else {
        Err(KeyError::Expired)
    }
}

fn read_ulid(text: &str) -> Option<Ulid> {
    let is_canonical = text.len() == ULID_CHARS
        && text.as_bytes()[0] <= b'7'
        && text.bytes().all(|byte| {
            byte.is_ascii_digit()
                || (byte.is_ascii_uppercase() && !matches!(byte, b'I' | b'L' | b'O' | b'U'))
        });
    if is_canonical { Ulid::from_string(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const KEY: &str = "01HZX3V7Q8M4N5P6R7S8T9W0XY";

    fn made_at() -> DateTime<Utc> {
        DateTime::<Utc>::from(
            UNIX_EPOCH + Duration::from_millis(Ulid::from_string(KEY).unwrap().timestamp_ms()),
        )
    }

    fn read(lines: &[(&'static str, &str)], now: DateTime<Utc>) -> Result<Ulid, KeyError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        parse(&headers, now)
    }

    #[test]
    fn one_fresh_ulid_is_a_key_under_either_name() {
        let key = Ulid::from_string(KEY).unwrap();
        assert_eq!(read(&[("x-idempotency-key", KEY)], made_at()), Ok(key));
        assert_eq!(read(&[("idempotency-key", KEY)], made_at()), Ok(key));
        let both = [("idempotency-key", KEY), ("x-idempotency-key", KEY)];
        assert_eq!(read(&both, made_at()), Ok(key));
    }

    #[test]
    fn id_01_02_03_what_is_not_exactly_one_ulid_is_refused() {
        assert_eq!(read(&[], made_at()), Err(KeyError::Missing), "id_01");
        let twice = [("x-idempotency-key", KEY), ("x-idempotency-key", KEY)];
        assert_eq!(read(&twice, made_at()), Err(KeyError::Invalid), "id_02");
        let differing =
            [("x-idempotency-key", KEY), ("idempotency-key", "01HZX3V7Q8M4N5P6R7S8T9W0XZ")];
        assert_eq!(read(&differing, made_at()), Err(KeyError::Invalid), "id_02");
        for (case, wrong) in [
            ("id_02_list", "01HZX3V7Q8M4N5P6R7S8T9W0XY, 01HZX3V7Q8M4N5P6R7S8T9W0XY"),
            ("id_02_empty", ""),
            ("id_03_short", "01HZX3V7Q8M4N5P6R7S8T9W0X"),
            ("id_03_long", "01HZX3V7Q8M4N5P6R7S8T9W0XYZ"),
            ("id_03_i", "01HZX3V7Q8M4N5P6R7S8T9W0XI"),
            ("id_03_o", "O1HZX3V7Q8M4N5P6R7S8T9W0XY"),
            ("id_03_overflow", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
            ("id_03_lower", "01hzx3v7q8m4n5p6r7s8t9w0xy"),
            ("id_03_quotes", "\"01HZX3V7Q8M4N5P6R7S8T9W0\""),
        ] {
            let read = read(&[("x-idempotency-key", wrong)], made_at());
            assert_eq!(read, Err(KeyError::Invalid), "{case}");
        }
    }

    #[test]
    fn id_04_a_key_too_old_to_be_remembered_is_refused() {
        let at = |delta: TimeDelta| read(&[("x-idempotency-key", KEY)], made_at() + delta);
        assert!(at(TimeDelta::hours(24)).is_ok());
        assert_eq!(at(TimeDelta::hours(24) + TimeDelta::seconds(1)), Err(KeyError::Expired));
        assert!(at(-TimeDelta::minutes(10)).is_ok());
        assert_eq!(at(-TimeDelta::minutes(10) - TimeDelta::seconds(1)), Err(KeyError::Expired));
    }
}
