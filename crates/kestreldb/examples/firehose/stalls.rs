//! Calls that took too long.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::disk::Syncs;

/// No batch and no question should wait longer, the disk's own sync time apart.
const LIMIT: Duration = Duration::from_millis(50);

/// Calls of one kind that took longer than the limit.
#[derive(Debug, Default)]
pub struct Stalls {
    count: AtomicU64,
    longest_micros: AtomicU64,
    /// Of those, how many did although no long sync was to blame.
    unexcused: AtomicU64,
    unexcused_longest_micros: AtomicU64,
}

impl Stalls {
    /// Notes a call that has just ended.
    pub fn record(&self, begun: Instant, ended: Instant, syncs: &Syncs) {
        let took = ended - begun;
        self.longest_micros.fetch_max(micros(took), Ordering::Relaxed);
        if took <= LIMIT {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let own = took.saturating_sub(syncs.during(begun, ended));
        if own > LIMIT {
            self.unexcused.fetch_add(1, Ordering::Relaxed);
            self.unexcused_longest_micros.fetch_max(micros(own), Ordering::Relaxed);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |micros: &AtomicU64| Duration::from_micros(micros.load(Ordering::Relaxed));
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        write!(f, "longest {:.1?}, {} over {LIMIT:?}", time(&self.longest_micros), count(&self.count))?;
        if count(&self.count) > 0 {
            write!(f, " ({} without a long sync to blame", count(&self.unexcused))?;
            if count(&self.unexcused) > 0 {
                write!(f, ", the longest {:.1?}", time(&self.unexcused_longest_micros))?;
            }
            write!(f, ")")?;
        }
        Ok(())
    }
}
