//! What an event's leaf in its log's tree is made of: the proof covers every stored byte of it.

use aws_lc_rs::digest;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The first byte of what is hashed to a leaf (RFC 6962 §2.1), so that no inner node can pass for
/// one.
const LEAF_PREFIX: u8 = 0x00;
/// Where the time stands in the canonical text. No other member can contain this: its quotes would
/// be escaped.
const TIME_MEMBER: &str = "\"recordedAt\":\"";

/// The leaf's members apart from its time. Canonical JSON (RFC 8785); hashes are lower-case hex
/// SHA-256.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leaf<'a> {
    /// Version of this layout.
    pub v: u32,
    pub tenant: &'a str,
    pub ledger: &'a str,
    pub stream_id: &'a str,
    pub stream_version: i64,
    pub event_id: &'a str,
    pub kind: &'a str,
    pub schema_version: u32,
    pub body_hash: String,
    /// `null` for an event without personal fields.
    pub ciphertext_hash: Option<String>,
    pub metadata_hash: String,
    /// RFC 3339, microseconds, `Z`. Empty until the database has given it.
    pub recorded_at: String,
}

/// A leaf before its time is known: the text before it and the text after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Halves {
    pub start: Vec<u8>,
    pub end: Vec<u8>,
}

impl Leaf<'_> {
    /// Splits the leaf where the database, under the head, will write the time.
    pub fn halves(&self) -> Result<Halves, serde_json::Error> {
        let text = serde_json_canonicalizer::to_string(&Leaf {
            recorded_at: String::new(),
            ..self.clone()
        })?;
        let at = text
            .find(TIME_MEMBER)
            .map(|start| start + TIME_MEMBER.len())
            .expect("a leaf has its time among its members");
        let (start, end) = text.split_at(at);
        Ok(Halves { start: start.as_bytes().to_vec(), end: end.as_bytes().to_vec() })
    }

    /// The leaf hash of RFC 6962: SHA-256 over `0x00` and the canonical text.
    pub fn hash(&self) -> Result<[u8; 32], serde_json::Error> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&[LEAF_PREFIX]);
        context.update(&serde_json_canonicalizer::to_vec(self)?);
        Ok(bytes_of(&context.finish()))
    }
}

/// Lower-case hex of the SHA-256 of `bytes`.
pub(super) fn hex_sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// The time as a leaf has it.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn bytes_of(digest: &digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Leaf<'static> {
        Leaf {
            v: 1,
            tenant: "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY",
            ledger: "alert-ack",
            stream_id: "ali:a1",
            stream_version: 1,
            event_id: "evt_01HZX3V7Q8M4N5P6R7S8T9W0XY",
            kind: "melmastoon.bff.backoffice.alert.acknowledged.v1",
            schema_version: 1,
            body_hash: hex_sha256(b"{}"),
            ciphertext_hash: None,
            metadata_hash: hex_sha256(b"{}"),
            recorded_at: time("2026-11-21T10:00:00.000001Z".parse().unwrap()),
        }
    }

    #[test]
    fn the_halves_with_the_time_between_them_are_the_canonical_leaf() {
        let leaf = leaf();
        let Halves { start, end } = leaf.halves().unwrap();
        let joined = [start.as_slice(), leaf.recorded_at.as_bytes(), end.as_slice()].concat();
        assert_eq!(joined, serde_json_canonicalizer::to_vec(&leaf).unwrap());
    }

    /// Auditors recompute leaves with other tools: both values were made with one (Python's
    /// `hashlib`).
    #[test]
    fn the_leaf_of_a_known_event_never_changes() {
        let empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let text = format!(
            concat!(
                r#"{{"bodyHash":"{empty}","ciphertextHash":null,"#,
                r#""eventId":"evt_01HZX3V7Q8M4N5P6R7S8T9W0XY","#,
                r#""kind":"melmastoon.bff.backoffice.alert.acknowledged.v1","ledger":"alert-ack","#,
                r#""metadataHash":"{empty}","recordedAt":"2026-11-21T10:00:00.000001Z","#,
                r#""schemaVersion":1,"streamId":"ali:a1","streamVersion":1,"#,
                r#""tenant":"tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY","v":1}}"#,
            ),
            empty = empty
        );
        assert_eq!(serde_json_canonicalizer::to_string(&leaf()).unwrap(), text);
        assert_eq!(
            hex(&leaf().hash().unwrap()),
            "40873874ec0c758443a8a3030885057bc030600a84f19c36305462cec7d2bac8"
        );
    }

    #[test]
    fn an_id_that_looks_like_the_time_does_not_move_the_split() {
        let leaf = Leaf { stream_id: "\"recordedAt\":\"", ..leaf() };
        let Halves { start, .. } = leaf.halves().unwrap();
        assert!(String::from_utf8(start).unwrap().ends_with("\",\"recordedAt\":\""));
    }
}
