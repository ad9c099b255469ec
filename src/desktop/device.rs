//! The device's file: its key, who is signed in on it, and the tokens. Readable by its owner only.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::proof::DeviceKey;

/// JSON in `<stack dir>/desktop.json`, mode 0600. It has no `Debug`: it holds secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// See [`DeviceKey::secret`].
    pub key: String,
    pub device_id: String,
    pub tenant_id: String,
    pub operator_id: String,
    /// Where the operator may work; the first is used when a command names none.
    pub property_ids: Vec<String>,
    pub access_token: String,
    pub refresh_token: String,
    pub token_expires_at: DateTime<Utc>,
    /// The nonce the service gave last; absent until it gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

impl Device {
    /// The file of a stack.
    pub fn path(stack_dir: &Path) -> PathBuf {
        stack_dir.join("desktop.json")
    }

    /// # Errors
    /// There is no such file, or it is not one of ours.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {}: sign in first", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Replaces the file as a whole: a reader sees the old device or the new one.
    ///
    /// # Errors
    /// The file cannot be written; the old one stays.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let temporary = path.with_extension(format!("json.{}", std::process::id()));
        let text = serde_json::to_string_pretty(self)?;
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&temporary, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// # Errors
    /// The file's key is damaged.
    pub fn signing_key(&self) -> anyhow::Result<DeviceKey> {
        DeviceKey::from_secret(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_readable_by_its_owner_only_and_survives_the_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = Device::path(folder.path());

        device().save(&path).unwrap();
        device().save(&path).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Device::load(&path).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), serde_json::to_value(device()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_missing_file_asks_for_a_sign_in() {
        let Err(error) = Device::load(Path::new("/nonexistent/desktop.json")) else {
            panic!("there is no such file");
        };
        assert!(error.to_string().contains("sign in first"));
    }

    fn device() -> Device {
        Device {
            key: "k".into(),
            device_id: "dev_1".into(),
            tenant_id: "tnt_1".into(),
            operator_id: "usr_1".into(),
            property_ids: vec!["ppt_1".into()],
            access_token: "a".into(),
            refresh_token: "r".into(),
            token_expires_at: DateTime::UNIX_EPOCH,
            nonce: None,
        }
    }
}
