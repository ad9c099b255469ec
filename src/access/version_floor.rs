//! Which versions of the desktop are still let in, a platform each.

use http::Method;
use semver::Version;
use serde::Deserialize;
use url::Url;

use super::{
    caller::{App, AppPlatform},
    strict_json::given,
};

/// A desktop that is too old must still be able to end its session.
const ALWAYS_OPEN: (&str, [&str; 2]) =
    ("POST", ["/bff/backoffice/v1/auth/sign-out", "/api/bff/backoffice/v1/auth/sign-out"]);

/// The oldest version of each platform that is let in (Semantic Versioning 2.0); `None`: any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VersionFloor {
    #[serde(deserialize_with = "given")]
    pub win32: Option<Version>,
    #[serde(deserialize_with = "given")]
    pub darwin: Option<Version>,
    #[serde(deserialize_with = "given")]
    pub linux: Option<Version>,
}

/// An app that is too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionBlocked {
    pub platform: AppPlatform,
    /// The oldest version that is let in.
    pub floor: Version,
    /// Where newer versions are, when that is set.
    pub update_url: Option<Url>,
}

impl VersionFloor {
    pub const fn of(&self, platform: AppPlatform) -> Option<&Version> {
        match platform {
            AppPlatform::Win32 => self.win32.as_ref(),
            AppPlatform::Darwin => self.darwin.as_ref(),
            AppPlatform::Linux => self.linux.as_ref(),
        }
    }

    /// Whether any platform has a floor.
    pub const fn is_set(&self) -> bool {
        self.win32.is_some() || self.darwin.is_some() || self.linux.is_some()
    }

    /// The floor that an app is under. What is no version of Semantic Versioning cannot be compared
    /// and is under every floor.
    pub fn above(&self, version: &str, platform: AppPlatform) -> Option<&Version> {
        let floor = self.of(platform)?;
        let is_under =
            Version::parse(version).map_or(true, |version| version.cmp_precedence(floor).is_lt());
        is_under.then_some(floor)
    }

    /// As [`Self::above`], for an app that is known.
    pub fn above_app(&self, app: &App) -> Option<&Version> {
        self.above(&app.version, app.platform)
    }
}

/// Whether a route is open to apps of any age.
pub(super) fn is_exempt(method: &Method, raw_path: &str) -> bool {
    let (open_method, paths) = ALWAYS_OPEN;
    method.as_str() == open_method && paths.contains(&raw_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(text: &str) -> VersionFloor {
        let floor = Some(text.parse().unwrap());
        VersionFloor { linux: floor, ..VersionFloor::default() }
    }

    #[test]
    fn versions_are_compared_by_semantic_versioning() {
        for (version, is_under) in [
            ("1.10.0", false),
            ("1.9.9", true),
            ("1.10.0-beta.1", true),
            ("1.10.0+build.7", false),
            ("2.0.0-alpha", false),
            ("1.10", true),
            ("v1.10.0", true),
            ("", true),
        ] {
            let found = floor("1.10.0").above(version, AppPlatform::Linux).is_some();
            assert_eq!(found, is_under, "{version}");
        }
    }

    #[test]
    fn a_floor_is_of_one_platform() {
        let floor = floor("99.0.0");
        assert!(floor.above("1.0.0", AppPlatform::Linux).is_some());
        assert!(floor.above("1.0.0", AppPlatform::Win32).is_none());
        assert!(VersionFloor::default().above("rubbish", AppPlatform::Darwin).is_none());
        assert!(floor.is_set() && !VersionFloor::default().is_set());
    }

    #[test]
    fn only_signing_out_is_open_to_every_version() {
        let out = "/bff/backoffice/v1/auth/sign-out";
        assert!(is_exempt(&Method::POST, out));
        assert!(is_exempt(&Method::POST, &format!("/api{out}")));
        assert!(!is_exempt(&Method::GET, out));
        assert!(!is_exempt(&Method::POST, &format!("/bff/backoffice/v1/x{out}")));
    }
}
