//! The compact form of a JWS, taken apart strictly (RFC 7515 §3.1): three parts, canonical
//! base64url.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A JWS taken apart; nothing of it is verified yet.
pub struct Compact<'a> {
    /// `header.payload` as it was sent: the bytes the signature is over.
    pub signed: &'a [u8],
    /// JSON, by its sender's word.
    pub header: Vec<u8>,
    /// JSON, by its sender's word.
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// Takes `text` apart. `None` unless it is exactly three non-empty parts of unpadded base64url
/// whose last bits are zero, so that each JWS has one spelling.
pub fn split(text: &str) -> Option<Compact<'_>> {
    let (signed, signature) = text.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    if header.is_empty() || payload.is_empty() || signature.is_empty() || payload.contains('.') {
        return None;
    }
    Some(Compact {
        signed: signed.as_bytes(),
        header: decode(header)?,
        payload: decode(payload)?,
        signature: decode(signature)?,
    })
}

/// Unpadded base64url, strict.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Unpadded base64url.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jws_has_exactly_three_canonical_parts() {
        assert!(split("e30.e30.AA").is_some());
        for wrong in [
            "",
            ".",
            "..",
            "e30",
            "e30.e30",
            "e30.e30.",
            ".e30.e30",
            "e30..AA",
            "e30.e30.AA.AA",
            "e30.e30.AA.AA.AA",
            "e30=.e30.AA",
            "e30.e30.AB",
            "e3+.e30.AA",
            "e30.e3/.AA",
            "e30\n.e30.AA",
            "{}",
        ] {
            assert!(split(wrong).is_none(), "{wrong:?}");
        }
    }
}
