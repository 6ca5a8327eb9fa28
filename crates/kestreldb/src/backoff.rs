//! Waiting between the tries of a transaction.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::background;

/// So many tries only give way to other threads.
const YIELDS: u32 = 2;
/// The first wait is at most this long, the next ones twice as long each.
const FIRST_WAIT_MICROS: u64 = 20;
/// No wait is longer.
const LONGEST_WAIT_MICROS: u64 = 10_000;

/// Counts the tries of a transaction, and waits longer before each. The waits are random, so that two transactions that
/// met do not meet again.
#[derive(Debug)]
pub(crate) struct Backoff {
    tries_left: u32,
    tries: u32,
    /// The state of a generator that is good enough for this; zero before the first use.
    random: u64,
}

impl Backoff {
    pub(crate) fn new(retries: u32) -> Backoff {
        Backoff { tries_left: retries, tries: 0, random: 0 }
    }

    /// Waits, then says whether another try is due.
    pub(crate) fn again(&mut self) -> bool {
        if self.tries_left == 0 {
            return false;
        }
        self.tries_left -= 1;
        background::give_way(self.next_wait());
        true
    }

    fn next_wait(&mut self) -> Option<Duration> {
        let doublings = self.tries.checked_sub(YIELDS);
        self.tries = self.tries.saturating_add(1);
        let longest = (FIRST_WAIT_MICROS << doublings?.min(16)).min(LONGEST_WAIT_MICROS);
        Some(Duration::from_micros(1 + self.random() % longest))
    }

    /// Marsaglia's xorshift ("Xorshift RNGs", 2003), seeded with what the standard library seeds its hash maps with.
    fn random(&mut self) -> u64 {
        if self.random == 0 {
            self.random = RandomState::new().hash_one(0) | 1;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_tries_as_asked_for() {
        let mut backoff = Backoff::new(3);
        assert!(backoff.again() && backoff.again() && backoff.again());
        assert!(!backoff.again() && !backoff.again());
        assert!(!Backoff::new(0).again());
    }

    #[test]
    fn waits_grow_up_to_a_bound_and_differ() {
        let mut backoff = Backoff::new(1000);
        assert_eq!(backoff.next_wait(), None);
        assert_eq!(backoff.next_wait(), None);
        let waits: Vec<Duration> =
            std::iter::repeat_with(|| backoff.next_wait().unwrap()).take(500).collect();
        assert!(waits[0] <= Duration::from_micros(FIRST_WAIT_MICROS));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_micros(LONGEST_WAIT_MICROS)));
        assert!(waits[100..].iter().max() > Some(&Duration::from_micros(LONGEST_WAIT_MICROS / 2)));
        assert!(waits[100..].iter().min() < Some(&Duration::from_micros(LONGEST_WAIT_MICROS / 2)));
    }
}
