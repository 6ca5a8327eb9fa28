//! How far a load has come, on a terminal.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

const OF_KNOWN_LENGTH: &str =
    "{bar:16} {percent:>3} % of {decimal_total_bytes}  {decimal_bytes_per_sec}  {msg}  {eta} left";
const OF_UNKNOWN_LENGTH: &str = "{spinner} {decimal_bytes}  {decimal_bytes_per_sec}  {msg}";

/// A bar where the input's length is known, otherwise a count. Nothing where the standard error is no
/// terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Begins at nothing of so many bytes.
    pub(crate) fn new(bytes_total: Option<u64>) -> Progress {
        let (bar, template) = match bytes_total {
            Some(total) => (ProgressBar::new(total), OF_KNOWN_LENGTH),
            None => (ProgressBar::new_spinner(), OF_UNKNOWN_LENGTH),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress { bar: bar.with_style(style), started: Instant::now() }
    }

    /// So many bytes were read, and so many entries stored.
    pub(crate) fn update(&self, bytes: u64, entries: u64) {
        if self.bar.is_hidden() {
            return;
        }
        let rate = entries as f64 / self.started.elapsed().as_secs_f64().max(f64::EPSILON);
        self.bar.set_message(format!("{entries} entries, {rate:.0}/s"));
        self.bar.set_position(bytes);
    }

    /// Prints a line to the standard error, without disorder.
    pub(crate) fn print(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
