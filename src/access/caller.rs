//! Who is calling: what every handler knows of the operator, the device and what they may do.

use std::fmt;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, PropertyId, SessionId, TenantId};
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

use super::{
    credentials::only,
    policy::{Scope, Scopes},
    refusal::Reason,
};

const APP_VERSION: HeaderName = HeaderName::from_static("x-app-version");
const APP_PLATFORM: HeaderName = HeaderName::from_static("x-app-platform");
const NETWORK_MODE: HeaderName = HeaderName::from_static("x-network-mode");
const APP_VERSION_CHARS_MAX: usize = 64;

/// The authenticated party of a request. Only [`super::Gate`] makes one, so a tenant taken from it
/// is a verified one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub tenant_id: TenantId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// iam's session.
    pub sid: String,
    /// Thumbprint of the device's key.
    pub jkt: String,
    /// Ours.
    pub session_id: SessionId,
    /// Roles of the token that the membership has too.
    pub roles: Vec<String>,
    /// Properties open to the caller; empty means none.
    pub property_ids: Vec<PropertyId>,
    /// BCP 47, of the token or else of the session.
    pub locale: Option<String>,
    pub app: App,
    pub token_issued_at: DateTime<Utc>,
    pub token_expires_at: DateTime<Utc>,
    /// For the `DPoP-Nonce` header of the answer, when one is due.
    pub fresh_nonce: Option<String>,
    pub(super) scopes: Scopes,
}

/// The desktop application the caller uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// As the application says it, 1–64 printable characters.
    pub version: String,
    pub platform: AppPlatform,
    pub network_mode: NetworkMode,
}

/// Operating systems the desktop runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppPlatform {
    Win32,
    Darwin,
    Linux,
}

/// What the desktop thinks of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    Good,
    Flaky,
    OfflineRecently,
}

impl Caller {
    /// Whether the caller may do this, and where `property` is given, there.
    ///
    /// # Errors
    /// `ScopeDenied`, or `NotFound` for a property that is not the caller's: nobody learns of it.
    pub fn require(&self, scope: Scope, property: Option<&PropertyId>) -> Result<(), Reason> {
        if !self.scopes.contains(scope) {
            return Err(Reason::ScopeDenied);
        }
        match property {
            Some(property) if !self.property_ids.contains(property) => Err(Reason::NotFound),
            _ => Ok(()),
        }
    }
}

impl AppPlatform {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Win32 => "win32",
            Self::Darwin => "darwin",
            Self::Linux => "linux",
        }
    }

    fn named(text: &str) -> Option<Self> {
        [Self::Win32, Self::Darwin, Self::Linux].into_iter().find(|it| it.as_str() == text)
    }
}

impl NetworkMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Flaky => "flaky",
            Self::OfflineRecently => "offline-recently",
        }
    }

    fn named(text: &str) -> Option<Self> {
        [Self::Good, Self::Flaky, Self::OfflineRecently].into_iter().find(|it| it.as_str() == text)
    }
}

impl fmt::Display for AppPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `X-App-*` and `X-Network-Mode` headers of one request, each optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppHeaders {
    version: Option<String>,
    platform: Option<AppPlatform>,
    network_mode: Option<NetworkMode>,
}

impl AppHeaders {
    /// Version and platform, where the headers say both.
    pub fn named(&self) -> Option<(&str, AppPlatform)> {
        Some((self.version.as_deref()?, self.platform?))
    }

    /// # Errors
    /// `HeaderInvalid` naming a header that is there but not of its form.
    pub fn read(headers: &HeaderMap) -> Result<Self, Reason> {
        Ok(Self {
            version: optional(headers, &APP_VERSION, "X-App-Version", |text| {
                let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
                let is_short = (1..=APP_VERSION_CHARS_MAX).contains(&text.len());
                (is_printable && is_short).then(|| text.to_owned())
            })?,
            platform: optional(headers, &APP_PLATFORM, "X-App-Platform", AppPlatform::named)?,
            network_mode: optional(headers, &NETWORK_MODE, "X-Network-Mode", NetworkMode::named)?,
        })
    }

    /// What the headers say, and the session where they are silent.
    pub fn or(self, session: &App) -> App {
        App {
            version: self.version.unwrap_or_else(|| session.version.clone()),
            platform: self.platform.unwrap_or(session.platform),
            network_mode: self.network_mode.unwrap_or(session.network_mode),
        }
    }

    /// What the headers say; a request that opens a session must have all three.
    ///
    /// # Errors
    /// `HeaderInvalid` naming the first that is missing.
    pub fn complete(self) -> Result<App, Reason> {
        Ok(App {
            version: self.version.ok_or(Reason::HeaderInvalid("X-App-Version"))?,
            platform: self.platform.ok_or(Reason::HeaderInvalid("X-App-Platform"))?,
            network_mode: self.network_mode.ok_or(Reason::HeaderInvalid("X-Network-Mode"))?,
        })
    }
}

fn optional<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    label: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Reason> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    only(headers, name).and_then(read).map(Some).ok_or(Reason::HeaderInvalid(label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::Policy;

    fn caller(role: &str) -> Caller {
        let roles = vec![role.to_owned()];
        Caller {
            tenant_id: TenantId::system(),
            operator_id: "usr_1".parse().unwrap(),
            device_id: "dev_1".parse().unwrap(),
            sid: "ses_1".to_owned(),
            jkt: "jkt".to_owned(),
            session_id: SessionId::new(ulid::Ulid::generate()),
            scopes: Policy::shipped().scopes_of(&roles),
            roles,
            property_ids: vec!["ppt_1".parse().unwrap()],
            locale: None,
            app: app(),
            token_issued_at: DateTime::UNIX_EPOCH,
            token_expires_at: DateTime::UNIX_EPOCH,
            fresh_nonce: None,
        }
    }

    fn app() -> App {
        App {
            version: "1.2.3".to_owned(),
            platform: AppPlatform::Linux,
            network_mode: NetworkMode::Good,
        }
    }

    #[test]
    fn a_property_of_others_is_not_found_and_a_scope_of_others_denied() {
        let caller = caller("auditor");
        let (own, other) = ("ppt_1".parse().unwrap(), "ppt_2".parse().unwrap());
        assert!(caller.require(Scope::AlertsRead, Some(&own)).is_ok());
        assert!(caller.require(Scope::AlertsRead, None).is_ok());
        assert!(matches!(caller.require(Scope::AlertsRead, Some(&other)), Err(Reason::NotFound)));
        assert!(matches!(caller.require(Scope::AlertsAck, Some(&own)), Err(Reason::ScopeDenied)));
    }

    #[test]
    fn what_a_request_does_not_say_of_the_app_its_session_says() {
        let mut headers = HeaderMap::new();
        headers.insert(NETWORK_MODE, "flaky".parse().unwrap());
        let read = AppHeaders::read(&headers).unwrap();
        let merged = read.clone().or(&app());
        assert_eq!(merged, App { network_mode: NetworkMode::Flaky, ..app() });
        assert!(matches!(read.complete(), Err(Reason::HeaderInvalid("X-App-Version"))));
    }

    #[test]
    fn a_header_that_is_not_of_its_form_is_named() {
        for (name, value, label) in [
            ("x-app-platform", "beos", "X-App-Platform"),
            ("x-network-mode", "GOOD", "X-Network-Mode"),
            ("x-app-version", "", "X-App-Version"),
            ("x-app-version", "1 2", "X-App-Version"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let refused = AppHeaders::read(&headers);
            assert!(matches!(refused, Err(Reason::HeaderInvalid(it)) if it == label), "{name}");
        }
    }
}
