//! DP-ED-01…08: proofs of Ed25519 keys, where they are switched on and where they are not.

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use backoffice::access::dpop::{Algorithms, KeyCache, ProofError, PublicKeyBytes, Verified};
use curve25519_dalek::{EdwardsPoint, Scalar, constants, edwards::CompressedEdwardsY};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::{
    over_http::{Bench, Device},
    pure::Verifier,
};
use crate::access_keys::{TestKey, decode, encode, with, without};

/// A device's key as iam's own devices have it.
struct EdKey(Ed25519KeyPair);

impl EdKey {
    fn generate() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    /// The key of RFC 8037 appendix A.
    fn of_rfc_8037() -> Self {
        let seed = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        let public = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        Self(Ed25519KeyPair::from_seed_and_public_key(&seed, &public).unwrap())
    }

    fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(self.0.public_key()) })
    }

    fn jkt(&self) -> String {
        let x = encode(self.0.public_key());
        encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.jwk() })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        signed_by(header, claims, |bytes| self.0.sign(bytes).as_ref().to_vec())
    }
}

fn signed_by(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", encode(signature))
}

fn verifier(algorithms: &str) -> Verifier {
    Verifier { algorithms: algorithms.parse().unwrap(), ..Verifier::new() }
}

fn answer(verifier: &Verifier, key: &EdKey, header: &Value) -> Result<Verified, ProofError> {
    let proof = key.sign(header, &verifier.subject.claims());
    verifier.verify_for(&proof, &key.jkt())
}

/// `EdDSA` is the one name for it: what challenges list, and nothing else.
#[test]
fn dp_ed_01_an_ed25519_proof_is_good_where_eddsa_is_enabled() {
    let key = EdKey::generate();
    for (algorithms, expected) in [("ES256,EdDSA", true), ("EdDSA", true), ("ES256", false)] {
        let verifier = verifier(algorithms);
        let good = answer(&verifier, &key, &key.header());
        assert_eq!(good.is_ok(), expected, "DP-ED-01: {algorithms}: {good:?}");
        let younger_name = with(key.header(), "alg", json!("Ed25519"));
        let refused = answer(&verifier, &key, &younger_name);
        assert_eq!(refused, Err(ProofError::Header), "DP-ED-01: Ed25519 with {algorithms}");
        let es256 = verifier.verify(&verifier.subject.good());
        assert_eq!(es256.is_ok(), algorithms.contains("ES256"), "DP-ED-01: {algorithms}");
    }
}

#[test]
fn dp_ed_02_03_05_06_a_key_is_exactly_a_public_ed25519_key() {
    let verifier = verifier("ES256,EdDSA");
    let key = EdKey::generate();
    let x = key.0.public_key().as_ref().to_vec();
    let set = |name: &str, value: Value| with(key.jwk(), name, value);
    let (missing, wrong) = (ProofError::Header, ProofError::Key);
    for (case, jwk, error) in [
        ("DP-ED-02: 31 bytes", set("x", json!(encode(&x[1..]))), wrong),
        ("DP-ED-02: 33 bytes", set("x", json!(encode([&x[..], &[0]].concat()))), wrong),
        ("DP-ED-02: padded", set("x", json!(format!("{}=", encode(&x)))), wrong),
        ("DP-ED-02: empty", set("x", json!("")), wrong),
        ("DP-ED-02: no x", without(key.jwk(), "x"), missing),
        ("DP-ED-02: y", set("y", json!(encode(&x))), wrong),
        ("DP-ED-02: y null", set("y", Value::Null), missing),
        ("DP-ED-02: y empty", set("y", json!("")), wrong),
        ("DP-ED-02: Ed448", set("crv", json!("Ed448")), wrong),
        ("DP-ED-02: X25519", set("crv", json!("X25519")), wrong),
        ("DP-ED-02: ed25519", set("crv", json!("ed25519")), wrong),
        ("DP-ED-02: no crv", without(key.jwk(), "crv"), missing),
        ("DP-ED-02: alg Ed25519", set("alg", json!("Ed25519")), wrong),
        ("DP-ED-02: use enc", set("use", json!("enc")), wrong),
        ("DP-ED-03: EC", set("kty", json!("EC")), wrong),
        ("DP-ED-03: EC with y", with(set("kty", json!("EC")), "y", json!(encode(&x))), wrong),
        ("DP-ED-05: d", set("d", json!(encode([7; 32]))), missing),
        ("DP-ED-05: d null", set("d", Value::Null), missing),
        ("DP-ED-05: d empty", set("d", json!("")), missing),
        ("DP-ED-06: an EC key", verifier.subject.jwk(), wrong),
    ] {
        let refused = answer(&verifier, &key, &with(key.header(), "jwk", jwk));
        assert_eq!(refused, Err(error), "{case}");
    }
    for (name, value) in [("alg", json!("EdDSA")), ("use", json!("sig")), ("kid", json!("k"))] {
        let good = answer(&verifier, &key, &with(key.header(), "jwk", set(name, value)));
        assert!(good.is_ok(), "DP-ED-02: {name}: {good:?}");
    }
    let es256 = with(key.header(), "alg", json!("ES256"));
    assert_eq!(answer(&verifier, &key, &es256), Err(ProofError::Key), "DP-ED-06");
    // In the settings where the other algorithm is off, too.
    for algorithms in ["ES256", "EdDSA"] {
        let verifier = self::verifier(algorithms);
        let ec = with(key.header(), "jwk", verifier.subject.jwk());
        assert!(answer(&verifier, &key, &ec).is_err(), "DP-ED-06: {algorithms}");
        assert!(answer(&verifier, &key, &es256).is_err(), "DP-ED-06: {algorithms}");
        let curve = verifier.subject.jwk_member("crv", json!("Ed25519"));
        assert!(verifier.verify(&curve).is_err(), "DP-ED-03: {algorithms}");
    }
}

/// The identity, the points of order 2, 4 and 8, and every encoding of them that is not canonical.
fn small_orders() -> Vec<[u8; 32]> {
    let mut encodings: Vec<[u8; 32]> =
        constants::EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    let mut largest = [0xff; 32];
    largest[31] = 0x7f;
    // y is p, p + 1: the y of 0 and 1.
    for low in [0xed, 0xee] {
        encodings.push(std::array::from_fn(|at| if at == 0 { low } else { largest[at] }));
    }
    // The other sign of each, among them −0.
    let signed: Vec<[u8; 32]> = encodings
        .iter()
        .map(|encoding| std::array::from_fn(|at| encoding[at] ^ if at == 31 { 0x80 } else { 0 }))
        .collect();
    encodings.extend(signed);
    encodings.sort_unstable();
    encodings.dedup();
    encodings
}

/// A signature that fits every message for which the hash makes the key vanish: R is s·B.
fn forged(nonce: u8) -> Vec<u8> {
    let s = Scalar::from(nonce);
    [EdwardsPoint::mul_base(&s).compress().to_bytes(), s.to_bytes()].concat()
}

#[test]
fn dp_ed_04_no_key_of_small_order_has_a_good_proof() {
    let verifier = verifier("EdDSA");
    let encodings = small_orders();
    assert_eq!(encodings.len(), 14, "eight points, two of them in two spellings and two in four");
    let mut forgeries = 0;
    for encoding in encodings {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(encoding) });
        let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk });
        for nonce in 1..64 {
            let claims = with(verifier.subject.claims(), "jti", json!(format!("j{nonce}")));
            let signed = |bytes: &[u8]| {
                let raw = UnparsedPublicKey::new(&signature::ED25519, encoding);
                (raw.verify(bytes, &forged(nonce)).is_ok(), forged(nonce))
            };
            let proof = signed_by(&header, &claims, |bytes| signed(bytes).1);
            let (message, _) = proof.rsplit_once('.').unwrap();
            forgeries += usize::from(signed(message.as_bytes()).0);
            let refused = verifier.verify(&proof);
            assert_eq!(refused, Err(ProofError::Signature), "DP-ED-04: {encoding:02x?}");
        }
    }
    assert!(forgeries > 63, "without the check of the key {forgeries} would have been good");
}

/// A signature under the public key `encoded`, by whoever has the scalar of its prime-order part.
fn sign_as(
    encoded: &[u8; 32],
    scalar: &Scalar,
    r: &Scalar,
    big_r: [u8; 32],
    bytes: &[u8],
) -> Vec<u8> {
    let hash: [u8; 64] = Sha512::new()
        .chain_update(big_r)
        .chain_update(encoded)
        .chain_update(bytes)
        .finalize()
        .into();
    let s = r + Scalar::from_bytes_mod_order_wide(&hash) * scalar;
    [big_r, s.to_bytes()].concat()
}

#[test]
fn dp_ed_04_a_key_outside_the_prime_order_group_has_no_good_proof() {
    let scalar = Scalar::from_bytes_mod_order([0x5a; 32]);
    let mixed = EdwardsPoint::mul_base(&scalar) + constants::EIGHT_TORSION[1];
    let encoded = mixed.compress().to_bytes();
    let r = Scalar::from_bytes_mod_order([0x3c; 32]);
    let big_r = EdwardsPoint::mul_base(&r).compress().to_bytes();
    let keys = KeyCache::default();
    let mut taken_by_others = 0;
    for number in 0..100_u32 {
        let message = number.to_be_bytes();
        let signature = sign_as(&encoded, &scalar, &r, big_r, &message);
        let raw = UnparsedPublicKey::new(&signature::ED25519, encoded);
        taken_by_others += u32::from(raw.verify(&message, &signature).is_ok());
        let key = keys.verifying_key(&PublicKeyBytes::Ed25519(encoded), &message, &signature);
        assert!(key.is_none(), "DP-ED-04: message {number}");
    }
    assert!(taken_by_others > 0, "without the check of the key one in eight would be good");
}

#[test]
fn dp_ed_04_a_point_spelt_otherwise_is_no_key_and_no_r() {
    let keys = KeyCache::default();
    // y is p + 3, the least y above 1 that is on the curve.
    let non_canonical: [u8; 32] = (2..19_u8)
        .map(|more| {
            let mut encoded = [0xff; 32];
            (encoded[0], encoded[31]) = (0xed + more, 0x7f);
            encoded
        })
        .find(|encoded| CompressedEdwardsY(*encoded).decompress().is_some())
        .expect("some y between p and 2²⁵⁵ is on the curve");
    let key = keys.verifying_key(&PublicKeyBytes::Ed25519(non_canonical), b"m", &forged(1));
    assert!(key.is_none(), "DP-ED-04: a key");

    // R is the identity, once in its own spelling and once as y = p + 1.
    let scalar = Scalar::from_bytes_mod_order([0x5a; 32]);
    let encoded = EdwardsPoint::mul_base(&scalar).compress().to_bytes();
    let mut respelt = [0xff; 32];
    (respelt[0], respelt[31]) = (0xee, 0x7f);
    let signature = sign_as(&encoded, &scalar, &Scalar::ZERO, respelt, b"m");
    let key = keys.verifying_key(&PublicKeyBytes::Ed25519(encoded), b"m", &signature);
    assert!(key.is_none(), "DP-ED-04: an R");
}

#[test]
fn dp_ed_04_an_s_above_the_groups_order_is_refused() {
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let verifier = verifier("EdDSA");
    let key = EdKey::generate();
    let good = key.sign(&key.header(), &verifier.subject.claims());
    assert!(verifier.verify_for(&good, &key.jkt()).is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut signature = decode(signature);
    let mut carry = 0_u16;
    for (digit, addend) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(addend) + carry;
        [*digit, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits");
    let malleated = format!("{signed}.{}", encode(signature));
    let refused = verifier.verify_for(&malleated, &key.jkt());
    assert_eq!(refused, Err(ProofError::Signature), "DP-ED-04");
}

#[test]
fn dp_ed_07_the_key_of_rfc_8037_has_its_thumbprint_and_its_signature() {
    let key = EdKey::of_rfc_8037();
    let verifier = verifier("EdDSA");
    let proof = key.sign(&key.header(), &verifier.subject.claims());
    let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    assert_eq!(verifier.verify_for(&proof, thumbprint).unwrap().jkt, thumbprint);

    // RFC 8037 A.4 and A.5.
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = decode(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    let x = <[u8; 32]>::try_from(key.0.public_key().as_ref()).unwrap();
    let outcome =
        KeyCache::default().verifying_key(&PublicKeyBytes::Ed25519(x), signed, &signature);
    assert_eq!(outcome.unwrap().jkt(), thumbprint);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ed_01_06_08_a_service_takes_what_its_challenges_list() {
    for algorithms in ["ES256", "ES256,EdDSA", "EdDSA"] {
        let names = algorithms.parse::<Algorithms>().unwrap().names();
        let bench = Bench::start_with(algorithms).await;
        for alg in ["ES256", "EdDSA"] {
            let (key, ed_key) = (TestKey::generate(), EdKey::generate());
            let jkt = if alg == "EdDSA" { ed_key.jkt() } else { key.jkt() };
            let wish = json!({
                "tenantId": bench.tenant_id(),
                "deviceJwk": key.jwk(),
                "claims": { "cnf": { "jkt": jkt } },
            });
            let mut device = Device::of(key, &bench.grant(&wish).await);
            let proof = |claims: &Value| match alg {
                "EdDSA" => ed_key.sign(&ed_key.header(), claims),
                _ => device.claiming(claims),
            };

            let first = bench.send(&device, &proof(&device.claims())).await;
            assert_eq!(first.status, 401, "DP-ED-08: {algorithms} {alg}");
            let challenge = first.headers["www-authenticate"].to_str().unwrap();
            let listed = format!(r#", algs="{names}""#);
            assert!(challenge.ends_with(&listed), "DP-ED-08: {challenge}");
            let is_taken = challenge.contains("use_dpop_nonce");
            assert_eq!(is_taken, names.contains(alg), "DP-ED-01: {algorithms} {alg}: {challenge}");
            if is_taken {
                let nonce = first.headers["dpop-nonce"].to_str().unwrap().to_owned();
                let claims = with(device.claims(), "nonce", json!(nonce));
                let answer = bench.send(&device, &proof(&claims)).await;
                assert_eq!(answer.status, 200, "DP-ED-01: {algorithms} {alg}: {}", answer.body);
                let again = bench.send(&device, &proof(&claims)).await;
                assert_eq!(again.body["code"], "MELMASTOON.AUTH.PROOF_REPLAYED", "DP-ED-01");
            }
            device.begin();
            let crossed = with(ed_key.header(), "jwk", device.jwk());
            let answer = bench.send(&device, &ed_key.sign(&crossed, &device.claims())).await;
            assert_eq!(answer.status, 401, "DP-ED-06: {algorithms}");
        }
        let bare = bench.http.get(format!("{}/alerts", bench.service.url)).send().await.unwrap();
        let challenge = bare.headers()["www-authenticate"].to_str().unwrap();
        assert_eq!(challenge, format!(r#"DPoP algs="{names}""#), "DP-ED-08");
    }
}
