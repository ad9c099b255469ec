//! Whether a proof's `htu` names the request: RFC 9449 §4.3-9 with the comparison of RFC 3986 §6.2.
//!
//! The public bases come from configuration. `Host` and `X-Forwarded-*` are the sender's words and
//! are never asked. The forms of one IPv6 address are one address; all else is compared by letters.

use fluent_uri::Uri;

/// The prefix an edge may have stripped before the request reached us.
const EDGE_PREFIX: &str = "/api";

/// The public base is not an absolute http(s) URI without user, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public base: {0}")]
pub struct InvalidBase(pub String);

/// The public bases under which clients reach this service, normalised; with and without `/api`.
#[derive(Clone, Debug)]
pub struct PublicBases(Vec<String>);

impl PublicBases {
    /// # Errors
    /// The first base that is none, or an empty string for an empty list.
    pub fn parse<'a>(bases: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidBase> {
        let bases = bases.into_iter().map(normal_base).collect::<Result<Vec<_>, _>>()?;
        if bases.is_empty() { Err(InvalidBase(String::new())) } else { Ok(Self(bases)) }
    }

    /// Whether `htu` is one of our bases and the path of the request, its query and fragment aside.
    pub fn names(&self, htu: &str, path: &RequestPath) -> bool {
        let Some(htu) = normalise(htu) else { return false };
        self.0.iter().filter_map(|base| htu.strip_prefix(base.as_str())).any(|rest| {
            let inner = rest.strip_prefix(EDGE_PREFIX).filter(|inner| inner.starts_with('/'));
            rest == path.0 || inner == Some(path.0.as_str())
        })
    }
}

/// The raw path of a request, normalised, without the edge's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath(String);

impl RequestPath {
    /// `None` for what is not an absolute path of RFC 3986, so `*`, a backslash or a stray `%`.
    pub fn parse(raw_path: &str) -> Option<Self> {
        if !raw_path.starts_with('/') || raw_path.contains(['?', '#']) {
            return None;
        }
        let normal = normalise(&format!("http://host{raw_path}"))?;
        let path = normal.strip_prefix("http://host")?;
        let inner = path.strip_prefix(EDGE_PREFIX).filter(|inner| inner.starts_with('/'));
        Some(Self(inner.unwrap_or(path).to_owned()))
    }
}

/// Scheme, authority and path, normalised (§6.2.2, §6.2.3); `None` for what has no such form or
/// carries a user.
fn normalise(text: &str) -> Option<String> {
    let uri = Uri::parse(text).ok()?.normalize();
    if !matches!(uri.scheme().as_str(), "http" | "https") {
        return None;
    }
    let authority = uri.authority()?;
    if authority.has_userinfo() || authority.host().is_empty() {
        return None;
    }
    let path = if uri.path().is_empty() { "/" } else { uri.path().as_str() };
    Some(format!("{}://{}{path}", uri.scheme(), authority.as_str()))
}

fn normal_base(base: &str) -> Result<String, InvalidBase> {
    let invalid = || InvalidBase(base.to_owned());
    if base.contains(['?', '#']) {
        return Err(invalid());
    }
    let normal = normalise(base).ok_or_else(invalid)?;
    Ok(normal.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_an_absolute_http_uri() {
        for wrong in ["", "api.example", "ftp://a", "https://u@a", "https://a?x", "https://a#x"] {
            assert!(PublicBases::parse([wrong]).is_err(), "{wrong}");
        }
        assert!(PublicBases::parse([]).is_err());
    }

    #[test]
    fn only_a_whole_segment_is_the_edges_prefix() {
        let bases = PublicBases::parse(["https://bff.example"]).unwrap();
        for (raw_path, path) in [("/api/x", "/x"), ("/x", "/x"), ("/apix", "/apix")] {
            let parsed = RequestPath::parse(raw_path).unwrap();
            assert_eq!(parsed.0, path);
            assert!(bases.names(&format!("https://bff.example{raw_path}"), &parsed), "{raw_path}");
            assert!(bases.names(&format!("https://bff.example/api{path}"), &parsed), "{raw_path}");
        }
    }

    #[test]
    fn a_request_path_is_absolute() {
        for wrong in ["", "*", "a", "/a?b", "/%zz", "/a\\b", "/a b"] {
            assert_eq!(RequestPath::parse(wrong), None, "{wrong}");
        }
    }
}
