//! Secrets come as files that only the service may read, one secret a file.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Shorter secrets can be guessed.
const LENGTH_MIN: usize = 32;
/// Longer files are no secrets but mistakes.
const LENGTH_MAX: usize = 4_096;

/// Everything the service keeps from others.
#[derive(Debug)]
pub struct Secrets {
    /// File `pepper`: fingerprints and upstream keys are derived from it.
    pub pepper: SecretString,
    /// Files `sse-signing-key` and, after a rotation, `sse-signing-key.previous`: cursors.
    pub live: Rotating,
    /// Files `dpop-nonce-key` and `dpop-nonce-key.previous`.
    pub nonce: Rotating,
    /// Files `personal-data-key` and `personal-data-key.previous`: wrap the keys of the persons in
    /// the ledger, and seal stored answers.
    pub personal_data: Rotating,
}

/// A secret that can be changed without refusing what was made with the one before.
#[derive(Clone, Debug)]
pub struct Rotating {
    pub current: SecretString,
    pub previous: Option<SecretString>,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secret file {0} cannot be read")]
    Unreadable(PathBuf, #[source] std::io::Error),
    #[error("secret file {0} can be read by other users: chmod 0400")]
    TooOpen(PathBuf),
    #[error("secret file {0} must hold {LENGTH_MIN} to {LENGTH_MAX} bytes of text")]
    Length(PathBuf),
}

impl Secrets {
    /// Reads the secrets of a directory.
    ///
    /// # Errors
    /// The first file that is missing, too open, too short or too long.
    pub fn read(directory: &Path) -> Result<Self, SecretError> {
        Ok(Self {
            pepper: secret(directory, "pepper")?,
            live: rotating(directory, "sse-signing-key")?,
            nonce: rotating(directory, "dpop-nonce-key")?,
            personal_data: rotating(directory, "personal-data-key")?,
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
}

fn rotating(directory: &Path, name: &str) -> Result<Rotating, SecretError> {
    let previous = format!("{name}.previous");
    let previous =
        if directory.join(&previous).exists() { Some(secret(directory, &previous)?) } else { None };
    Ok(Rotating { current: secret(directory, name)?, previous })
}

fn secret(directory: &Path, name: &str) -> Result<SecretString, SecretError> {
    let path = directory.join(name);
    let unreadable = |error| SecretError::Unreadable(path.clone(), error);
    let mode = fs::metadata(&path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(SecretError::TooOpen(path));
    }
    let text = fs::read_to_string(&path).map_err(unreadable)?;
    let secret = text.trim_end();
    if secret.len() < LENGTH_MIN || LENGTH_MAX < secret.len() {
        return Err(SecretError::Length(path));
    }
    Ok(secret.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_read_or_guess_is_refused() {
        let directory = directory(0o400, "x".repeat(32));
        assert!(Secrets::read(directory.path()).is_ok());

        let open = self::directory(0o644, "x".repeat(32));
        assert!(matches!(Secrets::read(open.path()), Err(SecretError::TooOpen(_))));
        let short = self::directory(0o400, "x".repeat(31));
        assert!(matches!(Secrets::read(short.path()), Err(SecretError::Length(_))));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Secrets::read(empty.path()), Err(SecretError::Unreadable(..))));
    }

    #[test]
    fn a_line_break_at_the_end_is_not_part_of_the_secret() {
        let plain = Secrets::read(directory(0o400, "x".repeat(40)).path()).unwrap();
        let broken =
            Secrets::read(directory(0o400, format!("{}\n", "x".repeat(40))).path()).unwrap();
        assert_eq!(plain.peppered("test", &[]), broken.peppered("test", &[]));
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        let secrets = Secrets::read(directory(0o400, "x".repeat(40)).path()).unwrap();
        assert_ne!(secrets.peppered("p", &[b"ab", b"c"]), secrets.peppered("p", &[b"a", b"bc"]));
    }

    fn directory(mode: u32, content: impl AsRef<[u8]>) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in ["pepper", "sse-signing-key", "dpop-nonce-key", "personal-data-key"] {
            let path = directory.path().join(name);
            fs::write(&path, &content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        directory
    }
}
