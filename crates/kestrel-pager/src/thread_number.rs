//! Numbers of threads, so that each finds its own among things that there are some of.
//!
//! A thread gives its number back when it ends, and a new one takes the least that is free: so the numbers of the threads
//! that there are stay small, and as long as they are not more than the things to choose from, no two of them choose the same.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

/// Numbers that were given back, and the least that never was given out. No part of any protocol, so none of the locks that
/// checkers replace.
struct Numbers {
    free: BinaryHeap<Reverse<usize>>,
    next: usize,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: BinaryHeap::new(), next: 0 });

/// A number that no other thread has.
struct Taken(usize);

impl Taken {
    fn new() -> Taken {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Reverse(number)) = numbers.free.pop() {
            return Taken(number);
        }
        numbers.next += 1;
        Taken(numbers.next - 1)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // What this thread still does while it ends, it does under a number that another may have: nothing depends on it.
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.free.push(Reverse(self.0));
    }
}

const UNKNOWN: usize = usize::MAX;

thread_local! {
    static TAKEN: Taken = Taken::new();
    /// The same, for a look that costs a load.
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
}

/// This thread's number.
#[inline]
pub fn thread_number() -> usize {
    // The threads of a model are one to the system; they had better meet, and do the same again when they are run again.
    if cfg!(any(kestrel_loom, kestrel_shuttle)) {
        return 0;
    }
    match NUMBER.get() {
        UNKNOWN => take(),
        number => number,
    }
}

#[cold]
fn take() -> usize {
    let number = TAKEN.try_with(|taken| taken.0).unwrap_or(0);
    NUMBER.set(number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;

    #[test]
    fn threads_have_numbers_of_their_own_and_give_them_back() {
        let mine = thread_number();
        let most = || {
            let barrier = Barrier::new(8);
            std::thread::scope(|scope| {
                let number = || {
                    let number = thread_number();
                    barrier.wait();
                    assert_eq!(thread_number(), number);
                    number
                };
                let others: Vec<_> = (0..8).map(|_| scope.spawn(number)).collect();
                let numbers: HashSet<usize> =
                    others.into_iter().filter_map(|other| other.join().ok()).collect();
                assert_eq!(numbers.len(), 8, "{numbers:?}");
                assert!(!numbers.contains(&mine));
                numbers.into_iter().max()
            })
        };
        // Other tests have threads as well, so a bound is all there is to know: far less than one each.
        let last = (0..50).filter_map(|_| most()).next_back();
        assert!(last.is_some_and(|last| last < 200), "{last:?}");
    }
}
