//! Where threads sleep until a flight of the log has landed.
//!
//! All are woken by one call of the system, while whoever calls runs on. That is what the standard library's condition
//! variable does; one that hands its lock from one to the next, or sleepers that wake each other, were measured to be awake later.
//!
//! Invariant: who has counted itself `asleep` is woken by the next [`wake_all`](Landing::wake_all), whether it sleeps already or
//! not: it looks at `landed`, which the call changes, under the lock that it counted itself under.

use std::sync::PoisonError;

use kestrel_check::sync::plain::{Condvar, Mutex, MutexGuard};

/// Some threads that sleep.
#[derive(Debug, Default)]
pub(crate) struct Landing {
    room: Mutex<Room>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Room {
    /// How often all were woken.
    landed: u64,
    asleep: usize,
    /// How many of those asleep are to wake although nothing has landed.
    called: usize,
}

impl Landing {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until woken. `held`, usually a lock, is let go of once the thread is among those who will be.
    pub(crate) fn wait<T>(&self, held: T) {
        let mut room = self.room();
        room.asleep += 1;
        let landed = room.landed;
        drop(held);
        while room.landed == landed {
            if room.called > 0 {
                room.called -= 1;
                room.asleep -= 1;
                return;
            }
            room = self.changed.wait(room).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes one, if there is one.
    pub(crate) fn wake_one(&self) {
        let mut room = self.room();
        if room.asleep > room.called {
            room.called += 1;
            drop(room);
            self.changed.notify_one();
        }
    }

    /// How many are asleep.
    pub(crate) fn len(&self) -> usize {
        self.room().asleep
    }

    /// Wakes all. Returns how many there were.
    pub(crate) fn wake_all(&self) -> usize {
        let mut room = self.room();
        room.landed += 1;
        room.called = 0;
        let count = std::mem::take(&mut room.asleep);
        drop(room);
        if count > 0 {
            self.changed.notify_all();
        }
        count
    }
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
                while landing.len() < count {
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
            while landing.len() < 3 {
                thread::yield_now();
            }
            landing.wake_one();
            while awake.load(Ordering::SeqCst) < 1 {
                thread::yield_now();
            }
            assert_eq!((landing.len(), awake.load(Ordering::SeqCst)), (2, 1));
            landing.wake_all();
        });
        landing.wake_one();
    }
}
