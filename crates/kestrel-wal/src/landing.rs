//! Where threads sleep until a flight of the log has landed.
//!
//! Each sleeps on a lock of its own. Whoever wakes all of them wakes two, and leaves to each of these half of the others, who go
//! on in the same way: so the disk's next flight is not held up by waking the last one's passengers, and they are awake
//! after a time that grows with the logarithm of their number. (One condition variable for all would hand its lock from
//! one to the next, each only awake when the one before has run.)
//!
//! Invariant: a thread that was taken out of the list is woken, whatever comes of the others: passing on is the first thing
//! that it does.

use std::sync::Arc;

use kestrel_check::sync::{Condvar, Mutex};

/// Some threads that sleep.
#[derive(Debug, Default)]
pub(crate) struct Landing {
    asleep: Mutex<Vec<Arc<Sleeper>>>,
}

/// One of them.
#[derive(Debug, Default)]
struct Sleeper {
    /// Set by who wakes it: whom it has to wake in its turn.
    woken: Mutex<Option<Vec<Arc<Sleeper>>>>,
    changed: Condvar,
}

impl Landing {
    /// Sleeps until woken. `held`, usually a lock, is let go of once the thread is among those who will be.
    pub(crate) fn wait<T>(&self, held: T) {
        let sleeper = Arc::new(Sleeper::default());
        self.asleep.lock().push(Arc::clone(&sleeper));
        drop(held);
        wake(sleeper.sleep());
    }

    /// Wakes the one who came first, if there is one.
    pub(crate) fn wake_one(&self) {
        let first = {
            let mut asleep = self.asleep.lock();
            if asleep.is_empty() { None } else { Some(asleep.remove(0)) }
        };
        if let Some(first) = first {
            first.wake(Vec::new());
        }
    }

    /// Wakes all. Returns how many there were.
    pub(crate) fn wake_all(&self) -> usize {
        let all = std::mem::take(&mut *self.asleep.lock());
        let count = all.len();
        wake(all);
        count
    }
}

impl Sleeper {
    fn sleep(&self) -> Vec<Arc<Sleeper>> {
        let mut woken = self.woken.lock();
        loop {
            match woken.take() {
                Some(others) => return others,
                None => self.changed.wait(&mut woken),
            }
        }
    }

    fn wake(&self, others: Vec<Arc<Sleeper>>) {
        *self.woken.lock() = Some(others);
        self.changed.notify_one();
    }
}

/// Wakes two, each of whom wakes half of the others.
fn wake(mut sleepers: Vec<Arc<Sleeper>>) {
    let Some(first) = sleepers.pop() else { return };
    let Some(second) = sleepers.pop() else { return first.wake(Vec::new()) };
    first.wake(sleepers.split_off(sleepers.len() / 2));
    second.wake(sleepers);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn everybody_is_woken_however_many_there_are() {
        for count in [0, 1, 2, 3, 7, 40] {
            let (landing, awake) = (Landing::default(), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..count {
                    scope.spawn(|| {
                        landing.wait(());
                        awake.fetch_add(1, Ordering::SeqCst);
                    });
                }
                while landing.asleep.lock().len() < count {
                    thread::yield_now();
                }
                assert_eq!(awake.load(Ordering::SeqCst), 0);
                assert_eq!(landing.wake_all(), count);
            });
            assert_eq!(awake.into_inner(), count);
        }
    }

    #[test]
    fn one_is_one() {
        let (landing, awake) = (Landing::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    landing.wait(());
                    awake.fetch_add(1, Ordering::SeqCst);
                });
            }
            while landing.asleep.lock().len() < 3 {
                thread::yield_now();
            }
            landing.wake_one();
            while awake.load(Ordering::SeqCst) < 1 {
                thread::yield_now();
            }
            assert_eq!((landing.asleep.lock().len(), awake.load(Ordering::SeqCst)), (2, 1));
            landing.wake_all();
        });
        landing.wake_one();
    }
}
