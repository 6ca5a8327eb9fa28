//! Whether the processors have time for work that only makes later work cheaper.
//!
//! Merging a page's deltas early makes every later look at the page cheaper. On a processor that would be idle it costs nothing;
//! where readers and writers keep all of them busy, it takes their time, and they merge by themselves when a page has
//! many deltas, which costs less for each. The system does not say which of the two it is. But whoever computes without
//! waiting for anything, and in a time has run for less than that time, has been waiting for a processor.

use std::sync::Arc;
use std::time::Duration;

use kestrel_io::Clock;

/// So much work tells whether there is time for more.
const SAMPLE: Duration = Duration::from_millis(5);
/// At least so many hundredths of its time a thread runs that does not have to wait for a processor.
const RUNS_PERCENT: u32 = 75;
/// How long to leave it when there is no time.
const REST: Duration = Duration::from_millis(100);

/// Measures the work of one thread.
#[derive(Debug)]
pub(crate) struct Leisure {
    clock: Arc<dyn Clock>,
    /// Since the last judgement: how long it worked, and how long it ran meanwhile.
    worked: Duration,
    ran: Duration,
    rests_until: Duration,
}

impl Leisure {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Leisure {
        let (worked, ran, rests_until) = Default::default();
        Leisure { clock, worked, ran, rests_until }
    }

    /// Does some work if there is time for it. `None`: there is not.
    pub(crate) fn use_for<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        let begun = self.clock.now();
        if begun < self.rests_until {
            return None;
        }
        let ran_before = self.clock.thread_time();
        let done = work();
        let now = self.clock.now();
        if let (Some(before), Some(after)) = (ran_before, self.clock.thread_time()) {
            self.note(now.saturating_sub(begun), after.saturating_sub(before), now);
        }
        Some(done)
    }

    /// Whether there was no time lately, and may be soon.
    pub(crate) fn is_resting(&self) -> bool {
        self.clock.now() < self.rests_until
    }

    fn note(&mut self, worked: Duration, ran: Duration, now: Duration) {
        self.worked += worked;
        self.ran += ran;
        if self.worked < SAMPLE {
            return;
        }
        if self.ran * 100 < self.worked * RUNS_PERCENT {
            self.rests_until = now + REST;
        }
        (self.worked, self.ran) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kestrel_io::SystemClock;

    #[test]
    fn it_rests_when_the_processors_are_busy_and_not_otherwise() {
        let ms = Duration::from_millis;
        let mut leisure = Leisure::new(Arc::new(SystemClock::new()));
        leisure.note(ms(4), ms(1), ms(10));
        assert_eq!(leisure.rests_until, Duration::ZERO, "too little to judge by");
        leisure.note(ms(4), ms(4), ms(14));
        assert_eq!(leisure.rests_until, ms(14) + REST, "five of eight");
        leisure.note(ms(6), ms(6), ms(300));
        assert_eq!(leisure.rests_until, ms(14) + REST, "what was judged is forgotten");
        leisure.rests_until = leisure.clock.now() + ms(600_000);
        assert!(leisure.is_resting());
        assert_eq!(leisure.use_for(|| 1), None);
        leisure.rests_until = Duration::ZERO;
        assert!(!leisure.is_resting());
        assert_eq!(leisure.use_for(|| 1), Some(1));
    }
}
