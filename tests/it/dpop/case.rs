//! A case of the list: how its proof is made and what becomes of it.

use backoffice::access::dpop::ProofError;
use http::Method;
use serde_json::{Value, json};

use crate::access_keys::{TestKey, ath, encode, with};

/// A request that proofs are made for, and what a good one needs.
#[derive(Clone)]
pub struct Subject {
    pub key: TestKey,
    pub token: String,
    pub method: Method,
    /// `https://api.example`, a public base of the service.
    pub base: String,
    /// The path of the request.
    pub path: String,
    /// Unix seconds.
    pub now: i64,
    pub nonce: Option<String>,
    pub jti: String,
}

impl Subject {
    pub fn htu(&self) -> String {
        format!("{}{}", self.base, self.path)
    }

    pub fn ath(&self) -> String {
        ath(&self.token)
    }

    pub fn header(&self) -> Value {
        self.key.proof_header()
    }

    pub fn jwk(&self) -> Value {
        self.key.jwk()
    }

    pub fn claims(&self) -> Value {
        let mut claims = json!({
            "jti": self.jti,
            "htm": self.method.as_str(),
            "htu": self.htu(),
            "iat": self.now,
            "ath": self.ath(),
        });
        if let Some(nonce) = &self.nonce {
            claims["nonce"] = json!(nonce);
        }
        claims
    }

    /// A good proof.
    pub fn good(&self) -> String {
        self.claiming(&self.claims())
    }

    /// These claims under a good header.
    pub fn claiming(&self, claims: &Value) -> String {
        self.key.sign(&self.header(), claims)
    }

    /// A good proof but for one claim.
    pub fn claim(&self, name: &str, value: Value) -> String {
        self.claiming(&with(self.claims(), name, value))
    }

    /// Good claims under this header.
    pub fn under(&self, header: &Value) -> String {
        self.key.sign(header, &self.claims())
    }

    /// A good proof but for one member of its header.
    pub fn member(&self, name: &str, value: Value) -> String {
        self.under(&with(self.header(), name, value))
    }

    /// A good proof but for its key, which is this.
    pub fn with_jwk(&self, jwk: Value) -> String {
        self.member("jwk", jwk)
    }

    /// A good proof but for one member of its key.
    pub fn jwk_member(&self, name: &str, value: Value) -> String {
        self.with_jwk(with(self.jwk(), name, value))
    }

    /// Exactly these bytes for a header, over good claims.
    pub fn raw_header(&self, header: impl AsRef<[u8]>) -> String {
        self.key.sign_bytes(header.as_ref(), self.claims().to_string().as_bytes())
    }

    /// Exactly these bytes for claims, under a good header.
    pub fn raw_claims(&self, claims: impl AsRef<[u8]>) -> String {
        self.key.sign_bytes(self.header().to_string().as_bytes(), claims.as_ref())
    }

    /// The header, payload and signature of a good proof.
    pub fn parts(&self) -> [String; 3] {
        let good = self.good();
        let mut parts = good.split('.').map(str::to_owned);
        std::array::from_fn(|_| parts.next().expect("three parts"))
    }

    /// What a good proof signs, with another signature.
    pub fn signed_with(&self, signature: impl AsRef<[u8]>) -> String {
        let [header, payload, _] = self.parts();
        format!("{header}.{payload}.{}", encode(signature))
    }
}

/// One case.
pub struct Case {
    /// `DP-JOSE-07`.
    pub id: &'static str,
    /// What is special about it.
    pub what: String,
    pub proof: Box<dyn Fn(&Subject) -> String>,
    pub expected: Result<(), ProofError>,
    /// Why it is held against the pure function alone.
    pub pure_only: Option<&'static str>,
}

impl Case {
    pub fn name(&self) -> String {
        format!("{} ({})", self.id, self.what)
    }

    /// The clock of the running service cannot be set to the second.
    pub fn at_an_edge(self) -> Self {
        Self { pure_only: Some("an edge of the clock"), ..self }
    }

    /// So long that it is refused unread.
    pub fn too_long(self) -> Self {
        Self { expected: Err(ProofError::Malformed), ..self }
    }

    /// HTTP cannot carry it in a header.
    pub fn unsendable(self) -> Self {
        Self { pure_only: Some("no value of a header"), ..self }
    }
}

pub fn good(
    id: &'static str,
    what: impl Into<String>,
    proof: impl Fn(&Subject) -> String + 'static,
) -> Case {
    Case { id, what: what.into(), proof: Box::new(proof), expected: Ok(()), pure_only: None }
}

pub fn bad(
    id: &'static str,
    what: impl Into<String>,
    error: ProofError,
    proof: impl Fn(&Subject) -> String + 'static,
) -> Case {
    Case { expected: Err(error), ..good(id, what, proof) }
}

/// The cases of these numbers of a section; fails when a number has none.
pub fn numbered(cases: Vec<Case>, section: &str, numbers: &[u8]) -> Vec<Case> {
    let ids: Vec<String> = numbers.iter().map(|number| format!("{section}-{number:02}")).collect();
    for id in &ids {
        assert!(cases.iter().any(|case| case.id == id), "no case of {id}");
    }
    cases.into_iter().filter(|case| ids.iter().any(|id| id == case.id)).collect()
}
