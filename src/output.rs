//! What a command prints for whoever started it.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Nobody reads on, as when `head` has seen enough: nothing is wrong.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub struct Unread;

/// One line on standard output.
///
/// # Errors
/// [`Unread`], or that it cannot be written.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Unread.into()),
        written => Ok(written?),
    }
}
