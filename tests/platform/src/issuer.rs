//! The token issuer: ES256 signing keys, their published set, and access tokens bound to a device.

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How many keys stay published; the oldest goes when a rotation would exceed it.
const PUBLISHED_KEYS_MAX: usize = 16;

/// Signs with the newest key; publishes all that were not dropped.
pub struct Issuer {
    /// The `iss` claim.
    pub name: String,
    random: ChaCha8Rng,
    /// Newest last; never empty.
    keys: Vec<Key>,
}

struct Key {
    id: String,
    signing: SigningKey,
    public_jwk: Value,
}

impl Issuer {
    /// Keys follow from `random`, so that a simulator restarted with its seed still verifies the
    /// tokens it issued before.
    pub fn new(name: String, mut random: ChaCha8Rng) -> Self {
        let keys = vec![Key::draw(&mut random)];
        Self { name, random, keys }
    }

    /// Starts signing with a new key and returns its id; `drop_old` unpublishes all others.
    pub fn rotate(&mut self, drop_old: bool) -> String {
        if drop_old {
            self.keys.clear();
        } else if self.keys.len() >= PUBLISHED_KEYS_MAX {
            self.keys.remove(0);
        }
        let key = Key::draw(&mut self.random);
        let id = key.id.clone();
        self.keys.push(key);
        id
    }

    /// The JWK set (RFC 7517), newest key first.
    pub fn jwks(&self) -> Value {
        let keys: Vec<&Value> = self.keys.iter().rev().map(|key| &key.public_jwk).collect();
        json!({ "keys": keys })
    }

    /// An access token (RFC 9068 header) over exactly these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let key = self.keys.last().expect("an issuer is made with a key and rotation adds one");
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.id });
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature: Signature = key.signing.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

impl Key {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        loop {
            let mut scalar = [0_u8; 32];
            random.fill_bytes(&mut scalar);
            // Zero and values from the group's order on are no keys; about one draw in 2^32.
            if let Ok(signing) = SigningKey::from_slice(&scalar) {
                return Self::of(signing);
            }
        }
    }

    fn of(signing: SigningKey) -> Self {
        let point = signing.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let mut public_jwk = json!({
            "kty": "EC",
            "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        });
        let id = thumbprint(&public_jwk).expect("the members were set just above");
        public_jwk["kid"] = json!(id);
        public_jwk["alg"] = json!("ES256");
        public_jwk["use"] = json!("sig");
        Self { id, signing, public_jwk }
    }
}

/// RFC 7638 thumbprint of a public EC or OKP key.
///
/// # Errors
/// When the key type is another, a required member is missing, or a private member is present.
pub fn thumbprint(jwk: &Value) -> anyhow::Result<String> {
    anyhow::ensure!(jwk.get("d").is_none(), "deviceJwk holds a private key (member d)");
    let member = |name: &str| {
        jwk[name].as_str().with_context(|| format!("deviceJwk lacks the text member {name}"))
    };
    // The members stand in lexical order, without white space, as the RFC demands.
    let canonical = match member("kty")? {
        "EC" => format!(
            r#"{{"crv":{},"kty":"EC","x":{},"y":{}}}"#,
            json!(member("crv")?),
            json!(member("x")?),
            json!(member("y")?)
        ),
        "OKP" => format!(
            r#"{{"crv":{},"kty":"OKP","x":{}}}"#,
            json!(member("crv")?),
            json!(member("x")?)
        ),
        other => anyhow::bail!("deviceJwk has kty {other}; EC and OKP are known"),
    };
    Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(canonical.as_bytes())))
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}
