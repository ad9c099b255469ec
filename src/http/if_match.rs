//! `If-Match` (RFC 9110 §13.1.1): which version a change is about.

use http::{HeaderMap, header};

use super::{codes::Code, problem::Problem};

const TAG_CHARS_MAX: usize = 128;

/// One strong entity tag, or `*`; `None` where the header is not there.
///
/// # Errors
/// 400 for a list, a weak tag and anything else: no version of ours is named by it.
pub fn read(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let (value, None) = (values.next(), values.next()) else { return Err(invalid()) };
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().map_err(|_| invalid())?;
    let is_tag = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .is_some_and(|tag| tag.len() <= TAG_CHARS_MAX && !tag.contains('"'));
    if is_tag || text == "*" { Ok(Some(text)) } else { Err(invalid()) }
}

fn invalid() -> Problem {
    Problem::new(Code::ValidationFailed).field("If-Match", "INVALID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_strong_tag_is_read_and_nothing_else() {
        let headers = |values: &[&str]| {
            let values = values.iter().map(|value| (header::IF_MATCH, value.parse().unwrap()));
            values.collect::<HeaderMap>()
        };
        assert_eq!(read(&headers(&[])).unwrap(), None);
        assert_eq!(read(&headers(&["\"1-0\""])).unwrap(), Some("\"1-0\""));
        assert_eq!(read(&headers(&["*"])).unwrap(), Some("*"));
        for bad in
            [&["1-0"][..], &["W/\"1\""], &["\"1\", \"2\""], &["\"1\"", "\"2\""], &[""], &["\""]]
        {
            assert!(read(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}
