//! One secret file: what it may be, and what it may hold.

use std::{
    fs::{File, Metadata},
    io::{self, ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use secrecy::{SecretString, zeroize::Zeroizing};

use super::SecretError;

/// Shorter secrets can be guessed.
pub(super) const LENGTH_MIN: usize = 32;
/// Longer files are no secrets but mistakes.
pub(super) const LENGTH_MAX: usize = 4_096;
/// The rights that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// The secret of a file that has to be there. A link is followed: orchestrators exchange the
/// directory behind it.
pub(super) fn secret(directory: &Path, name: &str) -> Result<SecretString, SecretError> {
    let path = directory.join(name);
    let bytes = match read(&path) {
        Ok(read) => read?,
        Err(error) => return Err(SecretError::Unreadable(path, error)),
    };
    text(&path, &bytes)
}

/// The secret of a file that may be missing, but not be unusable.
pub(super) fn optional(directory: &Path, name: &str) -> Result<Option<SecretString>, SecretError> {
    let path = directory.join(name);
    match read(&path) {
        Ok(read) => text(&path, &read?).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SecretError::Unreadable(path, error)),
    }
}

/// A secret of several lines, as PEM is. Otherwise as [`secret`].
pub(super) fn lines(directory: &Path, name: &str) -> Result<SecretString, SecretError> {
    let secret = optional_lines(directory, name)?;
    secret.ok_or_else(|| SecretError::Unreadable(directory.join(name), ErrorKind::NotFound.into()))
}

/// A secret of several lines that may be missing, but not be unusable.
pub(super) fn optional_lines(
    directory: &Path,
    name: &str,
) -> Result<Option<SecretString>, SecretError> {
    let path = directory.join(name);
    match read(&path) {
        Ok(read) => text_where(&path, &read?, |character| {
            !character.is_control() || matches!(character, '\n' | '\r')
        })
        .map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SecretError::Unreadable(path, error)),
    }
}

fn read(path: &Path) -> io::Result<Result<Zeroizing<Vec<u8>>, SecretError>> {
    // Before it is opened: a pipe would keep us waiting for its other end.
    if let Err(error) = check(path, &path.metadata()?) {
        return Ok(Err(error));
    }
    let mut file = File::open(path)?;
    if let Err(error) = check(path, &file.metadata()?) {
        return Ok(Err(error));
    }
    // As long as it may get, so that it never moves and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH_MAX + 2));
    let most = u64::try_from(LENGTH_MAX + 1).unwrap_or(u64::MAX);
    file.by_ref().take(most).read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), SecretError> {
    if !metadata.is_file() {
        return Err(SecretError::NoFile(PathBuf::from(path)));
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        return Err(SecretError::TooOpen(PathBuf::from(path)));
    }
    Ok(())
}

fn text(path: &Path, bytes: &[u8]) -> Result<SecretString, SecretError> {
    text_where(path, bytes, |character| !character.is_control())
}

fn text_where(
    path: &Path,
    bytes: &[u8],
    is_good: fn(char) -> bool,
) -> Result<SecretString, SecretError> {
    let trimmed = bytes.trim_ascii_end();
    if trimmed.len() < LENGTH_MIN || LENGTH_MAX < trimmed.len() {
        return Err(SecretError::Length(path.to_owned()));
    }
    let text = str::from_utf8(trimmed).ok();
    text.filter(|text| text.chars().all(is_good))
        .map(SecretString::from)
        .ok_or_else(|| SecretError::NoText(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::symlink,
    };

    use super::*;

    #[test]
    fn se_01_a_file_that_is_missing_open_short_long_or_no_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |name: &str, mode: u32, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            secret(folder.path(), name).err().map(|error| error.to_string())
        };
        let long = [b'x'; LENGTH_MAX + 1];
        for (name, mode, content, expected) in [
            ("good", 0o400, &[b'x'; 32][..], None),
            ("writable", 0o600, &[b'x'; 32], None),
            ("longest", 0o400, &long[1..], None),
            ("readable-by-all", 0o444, &[b'x'; 32], Some("other users")),
            ("readable-by-group", 0o440, &[b'x'; 32], Some("other users")),
            ("writable-by-all", 0o602, &[b'x'; 32], Some("other users")),
            ("empty", 0o400, b"", Some("32 to 4096 bytes")),
            ("only-line-breaks", 0o400, &[b'\n'; 40], Some("32 to 4096 bytes")),
            ("short", 0o400, &[b'x'; 31], Some("32 to 4096 bytes")),
            ("short-with-line-break", 0o400, b"0123456789012345678901234567890\n", Some("32 to")),
            ("long", 0o400, &long, Some("32 to 4096 bytes")),
            ("two-lines", 0o400, b"01234567890123456789\n01234567890123456789", Some("one line")),
            ("nul", 0o400, b"01234567890123456789\x0001234567890123456789", Some("one line")),
            ("latin-1", 0o400, &[0xe9; 40], Some("one line")),
        ] {
            let refused = refusal(name, mode, content);
            let as_expected = match (&refused, expected) {
                (None, None) => true,
                (Some(refused), Some(expected)) => refused.contains(expected),
                _ => false,
            };
            assert!(as_expected, "{name}: {refused:?}");
            assert!(!refused.unwrap_or_default().contains("0123456789"), "{name} shows the secret");
        }
        let missing = secret(folder.path(), "missing").unwrap_err();
        assert!(matches!(missing, SecretError::Unreadable(..)));
        assert!(optional(folder.path(), "missing").unwrap().is_none());
        assert!(optional(folder.path(), "short").is_err());
    }

    #[test]
    fn se_01_a_link_counts_as_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, [b'x'; 40]).unwrap();
        symlink(&target, folder.path().join("link")).unwrap();
        symlink(folder.path().join("nowhere"), folder.path().join("dangling")).unwrap();
        symlink(folder.path(), folder.path().join("directory")).unwrap();

        fs::set_permissions(&target, Permissions::from_mode(0o400)).unwrap();
        assert!(secret(folder.path(), "link").is_ok());
        fs::set_permissions(&target, Permissions::from_mode(0o444)).unwrap();
        let open = secret(folder.path(), "link").unwrap_err();
        assert!(matches!(open, SecretError::TooOpen(_)));
        let dangling = secret(folder.path(), "dangling").unwrap_err();
        assert!(matches!(dangling, SecretError::Unreadable(..)));
        let directory = secret(folder.path(), "directory").unwrap_err();
        assert!(matches!(directory, SecretError::NoFile(_)));
    }
}
