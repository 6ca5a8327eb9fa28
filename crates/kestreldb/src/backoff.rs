//! Waiting between the tries of a transaction.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::turn::{Hold, Turn};

/// So many tries only give way to other threads.
const YIELDS: u32 = 2;
/// The first wait is at most this long, the next ones twice as long each.
const FIRST_WAIT_MICROS: u64 = 20;
/// No wait is longer.
const LONGEST_WAIT_MICROS: u64 = 10_000;

/// A transaction that has lost so often takes [the turn](Turn). Two that meet by chance part before; whoever comes so far meets
/// others all the time, and longer waits only make it meet more of them.
const LOSSES_MAX: u32 = 8;
/// A turn lasts so many times as long as the longest try so far: room for tries that lose to commits on their way, and for a
/// machine that is slower now.
const TURN_TRIES: u32 = 4;
/// No turn is shorter: the thread may have to wait for a processor.
const TURN_MIN: Duration = Duration::from_millis(50);
/// No turn is longer: so long do others wait at most for a closure that, by mistake, waits for them.
const TURN_MAX: Duration = Duration::from_secs(5);

/// Counts the tries of a transaction, and waits longer before each, and in the end for the turn. The waits are random, so that two
/// transactions that met do not meet again.
#[derive(Debug)]
pub(crate) struct Backoff<'a> {
    tries_left: u32,
    losses: u32,
    /// The state of a generator that is good enough for this; zero before the first use.
    random: u64,
    /// When the present try began; unknown of the first, which most often is the only one.
    try_began: Option<Duration>,
    longest_try: Duration,
    turn: &'a Turn,
    hold: Option<Hold<'a>>,
}

impl<'a> Backoff<'a> {
    pub(crate) fn new(retries: u32, turn: &'a Turn) -> Backoff<'a> {
        let longest_try = Duration::ZERO;
        Backoff { tries_left: retries, losses: 0, random: 0, try_began: None, longest_try, turn, hold: None }
    }

    /// Waits, then says whether another try is due.
    pub(crate) fn again(&mut self) -> bool {
        if self.tries_left == 0 {
            return false;
        }
        self.tries_left -= 1;
        self.losses = self.losses.saturating_add(1);
        if self.losses < LOSSES_MAX {
            if let Some(began) = self.try_began {
                self.longest_try = self.longest_try.max(self.turn.now().saturating_sub(began));
            }
            let wait = self.next_wait();
            self.turn.give_way(wait);
        } else if !self.has_turn() {
            self.end_turn();
            let length = (self.longest_try * TURN_TRIES).clamp(TURN_MIN, TURN_MAX);
            self.hold = Some(self.turn.take(length));
        }
        self.try_began = Some(self.turn.now());
        true
    }

    /// Whether the next commits of other threads wait.
    pub(crate) fn has_turn(&self) -> bool {
        self.hold.as_ref().is_some_and(Hold::lasts)
    }

    pub(crate) fn end_turn(&mut self) {
        self.hold = None;
    }

    /// The time to wait for after a loss; `None`: just let others go first.
    fn next_wait(&mut self) -> Option<Duration> {
        let doublings = self.losses.checked_sub(YIELDS + 1);
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
    use kestrel_io::SystemClock;
    use std::sync::Arc;

    #[test]
    fn there_are_as_many_tries_as_asked_for() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        for retries in [0, 3, 20] {
            let mut backoff = Backoff::new(retries, &turn);
            assert!((0..retries).all(|_| backoff.again()));
            assert!(!backoff.again() && !backoff.again());
        }
    }

    #[test]
    fn waits_grow_up_to_a_bound_and_differ() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        let mut backoff = Backoff::new(1000, &turn);
        let mut waits = std::iter::from_fn(|| {
            backoff.losses += 1;
            Some(backoff.next_wait())
        });
        assert!(waits.by_ref().take(YIELDS as usize).all(|wait| wait.is_none()));
        let waits: Vec<Duration> = waits.take(500).map(Option::unwrap).collect();
        assert!(waits[0] <= Duration::from_micros(FIRST_WAIT_MICROS));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_micros(LONGEST_WAIT_MICROS)));
        assert!(waits[100..].iter().max() > Some(&Duration::from_micros(LONGEST_WAIT_MICROS / 2)));
        assert!(waits[100..].iter().min() < Some(&Duration::from_micros(LONGEST_WAIT_MICROS / 2)));
    }

    #[test]
    fn whoever_loses_often_gets_the_turn() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        let mut backoff = Backoff::new(1000, &turn);
        for _ in 1..LOSSES_MAX {
            assert!(backoff.again() && !backoff.has_turn());
        }
        assert!(backoff.again() && backoff.has_turn());
        assert!(backoff.again() && backoff.has_turn(), "it is kept");
        backoff.end_turn();
        assert!(!backoff.has_turn());
        assert!(backoff.again() && backoff.has_turn(), "and taken again");
    }
}
