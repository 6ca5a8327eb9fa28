//! Locks and atomics of the engine, under one roof, so that a model checker can put its own in their place.
//!
//! | build | locks | [`atomic`] | [`modelled`] |
//! |---|---|---|---|
//! | ordinary | `parking_lot` | the standard library's | the same |
//! | `--cfg kestrel_shuttle` | shuttle's | the standard library's, each operation a point where shuttle may switch threads | the same |
//! | `--cfg kestrel_loom` | `parking_lot` | the standard library's | loom's |
//!
//! Shuttle runs whole engines on schedules that it draws, sequentially consistent ones. Loom runs small models on all
//! schedules and with all values that the memory model lets a load return, so only a few nouns can be modelled with it:
//! those that import [`modelled`].

#[cfg(not(kestrel_shuttle))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(kestrel_shuttle))]
pub use std::{hint::spin_loop, thread::yield_now};

#[cfg(kestrel_shuttle)]
mod scheduled_atomics;
#[cfg(kestrel_shuttle)]
mod scheduled_locks;
#[cfg(kestrel_shuttle)]
pub use scheduled_locks::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(kestrel_shuttle)]
pub use shuttle::{hint::spin_loop, thread::yield_now};

/// The standard library's mutex and condition variable, for a crowd that is woken by one call: `parking_lot`'s would wake one
/// of them, who wakes the next.
pub mod plain {
    #[cfg(kestrel_shuttle)]
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
    #[cfg(not(kestrel_shuttle))]
    pub use std::sync::{Condvar, Mutex, MutexGuard};
}

/// How often whoever waits for other threads gives way to them before it sleeps.
pub const YIELDS: usize = 1_500;

/// Takes a lock that others hold for some microseconds. To sleep, and be woken, takes longer than that, and a processor that has
/// nothing else to do sleeps as well: so this looks again for some hundred microseconds, in which it lets others run now and
/// then, before it sleeps.
pub fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    const LOOKS: usize = if cfg!(kestrel_shuttle) { 1 } else { 64 };
    const PAUSES: usize = 64;
    for look in 1..=LOOKS {
        if let Some(guard) = mutex.try_lock() {
            return guard;
        }
        if look % 4 == 0 {
            yield_now();
        } else {
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
        }
    }
    mutex.lock()
}

/// Lets other threads run, for whoever has looked in vain `looks` times for what they are to do. Gives way at first, which is
/// enough where they run or are ready to. Later it sleeps for a millisecond: where the system has other things to do than to
/// run them, giving way passes the time of nobody.
pub fn wait_a_little(looks: usize) {
    if looks < YIELDS || cfg!(any(kestrel_shuttle, miri)) {
        yield_now();
    } else {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Atomic numbers, pointers and fences, as large as what they hold, and valid if all their bytes are zero.
pub mod atomic {
    #[cfg(kestrel_shuttle)]
    pub use super::scheduled_atomics::{
        AtomicBool, AtomicIsize, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub use std::sync::atomic::Ordering;
    #[cfg(not(kestrel_shuttle))]
    pub use std::sync::atomic::{
        AtomicBool, AtomicIsize, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
}

/// The same and a mutex, but loom's in a build for loom: larger there, and to be made within a model only.
pub mod modelled {
    #[cfg(not(kestrel_loom))]
    pub use super::{
        Mutex,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
    };
    #[cfg(kestrel_loom)]
    pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    /// Loom's mutex with the signature of `parking_lot`'s.
    #[cfg(kestrel_loom)]
    #[derive(Debug)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    #[cfg(kestrel_loom)]
    impl<T> Mutex<T> {
        /// An unlocked mutex.
        pub fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}
