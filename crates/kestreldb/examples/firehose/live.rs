//! The line that shows how it goes: rewritten in place on a terminal, printed now and then elsewhere.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::meter::Meter;

const TERMINAL_INTERVAL: Duration = Duration::from_millis(500);
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);
/// How often to look whether it is over.
const TICK: Duration = Duration::from_millis(20);

/// Shows the meter until the deadline, or until the run was stopped or has `finished`.
pub fn watch(meter: &Meter, deadline: Instant, stop: &AtomicBool, finished: impl Fn() -> bool) {
    let line = io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
    });
    let interval = if line.is_some() { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
    let begun = Instant::now();
    let mut shown = begun;
    while Instant::now() < deadline && !stop.load(Ordering::Relaxed) && !finished() {
        thread::sleep(TICK.min(deadline.saturating_duration_since(Instant::now())));
        let passed = shown.elapsed();
        if passed >= interval {
            shown = Instant::now();
            let figures = meter.interval(passed);
            match &line {
                Some(line) => {
                    line.set_message(figures.to_string());
                    line.tick();
                }
                None => eprintln!("{:4.0}s {figures}", begun.elapsed().as_secs_f64()),
            }
        }
    }
    if let Some(line) = line {
        line.finish_and_clear();
    }
}
