//! The JSON body of a request: checked type, bounded size and time, strict reading, validated
//! members.

use std::{borrow::Cow, error::Error, fmt::Display};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use garde::{
    Validate,
    i18n::{self, I18n, InvalidCreditCard, InvalidEmail, InvalidPhoneNumber, InvalidUrl, IpKind},
};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{codes::Code, layers::BodyTooSlow, problem::Problem, strict_json};

/// A body of `application/json`, read as `T` and valid by its own rules.
///
/// Refusals: 415 for another type or an encoding, 413 and 408 for too much and too slow, 400
/// `MALFORMED_REQUEST` for what is no such document, 400 `VALIDATION_FAILED` with the fields.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

/// A body of `application/json` that is an object; what it may hold is for its reader to check.
///
/// Refusals: as [`Json`], but for `VALIDATION_FAILED`.
#[derive(Clone, Debug)]
pub struct JsonObject(pub Map<String, Value>);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_plain_json(request.headers()) {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
        let bytes = read(request.into_body()).await?;
        parse(&bytes).map(Self)
    }
}

impl<S: Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_plain_json(request.headers()) {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
        let bytes = read(request.into_body()).await?;
        object(&bytes).map(Self)
    }
}

/// Reads a whole body within the limits that the layers put around it.
///
/// # Errors
/// 413 too long, 408 too slow, 400 broken off.
pub async fn read(body: Body) -> Result<Bytes, Problem> {
    let collected = body.collect().await.map_err(|error| {
        if is_caused_by::<LengthLimitError>(&error) {
            Problem::new(Code::PayloadTooLarge)
        } else if is_caused_by::<BodyTooSlow>(&error) {
            Problem::new(Code::RequestTimeout)
        } else {
            malformed("the body broke off")
        }
    })?;
    Ok(collected.to_bytes())
}

/// Reads and validates one document.
///
/// # Errors
/// As [`Json`].
pub fn parse<T>(bytes: &[u8]) -> Result<T, Problem>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    // Serde would take an array for a struct, member by member.
    let value = Value::Object(object(bytes)?);
    let document: T = serde_json::from_value(value).map_err(|error| {
        // Serde quotes what it found, except where it names a member of ours that is missing.
        let message = error.to_string();
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
        match missing {
            Some((field, _)) => malformed("a member is missing").field(field, "REQUIRED"),
            None => malformed("the document does not have the shape that is asked for"),
        }
    })?;
    validate(&document)?;
    Ok(document)
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let value = strict_json::read(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        malformed(&format!("not acceptable as JSON at line {line}, column {column}"))
    })?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(malformed("the document is no object")),
    }
}

/// # Errors
/// 400 `VALIDATION_FAILED` naming each field and what is wrong with it, never its content.
pub fn validate<T: Validate<Context = ()>>(document: &T) -> Result<(), Problem> {
    let Err(report) = i18n::with_i18n(FieldCodes, || document.validate()) else { return Ok(()) };
    let mut problem = Problem::new(Code::ValidationFailed);
    for (path, error) in report.into_inner() {
        problem = problem.field(member_path(&path.to_string()), error.message());
    }
    problem.errors.sort_by(|one, other| one.field.cmp(&other.field));
    Err(problem)
}

/// The path as clients write it: a member `reason_code` of ours is `reasonCode` in the document.
fn member_path(path: &str) -> String {
    let mut is_after_underscore = false;
    path.chars().fold(String::with_capacity(path.len()), |mut members, character| {
        if character == '_' {
            is_after_underscore = true;
        } else {
            let is_first_of_word = std::mem::take(&mut is_after_underscore);
            members.push(if is_first_of_word { character.to_ascii_uppercase() } else { character });
        }
        members
    })
}

fn malformed(detail: &str) -> Problem {
    Problem::new(Code::MalformedRequest).detail(detail)
}

/// `application/json`, in UTF-8 if it says so, and not compressed.
fn is_plain_json(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoded = encodings.any(|encoding| encoding != "identity");
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else { return false };
    let Ok(content_type) = content_type.to_str() else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    is_json
        && !encoded
        && parts.all(|parameter| {
            parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<E>)
}

/// Garde's findings as codes instead of sentences; a validator of ours gives its own code as the
/// message.
struct FieldCodes;

impl I18n for FieldCodes {
    fn length_lower_than(&self, _: usize) -> Cow<'static, str> {
        "TOO_SHORT".into()
    }

    fn length_greater_than(&self, _: usize) -> Cow<'static, str> {
        "TOO_LONG".into()
    }

    fn range_lower_than(&self, _: &dyn Display) -> Cow<'static, str> {
        "TOO_SMALL".into()
    }

    fn range_greater_than(&self, _: &dyn Display) -> Cow<'static, str> {
        "TOO_LARGE".into()
    }

    fn credit_card_invalid(&self, _: InvalidCreditCard) -> Cow<'static, str> {
        INVALID
    }

    fn pattern_no_match(&self, _: &dyn Display) -> Cow<'static, str> {
        INVALID
    }

    fn contains_missing(&self, _: &dyn Display) -> Cow<'static, str> {
        INVALID
    }

    fn url_invalid(&self, _: InvalidUrl) -> Cow<'static, str> {
        INVALID
    }

    fn prefix_missing(&self, _: &dyn Display) -> Cow<'static, str> {
        INVALID
    }

    fn suffix_missing(&self, _: &dyn Display) -> Cow<'static, str> {
        INVALID
    }

    fn phone_number_invalid(&self, _: InvalidPhoneNumber) -> Cow<'static, str> {
        INVALID
    }

    fn ip_invalid(&self, _: IpKind) -> Cow<'static, str> {
        INVALID
    }

    fn matches_field_mismatch(&self, _: &dyn Display) -> Cow<'static, str> {
        INVALID
    }

    fn email_invalid(&self, _: InvalidEmail) -> Cow<'static, str> {
        INVALID
    }

    fn ascii_invalid(&self) -> Cow<'static, str> {
        INVALID
    }

    fn alphanumeric_invalid(&self) -> Cow<'static, str> {
        INVALID
    }

    fn required_not_set(&self) -> Cow<'static, str> {
        "REQUIRED".into()
    }
}

const INVALID: Cow<'static, str> = Cow::Borrowed("INVALID");

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Comment {
        #[garde(length(chars, min = 1, max = 5))]
        text: String,
        #[garde(range(max = 3))]
        #[serde(default)]
        stars: u8,
    }

    #[test]
    fn each_field_is_named_with_what_is_wrong() {
        let problem = parse::<Comment>(br#"{"text": "secret", "stars": 4}"#).unwrap_err();

        assert_eq!(problem.code, Code::ValidationFailed);
        let found: Vec<_> =
            problem.errors.iter().map(|error| (&*error.field, &*error.code)).collect();
        assert_eq!(found, [("stars", "TOO_LARGE"), ("text", "TOO_LONG")]);
    }

    #[test]
    fn another_shape_is_malformed_and_nothing_is_quoted() {
        for wrong in [
            r#"{"text": 4711}"#,
            r#"{"text": "a", "secret": 1}"#,
            r#"["secret"]"#,
            r#"{"text": "a", "stars": -1}"#,
            r#"{"text": "a", "stars": 18446744073709551616}"#,
            r#"{"text": "a", "text": "secret"}"#,
        ] {
            let problem = parse::<Comment>(wrong.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::MalformedRequest, "{wrong}");
            let detail = problem.detail.unwrap();
            assert!(!detail.contains("secret") && !detail.contains("4711"), "{detail}");
        }
        let problem = parse::<Comment>(b"{}").unwrap_err();
        assert_eq!(problem.errors[0].field, "text");
    }

    #[test]
    fn only_plain_json_is_taken() {
        for (content_type, taken) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=utf-16", false),
            ("application/json; boundary=x", false),
            ("application/jsonx", false),
            ("text/json", false),
            ("multipart/form-data; boundary=x", false),
        ] {
            let headers = HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static(content_type),
            )]);
            assert_eq!(is_plain_json(&headers), taken, "{content_type}");
        }
        assert!(!is_plain_json(&HeaderMap::new()));
        let compressed = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        assert!(!is_plain_json(&compressed));
    }
}
