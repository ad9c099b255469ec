//! Keys in Redis and keys of sealing: a tenant's own, by construction.

use std::{fs, path::PathBuf};

use backoffice::{
    access::nonce::Nonces,
    http::seal::{Purpose, Seal},
    live::{Cursor, CursorKeys},
    views::TenantKey,
};
use chrono::DateTime;
use events::TenantId;
use proptest::prelude::*;
use secrecy::SecretString;
use ulid::Ulid;

/// Where the first words of Redis keys may stand in the code.
const BUILDERS: [&str; 8] = [
    "src/views/key.rs",
    "src/access/fence.rs",
    "src/access/replay.rs",
    "src/access/session.rs",
    "src/access/session/keeping.rs",
    "src/access/standing.rs",
    "src/live/hub.rs",
    "src/live/memberships.rs",
];

proptest! {
    /// Whatever the ids, the keys of two tenants differ, and no key begins as another tenant's.
    #[test]
    fn ti_31_32_no_two_tenants_share_a_key_or_the_beginning_of_one(
        a in any::<u128>(),
        b in any::<u128>(),
        area in "[a-z]{1,8}",
        parts in prop::collection::vec("[ -~]{0,12}", 0..4),
        others in prop::collection::vec("[ -~]{0,12}", 0..4),
    ) {
        let (a, b) = (tenant(a), tenant(b));
        prop_assume!(a != b);
        let build = |tenant: &TenantId, parts: &[String]| {
            parts.iter().fold(TenantKey::new(tenant, &area), |key, part| key.then(part))
        };
        let (of_a, of_b) = (build(&a, &parts), build(&b, &others));
        prop_assert_ne!(of_a.as_str(), of_b.as_str());
        let begins_as_a = |key: &TenantKey| key.as_str().starts_with(&["{", a.as_str(), "}:"].concat());
        prop_assert!(begins_as_a(&of_a));
        prop_assert!(!begins_as_a(&of_b));
        // The hash tag, by the rule of Redis Cluster, is the tenant.
        let tag = of_a.as_str().split_once('{').unwrap().1.split_once('}').unwrap().0.to_owned();
        prop_assert_eq!(tag, a.to_string());
    }

    /// Only ids of exactly one shape are tenants, so none holds a colon, brace, glob or space.
    #[test]
    fn ti_32_what_could_break_a_key_is_no_tenant(text in "\\PC{0,40}") {
        if let Ok(tenant_id) = text.parse::<TenantId>() {
            prop_assert_eq!(tenant_id.as_str().len(), 30);
            prop_assert!(tenant_id.as_str()[4..].bytes().all(|it| it.is_ascii_alphanumeric()));
        }
    }
}

#[test]
fn ti_32_colons_globs_and_braces_are_refused() {
    let own = tenant(7);
    for text in ["a", "a:b", "{}", "tnt_*", &format!("{own}:b"), &format!("{{{own}}}"), "tnt_[0-9]"]
    {
        assert!(text.parse::<TenantId>().is_err(), "{text}");
    }
}

#[test]
fn ti_31_keys_are_made_by_their_builders_only() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut strayed = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            let builds = text.contains("\"g:") || text.contains("\"{{{tenant_id}}}:");
            let relative = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            if builds && !BUILDERS.contains(&relative.as_str()) {
                strayed.push(relative);
            }
        }
    }
    assert_eq!(strayed, Vec::<String>::new(), "use views::TenantKey");
}

#[test]
fn ti_06_48_what_is_sealed_for_one_tenant_does_not_open_for_another() {
    let (a, b) = (tenant(1), tenant(2));
    let cursors = CursorKeys::new(secret('c'), vec![secret('p')]);
    let cursor = cursors.encode(&a, &Cursor::default());
    assert!(cursors.decode(&a, &cursor).is_ok());
    assert!(cursors.decode(&b, &cursor).is_err());
    assert_ne!(cursor, cursors.encode(&b, &Cursor::default()), "each tenant has its key");

    let seal = Seal::new(&[7; 32]);
    for purpose in [Purpose::PageCursor, Purpose::LedgerPosition] {
        let sealed = seal.seal(purpose, &a, b"place");
        assert!(seal.open(purpose, &a, &sealed).is_ok());
        assert!(seal.open(purpose, &b, &sealed).is_err());
    }

    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let nonces = Nonces::new(&secret('n'), None).unwrap();
    let nonce = nonces.issue(a.as_str(), "jkt", now);
    assert!(nonces.check(&nonce, a.as_str(), "jkt", now).is_some());
    assert!(nonces.check(&nonce, b.as_str(), "jkt", now).is_none());
    assert_ne!(nonce, nonces.issue(b.as_str(), "jkt", now));
}

/// One operator, device, key, route and body in two tenants: two requests.
#[test]
fn ti_48_a_fingerprint_of_one_tenant_is_not_one_of_another() {
    let directory = tempfile::tempdir().unwrap();
    for name in
        ["pepper", "sse-signing-key", "dpop-nonce-key", "personal-data-key", "sync-signing-key"]
    {
        let path = directory.path().join(name);
        fs::write(&path, "s".repeat(40)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o400);
        fs::set_permissions(&path, mode).unwrap();
    }
    let secrets = backoffice::secrets::Secrets::read(directory.path()).unwrap();
    let of = |tenant: &TenantId| {
        let parts: [&[u8]; 3] = [tenant.as_str().as_bytes(), b"dev_1", b"usr_1"];
        secrets.peppered("idempotency-fingerprint", &parts)
    };
    assert_eq!(of(&tenant(1)), of(&tenant(1)));
    assert_ne!(of(&tenant(1)), of(&tenant(2)));
}

fn tenant(number: u128) -> TenantId {
    format!("tnt_{}", Ulid(number)).parse().unwrap()
}

fn secret(letter: char) -> SecretString {
    letter.to_string().repeat(40).into()
}
