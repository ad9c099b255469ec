//! Notices that secret files were changed, and which keys are to be used from then on.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use super::{Rotating, SecretError, Secrets};

/// Every file that may be changed.
const NAMES: [&str; 9] = [
    "pepper",
    "sse-signing-key",
    "sse-signing-key.previous",
    "dpop-nonce-key",
    "dpop-nonce-key.previous",
    "personal-data-key",
    "personal-data-key.previous",
    "sync-signing-key",
    "sync-signing-key.previous",
];
/// Keys that are accepted beside the current one.
const PREVIOUS_MAX: usize = 3;

/// What the files were when they were last looked at, and the keys in use.
#[derive(Clone)]
pub struct Watch {
    directory: PathBuf,
    seen: Vec<Identity>,
    in_use: Secrets,
}

/// What one look found.
#[derive(Debug)]
pub enum Step {
    Unchanged,
    /// The files are not usable as they are now; the keys in use stay. Said once for each change.
    Refused(SecretError),
    Rotated(Rotated),
}

/// What changed.
#[derive(Debug, Default)]
pub struct Rotated {
    pub live: Option<Rotating>,
    pub nonce: Option<Rotating>,
    pub sync: Option<Rotating>,
    /// Files that were changed though they are only read at the start: the next start will not work
    /// as meant.
    pub at_start_only: Vec<&'static str>,
}

/// Tells one state of a file from another without reading it. Follows links: whoever exchanges a
/// link's target exchanges the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    Absent,
    File { device: u64, inode: u64, size: u64, mode: u32, changed: (i64, i64) },
}

impl Watch {
    /// Reads the secrets and remembers the files they came from.
    ///
    /// # Errors
    /// As [`Secrets::read`].
    pub fn start(directory: &Path) -> Result<(Secrets, Self), SecretError> {
        // Before the files are read: what changes in between is found by the first step.
        let seen = identities(directory);
        let secrets = Secrets::read(directory)?;
        let watch = Self { directory: directory.to_owned(), seen, in_use: secrets.clone() };
        Ok((secrets, watch))
    }

    /// Looks at the files once.
    pub fn step(&mut self) -> Step {
        let now = identities(&self.directory);
        if now == self.seen {
            return Step::Unchanged;
        }
        self.seen = now;
        match Secrets::read(&self.directory) {
            Ok(read) => self.take_up(&read),
            Err(error) => Step::Refused(error),
        }
    }

    fn take_up(&mut self, read: &Secrets) -> Step {
        let rotated = Rotated {
            live: taken_up(&mut self.in_use.live, &read.live),
            nonce: taken_up(&mut self.in_use.nonce, &read.nonce),
            sync: taken_up(&mut self.in_use.sync, &read.sync),
            at_start_only: [
                ("pepper", &self.in_use.pepper, &read.pepper),
                (
                    "personal-data-key",
                    &self.in_use.personal_data.current,
                    &read.personal_data.current,
                ),
            ]
            .into_iter()
            .filter(|(_, in_use, read)| !is_same(in_use, read))
            .map(|(name, _, _)| name)
            .collect(),
        };
        let nothing = rotated.live.is_none() && rotated.nonce.is_none() && rotated.sync.is_none();
        if nothing && rotated.at_start_only.is_empty() {
            // Written again as they were.
            return Step::Unchanged;
        }
        Step::Rotated(rotated)
    }
}

/// The keys to use from now on, if they are others than before.
fn taken_up(in_use: &mut Rotating, read: &Rotating) -> Option<Rotating> {
    let mut previous: Vec<SecretString> = Vec::new();
    let before = [&in_use.current].into_iter().chain(&in_use.previous);
    for key in read.previous.iter().chain(before) {
        if !is_same(key, &read.current) && !previous.iter().any(|known| is_same(known, key)) {
            previous.push(key.clone());
        }
    }
    previous.truncate(PREVIOUS_MAX);
    let is_known = is_same(&in_use.current, &read.current)
        && previous.len() == in_use.previous.len()
        && previous.iter().zip(&in_use.previous).all(|(one, other)| is_same(one, other));
    if is_known {
        return None;
    }
    *in_use = Rotating { current: read.current.clone(), previous };
    Some(in_use.clone())
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

fn identities(directory: &Path) -> Vec<Identity> {
    NAMES.iter().map(|name| identity(&directory.join(name)).unwrap_or(Identity::Absent)).collect()
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    Ok(Identity::File {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        mode: metadata.mode(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{super::tests::directory, *};

    #[test]
    fn se_01_a_key_written_in_place_is_taken_up_and_the_one_before_is_kept() {
        let folder = directory(0o600, "a".repeat(40));
        let (_, mut watch) = Watch::start(folder.path()).unwrap();
        assert!(matches!(watch.step(), Step::Unchanged));

        fs::write(folder.path().join("sse-signing-key"), "b".repeat(41)).unwrap();
        let live = rotated(watch.step()).live.unwrap();
        assert_eq!(letters(&live), "b a");

        fs::write(folder.path().join("sse-signing-key"), "c".repeat(42)).unwrap();
        let second = rotated(watch.step());
        assert_eq!(letters(&second.live.unwrap()), "c b a");
        assert!(second.nonce.is_none() && second.at_start_only.is_empty());
        assert!(matches!(watch.step(), Step::Unchanged));
    }

    #[test]
    fn se_01_the_exchange_of_a_whole_directory_behind_a_link_is_noticed() {
        let (one, two) = (directory(0o400, "a".repeat(40)), directory(0o400, "b".repeat(40)));
        fs::write(two.path().join("dpop-nonce-key.previous"), "p".repeat(40)).unwrap();
        let path = two.path().join("dpop-nonce-key.previous");
        fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
        let mounted = tempfile::tempdir().unwrap();
        symlink(one.path(), mounted.path().join("..data")).unwrap();
        for name in NAMES {
            symlink(format!("..data/{name}"), mounted.path().join(name)).unwrap();
        }
        let (_, mut watch) = Watch::start(mounted.path()).unwrap();

        symlink(two.path(), mounted.path().join("..data_tmp")).unwrap();
        fs::rename(mounted.path().join("..data_tmp"), mounted.path().join("..data")).unwrap();

        let rotated = rotated(watch.step());
        assert_eq!(letters(&rotated.live.unwrap()), "b a");
        assert_eq!(letters(&rotated.nonce.unwrap()), "b p a");
        assert_eq!(rotated.at_start_only, ["pepper", "personal-data-key"]);
    }

    #[test]
    fn se_01_unusable_content_is_refused_once_and_what_was_in_use_stays() {
        let folder = directory(0o600, "a".repeat(40));
        let (_, mut watch) = Watch::start(folder.path()).unwrap();
        let path = folder.path().join("dpop-nonce-key");

        fs::write(&path, "short").unwrap();
        assert!(matches!(watch.step(), Step::Refused(SecretError::Length(_))));
        assert!(matches!(watch.step(), Step::Unchanged));
        fs::remove_file(&path).unwrap();
        assert!(matches!(watch.step(), Step::Refused(SecretError::Unreadable(..))));
        fs::write(&path, "b".repeat(40)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(watch.step(), Step::Refused(SecretError::TooOpen(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(letters(&rotated(watch.step()).nonce.unwrap()), "b a");
    }

    #[test]
    fn a_key_announced_as_previous_and_then_made_current_is_known_at_every_moment() {
        let folder = directory(0o600, "a".repeat(40));
        let (_, mut watch) = Watch::start(folder.path()).unwrap();
        let (current, previous) = ("sse-signing-key", "sse-signing-key.previous");
        let write = |name: &str, letter: &str| {
            fs::write(folder.path().join(name), letter.repeat(40)).unwrap();
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(folder.path().join(name), mode).unwrap();
        };
        write(previous, "n");
        assert_eq!(letters(&rotated(watch.step()).live.unwrap()), "a n");
        write(current, "n");
        write(previous, "a");
        assert_eq!(letters(&rotated(watch.step()).live.unwrap()), "n a");
    }

    fn rotated(step: Step) -> Rotated {
        match step {
            Step::Rotated(rotated) => rotated,
            other => panic!("{other:?}"),
        }
    }

    /// The first letter of each key, the current one's first.
    fn letters(keys: &Rotating) -> String {
        let all = [&keys.current].into_iter().chain(&keys.previous);
        all.map(|key| &key.expose_secret()[..1]).collect::<Vec<_>>().join(" ")
    }
}
