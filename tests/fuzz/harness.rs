//! What a fuzzer feeds to the service, and what must hold of every answer: for `cargo fuzz` and for
//! the replay of its seeds among the integration tests.

use std::{
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use backoffice::{
    access::{
        Reason, Refusal,
        dpop::{
            self, Algorithms, Binding, Expected, KeyCache, NoncePolicy, ProofError, PublicBases,
            RequestPath, Window,
        },
        fence, idempotency_key,
        token::TokenError,
    },
    http::body,
    live::{Cursor, CursorKeys, cursor::EntryId},
    views::TenantKey,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use events::TenantId;
use garde::Validate;
use http::{HeaderMap, HeaderValue, Method};
use p256::ecdsa::{
    Signature, SigningKey, VerifyingKey,
    signature::{Signer, Verifier},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

/// Takes any bytes; panics when something does not hold.
pub type Target = fn(&[u8]);

/// Every target, by its name: those of its program and of the folder of its seeds.
pub const TARGETS: [(&str, Target); 8] = [
    ("jws", jws),
    ("proof", proof),
    ("htu", htu),
    ("challenge", challenge),
    ("idempotency_key", idempotency),
    ("cursor", cursor),
    ("body", json_body),
    ("tenant_key", tenant_key),
];

const NOW: i64 = 1_700_000_040;
const TOKEN: &str = "a.bound.token";

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_slice(&[0x42; 32]).expect("a scalar of the curve"));
static JWK: LazyLock<Value> = LazyLock::new(|| {
    let point = KEY.verifying_key().to_sec1_point(false);
    let (x, y) = point.as_bytes()[1..].split_at(32);
    json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
});
static JKT: LazyLock<String> = LazyLock::new(|| {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, JWK["x"], JWK["y"]);
    encode(Sha256::digest(canonical))
});
static ATH: LazyLock<String> = LazyLock::new(|| encode(Sha256::digest(TOKEN)));
static KEYS: LazyLock<KeyCache> = LazyLock::new(KeyCache::default);
static BASES: LazyLock<PublicBases> =
    LazyLock::new(|| PublicBases::parse(["https://api.example"]).expect("a base"));
static CURSORS: LazyLock<CursorKeys> =
    LazyLock::new(|| CursorKeys::new("c".repeat(32).into(), vec!["d".repeat(32).into()]));

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).expect("an instant")
}

fn verify(proof: &str) -> Result<dpop::Verified, ProofError> {
    let expected = Expected {
        method: &Method::POST,
        path: &RequestPath::parse("/a/b").expect("a path"),
        bases: &BASES,
        binding: Binding::Token { ath: &ATH, jkt: &JKT },
        nonces: NoncePolicy::Off,
        algorithms: Algorithms::Both,
        window: Window::default(),
        now: now(),
    };
    dpop::verify(proof, &expected, &KEYS)
}

/// Any text for a proof: whoever is said to have signed it has, by another implementation.
pub fn jws(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = verify(text);
    let _ = dpop::signer(text, Algorithms::Both, &KEYS);
    if dpop::signer(text, Algorithms::Es256, &KEYS).is_some() {
        assert!(is_signed(text), "nobody signed {text}");
    }
}

/// Whether the key in the header verifies the signature, read without any strictness.
fn is_signed(text: &str) -> bool {
    let read = || {
        let (signed, signature) = text.rsplit_once('.')?;
        let header: Value = serde_json::from_slice(&decode(signed.split('.').next()?)?).ok()?;
        let coordinate = |name: &str| decode(header["jwk"][name].as_str()?);
        let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
        let key = VerifyingKey::from_sec1_bytes(&point).ok()?;
        let signature = Signature::from_slice(&decode(signature)?).ok()?;
        key.verify(signed.as_bytes(), &signature).ok()
    };
    read().is_some()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A header and claims, a line each, in which `@JWK@`, `@ATH@` and `@NOW@` stand for what a good
/// proof has. They are signed, so that everything behind the signature is reached.
pub fn proof(data: &[u8]) {
    let Some((header, claims)) = written(data) else { return };
    let Ok(verified) = verify(&signed(&header, &claims)) else { return };

    let header: Value = serde_json::from_str(&header).expect("what is accepted is JSON");
    let claims: Value = serde_json::from_str(&claims).expect("what is accepted is JSON");
    assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
    assert!(header.get("crit").is_none() && header["jwk"].get("d").is_none());
    for name in ["kty", "crv", "x", "y"] {
        assert_eq!(header["jwk"][name], JWK[name]);
    }
    assert_eq!((&claims["htm"], &claims["ath"]), (&json!("POST"), &json!(*ATH)));
    let iat = claims["iat"].as_f64().expect("a number");
    assert!((-61.0..=16.0).contains(&(iat - 1_700_000_040.0)), "{iat}");
    assert_eq!(claims["jti"], verified.jti);
    assert!(!verified.jti.is_empty() && verified.jti.len() <= 256);
    assert_eq!(verified.jkt, *JKT);
    assert_same_origin(claims["htu"].as_str().expect("a text"));
}

/// Whether the proof that [`proof`] makes of this is accepted.
pub fn is_good_proof(data: &[u8]) -> bool {
    written(data).is_some_and(|(header, claims)| verify(&signed(&header, &claims)).is_ok())
}

fn written(data: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(data)
        .ok()?
        .replace("@JWK@", &JWK.to_string())
        .replace("@ATH@", &ATH)
        .replace("@NOW@", &NOW.to_string());
    let (header, claims) = text.split_once('\n')?;
    Some((header.to_owned(), claims.to_owned()))
}

fn signed(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature: Signature = KEY.sign(signed.as_bytes());
    format!("{signed}.{}", encode(signature.to_bytes()))
}

/// An `htu` and the raw path of a request, a line each: what names the request is an address at
/// which browsers find us too.
pub fn htu(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (htu, path) = text.split_once('\n').unwrap_or((text, "/a/b"));
    let Some(path) = RequestPath::parse(path) else { return };
    if BASES.names(htu, &path) {
        assert_same_origin(htu);
    }
}

fn assert_same_origin(htu: &str) {
    let url = Url::parse(htu).unwrap_or_else(|error| panic!("{error}: {htu:?}"));
    let origin = (url.scheme(), url.host_str(), url.port_or_known_default());
    assert_eq!(origin, ("https", Some("api.example"), Some(443)), "{htu:?}");
    assert!(url.username().is_empty() && url.password().is_none(), "{htu:?}");
}

/// Any refusal: its challenge is one of a scheme and quoted parameters (RFC 9110 §11.6.1).
pub fn challenge(data: &[u8]) {
    let [reason, algorithms, ..] = data else { return };
    let algorithms =
        [Algorithms::Es256, Algorithms::EdDsa, Algorithms::Both][usize::from(*algorithms) % 3];
    let mut reasons = reasons();
    let reason = reasons.swap_remove(usize::from(*reason) % reasons.len());
    let Some(challenge) = reason.challenge(algorithms) else {
        assert_ne!(reason.status(), 401, "{reason:?}");
        return;
    };
    assert!(HeaderValue::from_str(&challenge).is_ok());
    let parameters = challenge.strip_prefix("DPoP ").expect("the scheme");
    let mut names = Vec::new();
    for parameter in parameters.split(", ") {
        let (name, value) = parameter.split_once('=').expect("a name and a value");
        let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let inner = inner.expect("a quoted value");
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        assert!(inner.bytes().all(is_plain), "{challenge}");
        names.push(name);
    }
    assert_eq!(names.last(), Some(&"algs"), "{challenge}");
    assert!(challenge.ends_with(&format!(r#"algs="{}""#, algorithms.names())), "{challenge}");
    assert!(Refusal::from(reason).challenge().is_some());
}

fn reasons() -> Vec<Reason> {
    vec![
        Reason::TokenMissing,
        Reason::Malformed,
        Reason::BearerRefused,
        Reason::TokenInvalid(TokenError::Signature),
        Reason::TokenExpired,
        Reason::ProofMissing,
        Reason::ProofInvalid(ProofError::Malformed),
        Reason::ProofInvalid(ProofError::Uri),
        Reason::KeyMismatch,
        Reason::NonceRequired,
        Reason::ProofReplayed,
        Reason::SessionRevoked,
        Reason::HeaderInvalid("X-Device-Id"),
        Reason::ScopeDenied,
        Reason::NotFound,
        Reason::Unavailable("session tier"),
    ]
}

/// One or two values of the key's two headers, a line each: what is read is the ULID as written,
/// made within a day.
pub fn idempotency(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let lines = data.split(|byte| *byte == b'\n').take(3);
    for (line, name) in lines.zip(["x-idempotency-key", "idempotency-key", "x-idempotency-key"]) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(name, value);
    }
    let Ok(key) = idempotency_key::parse(&headers, now()) else { return };
    for value in headers.values() {
        let written = value.to_str().expect("what is accepted is ASCII").trim_matches([' ', '\t']);
        assert_eq!(written, key.to_string());
    }
    let made_at = DateTime::<Utc>::from(UNIX_EPOCH + Duration::from_millis(key.timestamp_ms()));
    let age = (now() - made_at).num_seconds();
    assert!((-600..=86_400).contains(&age), "{age}");
}

/// A text for a cursor, or the numbers of one: nothing but what was sealed here is opened.
pub fn cursor(data: &[u8]) {
    let (tenant, other) = (tenant('Y'), tenant('Z'));
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(cursor) = CURSORS.decode(&tenant, text)
    {
        assert_eq!(CURSORS.encode(&tenant, &cursor), text, "it was not sealed here");
    }
    let Some((numbers, rest)) = data.split_first_chunk::<28>() else { return };
    let number = |at: usize| i64::from_be_bytes(std::array::from_fn(|i| numbers[at + i]));
    let cursor = Cursor {
        epoch: number(0),
        ledger: EntryId { position: number(8), number: u32::from(numbers[24]) },
        inbox: EntryId { position: number(16), number: u32::from(numbers[25]) },
        hints: (numbers[26] % 2 == 1)
            .then(|| EntryId { position: number(8), number: u32::from(numbers[27]) }),
    };
    let sealed = CURSORS.encode(&tenant, &cursor);
    assert_eq!(CURSORS.decode(&tenant, &sealed), Ok(cursor));
    assert!(CURSORS.decode(&other, &sealed).is_err(), "carried to another tenant");
    if let [at, letter, ..] = rest {
        let at = usize::from(*at) % sealed.len();
        let letter = char::from(*letter).to_string();
        let mut changed = sealed.clone();
        changed.replace_range(at..=at, &letter);
        assert!(changed == sealed || CURSORS.decode(&tenant, &changed).is_err(), "{changed}");
    }
}

fn tenant(last: char) -> TenantId {
    format!("tnt_01HZX3V7Q8M4N5P6R7S8T9W0X{last}").parse().expect("a tenant's id")
}

/// A body as the routes read theirs.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Document {
    #[garde(length(max = 8))]
    text: String,
    #[garde(range(max = 9))]
    #[serde(default)]
    number: u8,
    #[garde(skip)]
    #[serde(default)]
    list: Vec<Option<bool>>,
}

/// Any body: what is read is an object that any reader reads so.
pub fn json_body(data: &[u8]) {
    let Ok(document) = body::parse::<Document>(data) else { return };
    let value: Value = serde_json::from_slice(data).expect("what is accepted is JSON");
    assert_eq!(value["text"], document.text);
    assert!(document.text.len() <= 8 && !document.text.contains('\0') && document.number <= 9);
    assert_eq!(value.get("number").map_or(0, |number| number.as_u64().expect("a number")), {
        u64::from(document.number)
    });
    assert_eq!(value.get("list").map_or(0, |list| list.as_array().expect("a list").len()), {
        document.list.len()
    });
}

/// A tenant and a part of a key, a line each: Redis keeps every key of a tenant under its own tag.
pub fn tenant_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (id, part) = text.split_once('\n').unwrap_or((text, text));
    let Ok(tenant) = id.parse::<TenantId>() else { return };
    let letters = id.strip_prefix("tnt_").expect("the prefix");
    let is_letter =
        |byte: u8| byte.is_ascii_digit() || (byte.is_ascii_uppercase() && !b"ILOU".contains(&byte));
    assert!(letters.len() == 26 && letters.bytes().all(is_letter), "{id:?}");
    let key = TenantKey::new(&tenant, "fence").then("session").then(part);
    for key in [key.as_str().to_owned(), fence::session_key(&tenant, part)] {
        assert_eq!(key, format!("{{{id}}}:fence:session:{part}"));
        // The hash tag by Redis's rule: between the first brace and the first that closes it.
        let (_, behind) = key.split_once('{').expect("a tag");
        assert_eq!(behind.split_once('}').expect("its end").0, id);
    }
}
