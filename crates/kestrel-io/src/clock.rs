//! Time, as the engine sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A clock. It should never go back, but no ordering in the engine depends on it: only pacing and figures do.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// How long the calling thread has been running on a processor, where that is known.
    fn thread_time(&self) -> Option<Duration> {
        None
    }

    /// Lets so much time pass for the calling thread, or just lets others run first.
    fn pass(&self, time: Option<Duration>);
}

/// The monotonic clock of the operating system, counted from the value's creation.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock that starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn thread_time(&self) -> Option<Duration> {
        thread_time()
    }

    fn pass(&self, time: Option<Duration>) {
        match time {
            Some(time) => thread::sleep(time),
            None => thread::yield_now(),
        }
    }
}

/// How long the calling thread has been running on a processor, where the system tells. Beside a clock it says how much of a
/// time the thread had a processor.
#[must_use]
pub fn thread_time() -> Option<Duration> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        Some(Duration::new(seconds, nanoseconds))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    None
}

/// A clock that stands still until [advanced](ManualClock::advance). Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanoseconds: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time on. It stops at the last nanosecond of its 64 bits, after some 584 years.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let advanced = |now: u64| Some(now.saturating_add(by));
        // The closure never declines, so the update cannot fail.
        let _ = self.nanoseconds.fetch_update(Ordering::AcqRel, Ordering::Acquire, advanced);
    }

    /// Sets the time, also to one that was before: what a clock should never do, and some have done.
    pub fn set(&self, to: Duration) {
        let to = u64::try_from(to.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.store(to, Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Acquire))
    }

    fn pass(&self, time: Option<Duration>) {
        self.advance(time.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_never_goes_back() {
        let clock = SystemClock::new();
        let mut last = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn manual_clock_moves_only_when_told_and_saturates() {
        let clock = ManualClock::new();
        let shared = clock.clone();
        assert_eq!(clock.now(), Duration::ZERO);
        shared.advance(Duration::from_millis(5));
        assert_eq!(clock.now(), Duration::from_millis(5));
        clock.set(Duration::from_millis(3));
        assert_eq!(shared.now(), Duration::from_millis(3));
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }
}
