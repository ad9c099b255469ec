//! JSON read so that nothing is taken for what it is not: objects only, no null for absent, no
//! doubles.
//!
//! serde's derive reads a struct from an array too, takes `null` for an absent option, and knows no
//! floats for integers. A proof or a token may use none of these freedoms.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Instants beyond this many seconds (the year 2242) are taken for milliseconds or attacks.
const SECONDS_MAX: i64 = 1 << 33;

/// Reads one JSON object and nothing after it. `None` when it is anything else, or a member read
/// by `T` occurs twice.
pub fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    // Of bytes, serde_json would pass over a member it does not know without looking at its text.
    let json = str::from_utf8(json).ok()?;
    serde_json::from_str::<Object<T>>(json).ok().map(|object| object.0)
}

/// A struct that is read from an object only, never from an array.
#[derive(Clone, Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// For `deserialize_with`, beside `default`: a member that may not be there, whatever its value.
pub fn forbidden<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(de::Error::custom("forbidden member"))
}

/// For `deserialize_with`: a member that may be absent, but never `null` or of another type.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Seconds since 1970 as any JSON number, fractions cut off; 0 to 2³³.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumericDate(pub i64);

/// Seconds since 1970 as a JSON integer; 0 to 2³³.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeSeconds(pub i64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor { fractions: true }).map(NumericDate)
    }
}

impl<'de> Deserialize<'de> for WholeSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor { fractions: false }).map(WholeSeconds)
    }
}

struct SecondsVisitor {
    fractions: bool,
}

impl Visitor<'_> for SecondsVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since 1970")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<i64, E> {
        i64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds <= SECONDS_MAX)
            .ok_or_else(|| E::custom("out of range"))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "in range, and the fraction is meant to go"
    )]
    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<i64, E> {
        if self.fractions && (0.0..=SECONDS_MAX as f64).contains(&seconds) {
            Ok(seconds.floor() as i64)
        } else {
            Err(E::custom("out of range"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Probe {
        name: String,
        #[serde(default, deserialize_with = "given")]
        alias: Option<String>,
        #[serde(default, rename = "d", alias = "k", deserialize_with = "forbidden")]
        _private: (),
    }

    #[test]
    fn only_an_object_is_read_as_a_struct() {
        assert!(object::<Probe>(br#"{"name":"a"}"#).is_some());
        for wrong in [
            r#"["a"]"#,
            r#""a""#,
            "null",
            "7",
            "",
            r#"{"name":"a"} x"#,
            "\u{feff}{\"name\":\"a\"}",
            r#"{"name":"a","name":"b"}"#,
        ] {
            assert!(object::<Probe>(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused_where_nobody_reads_it_too() {
        for wrong in [&b"{\"name\":\"\xff\"}"[..], b"{\"name\":\"a\",\"other\":\"\xff\"}"] {
            assert!(object::<Probe>(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn null_is_a_value_and_not_an_absence() {
        assert!(object::<Probe>(br#"{"name":"a","alias":null}"#).is_none());
        let probe = object::<Probe>(br#"{"name":"a"}"#).unwrap();
        assert_eq!((probe.name.as_str(), probe.alias), ("a", None));
    }

    #[test]
    fn a_forbidden_member_is_refused_whatever_its_value() {
        for value in ["null", "\"\"", "\"AA\"", "{}"] {
            for name in ["d", "k"] {
                let json = format!(r#"{{"name":"a","{name}":{value}}}"#);
                assert!(object::<Probe>(json.as_bytes()).is_none(), "{json}");
            }
        }
    }

    #[test]
    fn an_instant_is_a_number_between_1970_and_2242() {
        let read = |text: &str| serde_json::from_str::<NumericDate>(text).ok().map(|date| date.0);
        assert_eq!(read("1700000000"), Some(1_700_000_000));
        assert_eq!(read("1700000000.9"), Some(1_700_000_000));
        assert_eq!(read("1.7e9"), Some(1_700_000_000));
        for wrong in [
            "-1",
            "-9223372036854775808",
            "9223372036854775807",
            "18446744073709551615",
            "1e308",
            "1e999",
            "1700000000000",
            "\"1700000000\"",
            "null",
            "true",
            "{}",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(serde_json::from_str::<WholeSeconds>("1700000000.0").is_err());
    }
}
