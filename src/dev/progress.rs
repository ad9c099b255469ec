//! Shows what is being waited for: a spinner on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

/// One step that has begun. Dropped without [`Self::done`] it disappears: an error follows.
pub struct Progress {
    what: &'static str,
    began: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    pub fn begin(what: &'static str) -> Self {
        let spinner = stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner().with_message(what);
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        if spinner.is_none() {
            eprintln!("dev: {what}");
        }
        Self { what, began: Instant::now(), spinner }
    }

    pub fn done(self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
            eprintln!("dev: {} ({} ms)", self.what, self.began.elapsed().as_millis());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
