//! Reads along what a client sends and counts the requests that every party on the way delimits in
//! the same way. A request that is not among them is refused, whatever the parser makes of it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes kept of a line: enough for the fields that say where a request ends.
const LINE_KEPT_MAX: usize = 512;
/// Bytes of a request line: no target may be longer than two thirds of it.
const REQUEST_LINE_MAX: usize = 12 * 1024;
/// Bytes a body may say it has; far more than it may have, and few enough for every parser.
const LENGTH_MAX: u64 = 1 << 50;

/// A stream whose incoming requests are followed.
pub(super) struct GuardedStream<Stream> {
    inner: Stream,
    guard: HeadGuard,
}

/// Follows heads and bodies. What it takes for the end of a head, the parser does too.
struct HeadGuard {
    state: State,
    /// The current line of a head, without its end.
    line: Vec<u8>,
    /// Bytes of the line, kept or not.
    line_length: usize,
    after_return: bool,
    head: Head,
    /// Heads that are beyond doubt, since the connection began.
    clear: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes are left of a body.
    Body(u64),
    /// A chunked body. The connection ends with its answer, so that no head follows.
    Chunked,
    /// Nothing that follows can be trusted.
    Ambiguous,
}

/// What a head has said so far of who is asked and where the request ends.
#[derive(Default)]
struct Head {
    begun: bool,
    old_version: bool,
    hosts: usize,
    chunked: bool,
    length: Option<u64>,
}

/// The head means different things to different parties.
struct Ambiguous;

impl<Stream> GuardedStream<Stream> {
    pub(super) fn new(inner: Stream) -> Self {
        Self { inner, guard: HeadGuard::new() }
    }

    /// How many requests of this connection are beyond doubt so far.
    pub(super) fn clear(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.guard.clear)
    }
}

impl HeadGuard {
    fn new() -> Self {
        Self {
            state: State::Head,
            line: Vec::new(),
            line_length: 0,
            after_return: false,
            head: Head::default(),
            clear: Arc::default(),
        }
    }

    /// Looks at bytes that have just arrived.
    fn watch(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Chunked | State::Ambiguous => return,
                State::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Head => {
                    if self.take(bytes[at]).is_err() {
                        metrics::counter!("bff_backoffice_ambiguous_requests_total").increment(1);
                        self.state = State::Ambiguous;
                    } else {
                        at += 1;
                    }
                }
            }
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), Ambiguous> {
        match (byte, self.after_return) {
            (b'\n', true) => {
                self.after_return = false;
                let ended = self.end_line();
                self.line.clear();
                self.line_length = 0;
                return ended;
            }
            // Some take either for the end of a line.
            (b'\n', false) | (_, true) => return Err(Ambiguous),
            (b'\r', false) => self.after_return = true,
            (byte, false) => {
                self.line_length += 1;
                if !self.head.begun && REQUEST_LINE_MAX < self.line_length {
                    return Err(Ambiguous);
                }
                if self.line.len() < LINE_KEPT_MAX {
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Ambiguous> {
        if self.line_length == 0 {
            // Empty lines before a request are passed over.
            return if self.head.begun { self.end_head() } else { Ok(()) };
        }
        if !self.head.begun {
            self.head.begun = true;
            // A long target has its version beyond what is kept; it is none of an old client.
            self.head.old_version = self.line.ends_with(b" HTTP/1.0");
            return Ok(());
        }
        let whole = self.line.len() == self.line_length;
        self.head.field(&self.line, whole)
    }

    fn end_head(&mut self) -> Result<(), Ambiguous> {
        let head = std::mem::take(&mut self.head);
        let hosts_expected = if head.old_version { head.hosts..=1 } else { 1..=1 };
        if !hosts_expected.contains(&head.hosts) || (head.chunked && head.length.is_some()) {
            return Err(Ambiguous);
        }
        self.clear.fetch_add(1, Ordering::SeqCst);
        self.state = match head.length {
            _ if head.chunked => State::Chunked,
            Some(length) if 0 < length => State::Body(length),
            _ => State::Head,
        };
        Ok(())
    }
}

impl Head {
    fn field(&mut self, line: &[u8], whole: bool) -> Result<(), Ambiguous> {
        // A line that continues the one before, or a name with a space behind it.
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(Ambiguous);
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Err(Ambiguous);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") || !whole {
                return Err(Ambiguous);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit) && whole;
            let length = str::from_utf8(value).ok().and_then(|digits| digits.parse::<u64>().ok());
            let is_possible = length.is_some_and(|length| length <= LENGTH_MAX);
            if self.length.is_some() || !digits || !is_possible {
                return Err(Ambiguous);
            }
            self.length = length;
        }
        Ok(())
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for GuardedStream<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.guard.watch(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for GuardedStream<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nhost:y\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\n\r\n:GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];

    const BAD: &[&str] = &[
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n c:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4, 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    ];

    #[test]
    fn what_everybody_delimits_alike_is_counted_however_it_arrives() {
        for (good, requests) in GOOD.iter().zip([1, 2, 1, 2, 1, 2]) {
            for size in 1..=good.len() {
                let (clear, state) = watched(good, size);
                assert_eq!(clear, requests, "{good:?} in pieces of {size}");
                assert_ne!(state, State::Ambiguous, "{good:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn ab_05_what_two_parties_could_delimit_differently_is_not_counted() {
        for bad in BAD {
            let before = u64::from(bad.contains("{}"));
            for size in [1, 3, bad.len()] {
                let (clear, state) = watched(bad, size);
                assert_eq!(state, State::Ambiguous, "{bad:?} in pieces of {size}");
                assert_eq!(clear, before, "{bad:?} in pieces of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, size in 1_usize..50) {
            let mut guard = HeadGuard::new();
            for piece in bytes.chunks(size) {
                guard.watch(piece);
            }
        }
    }

    fn watched(text: &str, size: usize) -> (u64, State) {
        let mut guard = HeadGuard::new();
        for piece in text.as_bytes().chunks(size) {
            guard.watch(piece);
        }
        (guard.clear.load(Ordering::SeqCst), guard.state)
    }
}
