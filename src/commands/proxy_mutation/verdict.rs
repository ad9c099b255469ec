//! What the end of a call means for the ledger, and what is kept of it as the answer.

use crate::{
    aggregates::operator_action::Conclusion,
    ledger::StoredResponse,
    upstream::{Answer, UpstreamError, ending::Ending},
};

/// The answer that stands for everybody who repeats the request, or why there is none.
pub type Kept = Result<StoredResponse, UpstreamError>;

/// What is recorded of a call that ended so, and what is answered.
pub fn of(ending: Ending, render: impl Fn(&UpstreamError) -> StoredResponse) -> (Conclusion, Kept) {
    match ending {
        Ending::Done(answer) => {
            let status = answer.status.as_u16();
            (Conclusion::Completed { status }, Ok(kept(answer)))
        }
        Ending::Refused(error) => {
            let (status, code) = error.said();
            let status = status.unwrap_or_default();
            (Conclusion::Refused { status, code }, Ok(render(&error)))
        }
        Ending::NotDone(error) => {
            let (status, code) = error.said();
            (Conclusion::NotSent { status, code }, Err(error))
        }
        Ending::Unknown(error) => {
            let (status, _) = error.said();
            (Conclusion::Unknown { status }, Err(error))
        }
    }
}

/// The upstream's answer as everybody gets it who repeats the request.
fn kept(answer: Answer) -> StoredResponse {
    let etag = answer.etag.map(|etag| ("etag".to_owned(), etag));
    if answer.body.is_null() {
        return StoredResponse::new(answer.status.as_u16(), etag, Vec::new());
    }
    let mut response = StoredResponse::json(answer.status.as_u16(), &answer.body);
    response.headers.extend(etag);
    response
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::upstream::Service;

    fn render(error: &UpstreamError) -> StoredResponse {
        StoredResponse::new(422, None, error.to_string().into_bytes())
    }

    #[test]
    fn a_refusal_is_kept_as_it_is_rendered() {
        let service = Service::Billing;
        let status = Some(StatusCode::CONFLICT);
        let error = || UpstreamError::Failed { service, status, source: None };
        let (conclusion, kept) = of(Ending::Refused(error()), render);
        assert_eq!(conclusion, Conclusion::Refused { status: 409, code: String::new() });
        assert_eq!(kept.unwrap(), render(&error()));
    }

    #[test]
    fn an_answer_is_kept_with_its_version_and_without_a_body_where_it_had_none() {
        for (status, body, bytes) in [
            (StatusCode::OK, json!({ "id": "rsv_1" }), br#"{"id":"rsv_1"}"#.as_slice()),
            (StatusCode::NO_CONTENT, Value::Null, b""),
        ] {
            let etag = Some("\"7\"".to_owned());
            let done = Ending::Done(Answer { status, etag, body });
            let (conclusion, kept) = of(done, render);
            let kept = kept.unwrap();
            assert_eq!(conclusion, Conclusion::Completed { status: status.as_u16() });
            assert_eq!((kept.status, kept.body.as_slice()), (status.as_u16(), bytes));
            assert!(kept.headers.contains(&("etag".to_owned(), "\"7\"".to_owned())));
        }
    }
}
