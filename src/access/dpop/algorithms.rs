//! The signature algorithms of proofs: which there are, and which are switched on.

use std::str::FromStr;

/// A signature algorithm of proofs, by its name in JOSE.
///
/// `Ed25519`, the younger name for what `EdDSA` means here (RFC 9864), is none: a proof has one
/// spelling, the one that challenges list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4).
    Es256,
    /// Ed25519 (RFC 8037 §3.1).
    EdDsa,
}

impl Algorithm {
    /// `None` for every other name, in any other case too.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The algorithms that proofs may be signed with; there is always one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithms {
    #[default]
    Es256,
    EdDsa,
    Both,
}

/// The text is not a list of algorithms that proofs can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ES256, EdDSA or both, comma-separated")]
pub struct UnknownAlgorithm;

impl Algorithms {
    pub const fn allow(self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Both, _) | (Self::Es256, Algorithm::Es256) | (Self::EdDsa, Algorithm::EdDsa)
        )
    }

    /// As challenges list them: separated by spaces (RFC 9449 §5.1).
    pub const fn names(self) -> &'static str {
        match self {
            Self::Es256 => Algorithm::Es256.name(),
            Self::EdDsa => Algorithm::EdDsa.name(),
            Self::Both => "ES256 EdDSA",
        }
    }
}

impl FromStr for Algorithms {
    type Err = UnknownAlgorithm;

    fn from_str(list: &str) -> Result<Self, UnknownAlgorithm> {
        let mut chosen = None;
        for name in list.split(',') {
            let one = match Algorithm::named(name.trim()).ok_or(UnknownAlgorithm)? {
                Algorithm::Es256 => Self::Es256,
                Algorithm::EdDsa => Self::EdDsa,
            };
            chosen =
                Some(chosen.map_or(one, |so_far| if so_far == one { one } else { Self::Both }));
        }
        chosen.ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dp_ed_08_a_list_names_what_is_enabled_and_nothing_else() {
        for (list, names) in [
            ("ES256", Some("ES256")),
            ("EdDSA", Some("EdDSA")),
            ("ES256,EdDSA", Some("ES256 EdDSA")),
            ("EdDSA, ES256", Some("ES256 EdDSA")),
            ("ES256,ES256", Some("ES256")),
            ("ES256,EdDSA,ES256", Some("ES256 EdDSA")),
            ("", None),
            ("ES256,", None),
            ("es256", None),
            ("Ed25519", None),
            ("none", None),
        ] {
            let read = list.parse::<Algorithms>().ok();
            assert_eq!(read.map(Algorithms::names), names, "DP-ED-08 {list:?}");
            for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
                let is_named = names.is_some_and(|names| names.contains(algorithm.name()));
                assert_eq!(read.is_some_and(|all| all.allow(algorithm)), is_named, "{list:?}");
            }
        }
    }
}
