//! Why an event was not published, as far as the relay acts on it.

use std::error::Error;

use super::message::Malformed;
use crate::pubsub::PublishError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This event is not taken, and another try of the same is unlikely to change it.
    Refused(String),
    /// No answer, which may be nobody's fault but the broker's.
    Unavailable(String),
    /// Not tried, since an earlier event of the key failed.
    Paused,
}

impl Failure {
    /// In words for an operator.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Refused(reason) | Self::Unavailable(reason) => reason,
            Self::Paused => "an earlier event of the key failed",
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match &error {
            PublishError::Refused(_) => Self::Refused(chain(&error)),
            PublishError::Unavailable(_) | PublishError::Stopped => {
                Self::Unavailable(chain(&error))
            }
            PublishError::Paused => Self::Paused,
        }
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::Refused(error.to_string())
    }
}

/// An error with its causes, for a column and a log line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
