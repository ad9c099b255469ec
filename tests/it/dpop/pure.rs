//! Holds cases against the verifier itself, at a fixed time.

use backoffice::access::{
    dpop::{
        self, Algorithms, Binding, Expected, KeyCache, NoncePolicy, ProofError, PublicBases,
        RequestPath, Verified, Window,
    },
    nonce::Nonces,
};
use chrono::{DateTime, Utc};
use http::Method;

use super::case::{Case, Subject};
use crate::access_keys::TestKey;

pub const NOW: i64 = 1_700_000_040;
pub const TENANT: &str = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY";

/// The verifier, as the gate sets it up, and the request it is asked about.
pub struct Verifier {
    pub subject: Subject,
    pub bases: PublicBases,
    pub nonces: Option<Nonces>,
    pub algorithms: Algorithms,
    pub now: DateTime<Utc>,
    pub keys: KeyCache,
}

impl Verifier {
    pub fn new() -> Self {
        let base = "https://api.example".to_owned();
        Self {
            bases: PublicBases::parse([base.as_str()]).unwrap(),
            subject: Subject {
                key: TestKey::generate(),
                token: "a.bound.token".to_owned(),
                method: Method::POST,
                base,
                path: "/a/b/alerts".to_owned(),
                now: NOW,
                nonce: None,
                jti: "e1j3V_bKic8-LAEB".to_owned(),
            },
            nonces: None,
            algorithms: Algorithms::default(),
            now: DateTime::from_timestamp(NOW, 0).unwrap(),
            keys: KeyCache::default(),
        }
    }

    /// The answer for a token that is bound to the subject's key.
    pub fn verify(&self, proof: &str) -> Result<Verified, ProofError> {
        self.verify_for(proof, &self.subject.key.jkt())
    }

    /// The answer for a token that is bound to the key of this thumbprint.
    pub fn verify_for(&self, proof: &str, jkt: &str) -> Result<Verified, ProofError> {
        self.verify_bound(proof, Binding::Token { ath: &self.subject.ath(), jkt })
    }

    pub fn verify_bound(&self, proof: &str, binding: Binding<'_>) -> Result<Verified, ProofError> {
        let nonces = match &self.nonces {
            Some(nonces) => NoncePolicy::Required { nonces, tenant: TENANT },
            None => NoncePolicy::Off,
        };
        let expected = Expected {
            method: &self.subject.method,
            path: &RequestPath::parse(&self.subject.path).unwrap(),
            bases: &self.bases,
            binding,
            nonces,
            algorithms: self.algorithms,
            window: Window::default(),
            now: self.now,
        };
        dpop::verify(proof, &expected, &self.keys)
    }
}

/// Holds each case against the verifier, with a key it does not know and with one it knows.
pub fn hold(cases: &[Case]) {
    let verifier = Verifier::new();
    for run in ["unknown key", "known key"] {
        for case in cases {
            let proof = (case.proof)(&verifier.subject);
            let outcome = verifier.verify(&proof);
            let name = case.name();
            match case.expected {
                Ok(()) => {
                    let outcome = outcome.unwrap_or_else(|error| {
                        panic!("{name}, {run}: {error:?} for {proof}");
                    });
                    assert_eq!(outcome.jkt, verifier.subject.key.jkt(), "{name}");
                    assert_eq!(outcome.nonce, None, "{name}");
                }
                Err(error) => assert_eq!(outcome, Err(error), "{name}, {run}: {proof}"),
            }
        }
        let good = verifier.verify(&verifier.subject.good());
        assert!(good.is_ok(), "a good proof: {good:?}");
    }
}
