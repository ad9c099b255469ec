//! Secrets come as files that only the service may read, one secret a file.

mod file;
mod watch;

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use ulid::Ulid;

use self::file::{LENGTH_MAX, LENGTH_MIN, optional, secret};
pub use self::watch::{Rotated, Step, Watch};

const SYNC_KEY: &str = "sync-signing-key";

/// Everything the service keeps from others.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// File `pepper`: fingerprints and upstream keys are derived from it. Read at the start only:
    /// another one would make a request that is repeated a new request.
    pub pepper: SecretString,
    /// Files `sse-signing-key` and `sse-signing-key.previous`: cursors.
    pub live: Rotating,
    /// Files `dpop-nonce-key` and `dpop-nonce-key.previous`.
    pub nonce: Rotating,
    /// Files `personal-data-key` and `personal-data-key.previous`: wrap the keys of the persons in
    /// the ledger, and seal stored answers. Read at the start only.
    pub personal_data: Rotating,
    /// Files `sync-signing-key` and `sync-signing-key.previous`: private keys of P-256 as PKCS#8 in
    /// PEM, for the tokens that sync-service takes.
    pub sync: Rotating,
}

/// A secret that can be changed, also while the service runs, without refusing what was made with
/// the one before.
///
/// The file `<name>` holds the key that makes, `<name>.previous` one that is accepted beside it. To
/// rotate without one refusal anywhere: write the new key as `.previous` first, and when every
/// instance has it, exchange the two.
#[derive(Clone, Debug)]
pub struct Rotating {
    pub current: SecretString,
    /// The file's, then those that were current while this process ran, newest first.
    pub previous: Vec<SecretString>,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secret file {0} cannot be read")]
    Unreadable(PathBuf, #[source] std::io::Error),
    #[error("secret file {0} is no regular file")]
    NoFile(PathBuf),
    #[error("secret file {0} can be read by other users: chmod 0400")]
    TooOpen(PathBuf),
    #[error("secret file {0} must hold {LENGTH_MIN} to {LENGTH_MAX} bytes")]
    Length(PathBuf),
    #[error("secret file {0} must hold text, and one line of it unless it is a key in PEM")]
    NoText(PathBuf),
}

impl Secrets {
    /// Reads the secrets of a directory.
    ///
    /// # Errors
    /// The first file that is missing, no file, too open, too short, too long or no line of text.
    pub fn read(directory: &Path) -> Result<Self, SecretError> {
        Ok(Self {
            pepper: secret(directory, "pepper")?,
            live: rotating(directory, "sse-signing-key")?,
            nonce: rotating(directory, "dpop-nonce-key")?,
            personal_data: rotating(directory, "personal-data-key")?,
            sync: Rotating {
                current: file::lines(directory, SYNC_KEY)?,
                previous: file::optional_lines(directory, &format!("{SYNC_KEY}.previous"))?
                    .into_iter()
                    .collect(),
            },
        })
    }

    /// HMAC-SHA256 of `parts` under the pepper. Parts are length-prefixed, so that no two lists of
    /// parts collide.
    pub fn peppered(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.pepper.expose_secret().as_bytes())
            .expect("HMAC takes a key of any length");
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// A ULID made of [`Self::peppered`]: the same for the same parts, and telling nothing of them.
    pub fn derived_ulid(&self, purpose: &str, parts: &[&[u8]]) -> Ulid {
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            self.peppered(purpose, parts);
        Ulid::from_bytes(id)
    }
}

/// From now on this process leaves no image of its memory behind, and no other process of its user
/// may read it.
///
/// # Errors
/// The system refuses.
pub fn forbid_dumps() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn rotating(directory: &Path, name: &str) -> Result<Rotating, SecretError> {
    let previous = optional(directory, &format!("{name}.previous"))?.into_iter().collect();
    Ok(Rotating { current: secret(directory, name)?, previous })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        let secrets = Secrets::read(directory(0o400, "x".repeat(40)).path()).unwrap();
        assert_ne!(secrets.peppered("p", &[b"ab", b"c"]), secrets.peppered("p", &[b"a", b"bc"]));
    }

    #[test]
    fn se_01_a_line_break_at_the_end_is_not_part_of_the_secret() {
        let plain = Secrets::read(directory(0o400, "x".repeat(40)).path()).unwrap();
        for end in ["\n", "\r\n", "\n\n"] {
            let content = format!("{}{end}", "x".repeat(40));
            let broken = Secrets::read(directory(0o400, content).path()).unwrap();
            assert_eq!(plain.peppered("test", &[]), broken.peppered("test", &[]), "{end:?}");
        }
    }

    #[test]
    fn se_02_a_printed_secret_shows_nothing() {
        let secrets = Secrets::read(directory(0o400, "hunter2-".repeat(5)).path()).unwrap();
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }

    pub(super) fn directory(mode: u32, content: impl AsRef<[u8]>) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in
            ["pepper", "sse-signing-key", "dpop-nonce-key", "personal-data-key", "sync-signing-key"]
        {
            let path = directory.path().join(name);
            fs::write(&path, &content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        directory
    }
}
