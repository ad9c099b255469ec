//! A request's body that ends with an error when it is too long or takes too long.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Limited;
use tokio::time::Sleep;

use super::Settings;

/// The client took too long to send its body.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body was sent too slowly")]
pub struct BodyTooSlow;

pub(super) struct GuardedBody {
    inner: Limited<Body>,
    timeout: Duration,
    /// Set when the body is first waited for: most are there with their head and need no timer.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl GuardedBody {
    pub(super) fn new(body: Body, settings: Settings) -> Self {
        let inner = Limited::new(body, settings.body_size_max);
        Self { inner, timeout: settings.body_read_timeout, deadline: None }
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let timeout = this.timeout;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(context).map(|()| Some(Err(BodyTooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
