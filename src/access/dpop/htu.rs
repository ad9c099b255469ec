//! Whether a proof's `htu` names the request: RFC 9449 §4.3-9 with the comparison of RFC 3986 §6.2.
//!
//! The public bases come from configuration. `Host` and `X-Forwarded-*` are the sender's words and
//! are never asked.

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

    fn names(base: &str, htu: &str, raw_path: &str) -> bool {
        let path = RequestPath::parse(raw_path).expect("a path");
        PublicBases::parse([base]).expect("a base").names(htu, &path)
    }

    #[test]
    fn what_rfc_3986_equates_names_the_request() {
        for (case, htu, path) in [
            ("dp_htu_01", "https://api.example/a/b", "/a/b"),
            ("dp_htu_02_both", "https://api.example/a/b?q=1#f", "/a/b"),
            ("dp_htu_02_fragment", "https://api.example/a/b#", "/a/b"),
            ("dp_htu_02_bare", "https://api.example/a/b?", "/a/b"),
            ("dp_htu_04", "HTTPS://API.EXAMPLE/a/b", "/a/b"),
            ("dp_htu_05_default", "https://api.example:443/a/b", "/a/b"),
            ("dp_htu_05_empty", "https://api.example:/a/b", "/a/b"),
            ("dp_htu_10", "https://api.example", "/"),
            ("dp_htu_11_letter", "https://api.example/%61/b", "/a/b"),
            ("dp_htu_11_tilde", "https://api.example/%7Ea", "/~a"),
            ("dp_htu_12", "https://api.example/a%2fb", "/a%2Fb"),
            ("dp_htu_13", "https://api.example/x/../a/./b", "/a/b"),
            ("dp_htu_13_encoded", "https://api.example/x/%2e%2e/a/b", "/a/b"),
            ("dp_htu_17_port", "https://api.example:0443/a/b", "/a/b"),
            ("dp_htu_25_edge", "https://api.example/api/a/b", "/a/b"),
            ("dp_htu_25_edge_unstripped", "https://api.example/api/a/b", "/api/a/b"),
            ("dp_htu_25_edge_only_here", "https://api.example/a/b", "/api/a/b"),
        ] {
            assert!(names("https://api.example", htu, path), "{case}");
        }
        assert!(names("https://xn--bcher-kva.example", "https://xn--bcher-kva.example/", "/"));
        assert!(names("https://api.example/svc1", "https://api.example/svc1/a", "/a"));
        assert!(names("http://[::1]:8083", "http://[0:0:0:0:0:0:0:1]:8083/a", "/a"));
    }

    #[test]
    fn what_rfc_3986_tells_apart_does_not() {
        for (case, htu, path) in [
            ("dp_htu_06_port", "https://api.example:8443/a", "/a"),
            ("dp_htu_06_port_80", "https://api.example:80/a", "/a"),
            ("dp_htu_06_scheme", "http://api.example/a", "/a"),
            ("dp_htu_07", "https://api.example/A", "/a"),
            ("dp_htu_08_added", "https://api.example/a/", "/a"),
            ("dp_htu_08_removed", "https://api.example/a", "/a/"),
            ("dp_htu_09", "https://api.example//a", "/a"),
            ("dp_htu_12_slash", "https://api.example/a%2Fb", "/a/b"),
            ("dp_htu_12_twice", "https://api.example/a%252Fb", "/a%2Fb"),
            ("dp_htu_15", "https://u:p@api.example/a", "/a"),
            ("dp_htu_15_empty", "https://@api.example/a", "/a"),
            ("dp_htu_16_host", "https://other.example/a", "/a"),
            ("dp_htu_16_suffix", "https://api.example.evil.tld/a", "/a"),
            ("dp_htu_16_user", "https://api.example@evil.tld/a", "/a"),
            ("dp_htu_17_backslashes", r"https:\\api.example\a", "/a"),
            ("dp_htu_17_no_slashes", "https:api.example/a", "/a"),
            ("dp_htu_17_four_slashes", "https:////api.example/a", "/a"),
            ("dp_htu_17_tab", "https://api.ex\tample/a", "/a"),
            ("dp_htu_17_newline", "https://api.ex\nample/a", "/a"),
            ("dp_htu_17_space", " https://api.example/a", "/a"),
            ("dp_htu_17_full_width", "https://\u{ff41}pi.example/a", "/a"),
            ("dp_htu_18_relative", "/a", "/a"),
            ("dp_htu_18_no_scheme", "api.example/a", "/a"),
            ("dp_htu_18_empty", "", "/a"),
            ("dp_htu_18_junk", ":::*;", "/a"),
            ("dp_htu_19", "https://b\u{fc}cher.example/a", "/a"),
            ("dp_htu_21", "https://api.example./a", "/a"),
            ("dp_htu_26", "http://10.0.0.7:8080/a", "/a"),
            ("dp_htu_scheme", "ftp://api.example/a", "/a"),
            ("dp_htu_port_prefix", "https://api.example1/a", "/a"),
            ("dp_htu_edge_glued", "https://api.example/apia", "/a"),
            ("dp_htu_edge_twice", "https://api.example/api/api/a", "/a"),
        ] {
            assert!(!names("https://api.example", htu, path), "{case}");
        }
        assert!(!names("http://127.0.0.1:8083", "http://0x7f.1:8083/a", "/a"));
        assert!(!names("https://api.example/svc1", "https://api.example/a", "/a"));
    }

    #[test]
    fn a_base_is_an_absolute_http_uri() {
        for wrong in ["", "api.example", "ftp://a", "https://u@a", "https://a?x", "https://a#x"] {
            assert!(PublicBases::parse([wrong]).is_err(), "{wrong}");
        }
        assert!(PublicBases::parse([]).is_err());
    }

    #[test]
    fn a_request_path_is_absolute() {
        for wrong in ["", "*", "a", "/a?b", "/%zz", "/a\\b", "/a b"] {
            assert_eq!(RequestPath::parse(wrong), None, "{wrong}");
        }
    }
}
