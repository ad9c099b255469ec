//! One spelling per path: others are refused before they can mean two things to two parties.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, Uri, header, uri::PathAndQuery};

use crate::http::{codes::Code, problem::Problem};

/// Bytes of path and query.
const TARGET_SIZE_MAX: usize = 8 * 1024;
/// What the edge puts before our paths.
const EDGE_PREFIX: &str = "/api";
/// The methods that some route has.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT");

/// Refuses what is spelt ambiguously, then strips the edge's prefix.
pub(super) async fn canonical(mut request: Request, next: Next) -> Response {
    // Neither a proxy, nor a mirror, nor anything that is asked as a whole.
    let is_for_proxies = matches!(*request.method(), Method::CONNECT | Method::TRACE);
    if is_for_proxies || request.uri().path() == "*" {
        return Problem::new(Code::MethodNotAllowed).header(header::ALLOW, ALLOWED).into_response();
    }
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if 1 < hosts || !is_canonical(request.uri()) {
        return Problem::new(Code::MalformedRequest)
            .detail("the request's target is not in its canonical form")
            .into_response();
    }
    if let Some(stripped) = without_edge_prefix(request.uri()) {
        *request.uri_mut() = stripped;
    }
    next.run(request).await
}

fn is_canonical(uri: &Uri) -> bool {
    let path = uri.path();
    let query = uri.query().unwrap_or_default();
    path.starts_with('/')
        && path.len() + query.len() <= TARGET_SIZE_MAX
        && !path.contains("//")
        && !path.contains('\\')
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        && escapes(path).all(|escape| escape.is_some_and(is_escape_of_its_own))
        && escapes(query).all(|escape| escape.is_some_and(|byte| byte != 0))
}

/// The bytes that percent escapes stand for; `None` for a broken escape.
fn escapes(text: &str) -> impl Iterator<Item = Option<u8>> {
    text.split('%').skip(1).map(|rest| {
        let digits = rest.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        u8::from_str_radix(digits, 16).ok()
    })
}

/// Neither a separator or dot in disguise nor a control character.
fn is_escape_of_its_own(byte: u8) -> bool {
    !matches!(byte, b'/' | b'\\' | b'.') && !byte.is_ascii_control()
}

fn without_edge_prefix(uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(EDGE_PREFIX)?;
    if !rest.starts_with('/') {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_spelling_is_not_canonical() {
        for (target, canonical) in [
            ("/bff/backoffice/v1/session", true),
            ("/alerts/%D9%82?x=%20y&z", true),
            ("/a.b/c..d/e", true),
            ("/a//b", false),
            ("/a/./b", false),
            ("/a/../b", false),
            ("/a/..", false),
            ("/a/%2e%2e/b", false),
            ("/a/%2E/b", false),
            ("/a%2fb", false),
            ("/a%5Cb", false),
            ("/a%00", false),
            ("/a%0d%0a", false),
            ("/a%", false),
            ("/a%4", false),
            ("/a%zz", false),
            ("/a%+1", false),
            ("/a?x=%00", false),
            ("/a?x=%", false),
            ("*", false),
        ] {
            let uri: Uri = target.parse().unwrap();
            assert_eq!(is_canonical(&uri), canonical, "{target}");
        }
        let long: Uri = format!("/a?{}", "x".repeat(TARGET_SIZE_MAX)).parse().unwrap();
        assert!(!is_canonical(&long));
    }

    #[test]
    fn only_the_edges_own_segment_is_stripped() {
        let stripped =
            |target: &str| without_edge_prefix(&target.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(stripped("/api/bff/x?y=1").as_deref(), Some("/bff/x?y=1"));
        assert_eq!(stripped("http://host/api/bff").as_deref(), Some("http://host/bff"));
        assert_eq!(stripped("/apiary"), None);
        assert_eq!(stripped("/api"), None);
        assert_eq!(stripped("/bff/api/x"), None);
    }
}
