//! The service's settings and secrets on a development stack; everything else keeps its default.

use std::{fs, io::Write, os::unix::fs::DirBuilderExt, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, anyhow};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use p256::{ecdsa::SigningKey, elliptic_curve::Generate, pkcs8::EncodePrivateKey};
use url::Url;

use crate::desktop::stack_file::StackFile;

/// The `iss` of the simulator's tokens, which is the real platform's.
const TOKEN_ISSUER: &str = "https://iam.melmastoon.internal";
/// The simulator asks for an ID token and takes any.
const ID_TOKEN: &str = "development-only";
/// As `secrets.rs` names them; the last one is a key in PEM.
const SECRETS: [&str; 5] =
    ["pepper", "sse-signing-key", "dpop-nonce-key", "personal-data-key", SYNC_KEY];
const SYNC_KEY: &str = "sync-signing-key";

/// Environment variables for `backoffice serve` and `backoffice migrate`. Makes the stack's secrets
/// where there are none: what the ledger holds is readable only with the same ones.
///
/// # Errors
/// A secret cannot be written.
pub fn of_service(
    stack: &StackFile,
    stack_dir: &Path,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let port = port(&stack.backoffice_url)?;
    let secrets_dir = std::path::absolute(stack_dir.join("secrets"))?;
    make_secrets(&secrets_dir)?;
    Ok(vec![
        ("DATABASE_URL", stack.database_url.clone()),
        ("DATABASE_OWNER_URL", stack.database_owner_url.clone()),
        ("REDIS_SESSION_URL", stack.redis_session_url.clone()),
        ("REDIS_CACHE_URL", stack.redis_cache_url.clone()),
        ("PUBSUB_EMULATOR_HOST", stack.pubsub_emulator_host.clone()),
        ("PUBSUB_PROJECT", stack.pubsub_project.clone()),
        ("BACKOFFICE_LISTEN", listen_address(&stack.backoffice_url)?),
        ("BACKOFFICE_ADMIN_LISTEN", listen_address(&stack.admin_url)?),
        ("BACKOFFICE_PUBLIC_BASES", format!("http://127.0.0.1:{port},http://localhost:{port}")),
        ("TOKEN_ISSUER", TOKEN_ISSUER.to_owned()),
        ("TOKEN_JWKS_URL", stack.simulator_url.join("/.well-known/jwks.json")?.into()),
        ("UPSTREAM_BASE_URL", stack.simulator_url.to_string()),
        ("UPSTREAM_ID_TOKEN", ID_TOKEN.to_owned()),
        ("SECRETS_DIR", secrets_dir.to_string_lossy().into_owned()),
    ])
}

/// # Errors
/// The URL has none, and its scheme no usual one.
pub fn port(url: &Url) -> anyhow::Result<u16> {
    url.port_or_known_default().with_context(|| format!("{url} has no port"))
}

/// `host:port` for a server that only this machine may reach.
///
/// # Errors
/// See [`port`].
pub fn listen_address(url: &Url) -> anyhow::Result<String> {
    Ok(format!("127.0.0.1:{}", port(url)?))
}

fn make_secrets(secrets_dir: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(secrets_dir)
        .with_context(|| format!("cannot make {}", secrets_dir.display()))?;
    for name in SECRETS {
        let path = secrets_dir.join(name);
        if !path.exists() {
            let temporary = secrets_dir.join(format!("{name}.{}", std::process::id()));
            let secret = if name == SYNC_KEY { key_in_pem()? } else { random_text()? };
            // Renamed when whole: an interrupted start must not leave half a secret.
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o400)
                .open(&temporary)
                .and_then(|mut file| file.write_all(secret.as_bytes()))
                .and_then(|()| fs::rename(&temporary, &path))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn random_text() -> anyhow::Result<String> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| anyhow!("no randomness to be had"))?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

/// A new private key of P-256, PKCS#8.
fn key_in_pem() -> anyhow::Result<String> {
    let der = SigningKey::generate().to_pkcs8_der().context("a key cannot be written")?;
    let base64 = STANDARD.encode(der.as_bytes());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let secrets_dir = folder.path().join("secrets");

        make_secrets(&secrets_dir).unwrap();
        let pepper = fs::read(secrets_dir.join("pepper")).unwrap();
        make_secrets(&secrets_dir).unwrap();

        assert_eq!(fs::read(secrets_dir.join("pepper")).unwrap(), pepper);
        assert_eq!(fs::read_dir(&secrets_dir).unwrap().count(), SECRETS.len());
        for name in SECRETS {
            let metadata = fs::metadata(secrets_dir.join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o400);
            assert!(32 <= metadata.len());
        }
    }
}
