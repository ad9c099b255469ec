//! What an upstream makes of something an operator did here, told for it to know.

use http::StatusCode;

use super::{Answer, UpstreamError};

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It stands as reported.
    Recorded,
    /// Another one stood before it; reporting again changes nothing.
    Already,
    /// The service does not know what it is about.
    Unknown,
}

impl Reported {
    /// What the answer to a report says.
    ///
    /// # Errors
    /// An answer that says nothing of the report: make it again, except after
    /// [`UpstreamError::Problem`].
    pub(super) fn of(answer: Result<Answer, UpstreamError>) -> Result<Self, UpstreamError> {
        match answer {
            Ok(_) => Ok(Self::Recorded),
            Err(error) if stands_already(&error) => Ok(Self::Already),
            Err(error) if error.problem_with(StatusCode::NOT_FOUND).is_some() => Ok(Self::Unknown),
            Err(error) => Err(error),
        }
    }
}

/// A conflict that is about the matter, not about our own key being under way.
fn stands_already(error: &UpstreamError) -> bool {
    let conflict = error.problem_with(StatusCode::CONFLICT);
    conflict.is_some_and(|problem| !problem.is_about_the_key())
}
