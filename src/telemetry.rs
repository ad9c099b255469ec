//! Logs: one line an event, JSON in service, text for people.

use std::panic::PanicHookInfo;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// An error and its causes on one line. A cause that the line already ends with is not said twice: some errors
/// print their own.
pub fn causes(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// Starts logging to standard error; `filter` in the syntax of `RUST_LOG`.
///
/// # Errors
/// When the filter does not parse, or logging has been started before.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init()?,
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr)).try_init()?,
    }
    std::panic::set_hook(Box::new(report_panic));
    Ok(())
}

/// A panic as one line that says where. What it says is shown only where it was written into the
/// code: a formatted message may hold anything.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let said = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or_default();
    tracing::error!(at, said, "panicked");
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use anyhow::{Context, anyhow};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[test]
    fn a_panic_is_one_line_that_shows_only_what_the_code_says() {
        let lines = Lines::default();
        let logging = fmt().json().with_writer(lines.clone()).finish();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(report_panic));
        tracing::subscriber::with_default(logging, || {
            let person = std::hint::black_box("Amina\nKarimi");
            let formatted = std::panic::catch_unwind(|| panic!("no room for {person}"));
            let literal = std::panic::catch_unwind(|| panic!("a literal"));
            assert!(formatted.is_err() && literal.is_err());
        });
        std::panic::set_hook(before);

        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains("Amina") && !text.contains("Karimi"), "{text}");
        assert!(text.contains("a literal") && text.contains("telemetry.rs:"), "{text}");
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let refused = anyhow!("connection refused").context("no answer: connection refused");
        let error = Err::<(), _>(refused).context("DATABASE_URL").unwrap_err();
        assert_eq!(causes(&error), "DATABASE_URL: no answer: connection refused");
    }
}
