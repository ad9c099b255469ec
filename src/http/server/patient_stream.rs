//! A stream whose writes fail when the other side takes nothing for too long, and which, when it is
//! closed with bytes unread, swallows them first: a reset would take the last answer with it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How long a closed stream swallows what still arrives.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes swallowed at most.
const LINGER_SIZE_MAX: usize = 1024 * 1024;

pub(super) struct PatientStream<Stream> {
    inner: Stream,
    timeout: Duration,
    /// Runs while a write waits; kept for the next wait.
    patience: Pin<Box<Sleep>>,
    waiting: bool,
    closing: Closing,
}

/// How far closing has come.
#[derive(Clone, Copy)]
enum Closing {
    NotYet,
    /// Our side is closed; nothing unread has been met.
    Ours,
    /// There were unread bytes: this many so far.
    Swallowing(usize),
}

impl<Stream> PatientStream<Stream> {
    pub(super) fn new(inner: Stream, timeout: Duration) -> Self {
        let patience = Box::pin(tokio::time::sleep(timeout));
        Self { inner, timeout, patience, waiting: false, closing: Closing::NotYet }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.waiting = false;
            return progress;
        }
        if !self.waiting {
            self.waiting = true;
            self.patience.as_mut().reset(Instant::now() + self.timeout);
        }
        self.patience.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<Stream: AsyncRead + Unpin> PatientStream<Stream> {
    /// Ready when the other side has closed, when nothing was unread, or when it has been enough.
    fn poll_swallow(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            let read = Pin::new(&mut self.inner).poll_read(context, &mut buffer);
            let before = match (read, self.closing) {
                (Poll::Pending, Closing::Swallowing(_)) => {
                    return self.patience.as_mut().poll(context).map(Ok);
                }
                (Poll::Pending | Poll::Ready(Err(_)), _) => return Poll::Ready(Ok(())),
                (Poll::Ready(Ok(())), Closing::Swallowing(before)) => before,
                (Poll::Ready(Ok(())), Closing::NotYet | Closing::Ours) => {
                    self.patience.as_mut().reset(Instant::now() + LINGER);
                    0
                }
            };
            let swallowed = buffer.filled().len();
            if swallowed == 0 || LINGER_SIZE_MAX < before + swallowed {
                return Poll::Ready(Ok(()));
            }
            self.closing = Closing::Swallowing(before + swallowed);
        }
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for PatientStream<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PatientStream<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Flushing a socket is always done at once: it says nothing about progress.
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::NotYet) {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
            self.closing = Closing::Ours;
        }
        self.poll_swallow(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_ends_the_stream() {
        let (ours, _theirs) = duplex(16);
        let mut stream = PatientStream::new(ours, TIMEOUT);
        let started = Instant::now();

        let ended = stream.write_all(&[0; 64]).await;

        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_waited_for() {
        let (ours, mut theirs) = duplex(16);
        let mut stream = PatientStream::new(ours, TIMEOUT);
        let reading = async {
            for _ in 0..4 {
                tokio::time::advance(TIMEOUT.saturating_sub(Duration::from_secs(1))).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            }
        };

        let (written, ()) = tokio::join!(stream.write_all(&[0; 64]), reading);

        written.unwrap();
    }
}
