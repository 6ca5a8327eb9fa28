//! The turn: a transaction that others keep beating gets to commit before them.
//!
//! Transactions run side by side, and of two that conflict the first to commit wins. So a long one can lose to short ones for
//! ever. Whoever has lost often enough [takes](Turn::take) the turn: from then on the commits of other threads wait, until it has
//! committed or given up. Several who want it queue; it is handed from one to the next without a gap for others.
//!
//! 1. *It wins.* A commit looks whether somebody has the turn before it goes to the engine. Those that had looked before the
//!    turn was taken can still come between, each of them once; so it is kept for further tries.
//! 2. *Unused it costs a commit one load*, of a word that is hardly ever written to.
//! 3. *Nobody waits for ever.* A turn has a length, a few times as long as its owner's tries took. A commit waits until the end
//!    of the turn that it met, at the longest, whatever turns follow; whoever queues goes on when the time of those before it is
//!    over. So a closure that waits for another thread's commit costs time, and is no deadlock.
//! 4. *A thread does not wait for itself.* The turn belongs to a thread: what its closure commits besides passes.
//! 5. *It ends with its owner*, by a guard: also if a closure panics.
//!
//! The word is only a hint to look at the line, which is the truth and has a lock. If a commit misses the beginning
//! of a turn, it is one of those that came between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kestrel_io::Clock;
use parking_lot::{Condvar, Mutex, MutexGuard};

const NOBODY: u64 = 0;

/// Who may commit before others. One for each open database.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The thread whose turn it is, or [`NOBODY`]. Written to with the line locked.
    holder: AtomicU64,
    line: Mutex<Line>,
    /// For those in the line: it went on.
    moved: Condvar,
    /// For commits: nobody has the turn any more.
    over: Condvar,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Line {
    current: Option<Place>,
    waiting: VecDeque<Place>,
    numbers: u64,
}

/// A turn, present or to come.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: u64,
    thread: u64,
    length: Duration,
    /// Set when it begins.
    ends: Duration,
}

/// A turn that somebody has. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    turn: &'a Turn,
    /// `None`: the thread had the turn already, for a transaction around this one.
    number: Option<u64>,
}

impl Turn {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Turn {
        Turn {
            holder: AtomicU64::new(NOBODY),
            line: Mutex::default(),
            moved: Condvar::new(),
            over: Condvar::new(),
            clock,
        }
    }

    /// The time, by the clock that turns are measured with.
    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Lets time pass, or just lets others run first.
    pub(crate) fn give_way(&self, time: Option<Duration>) {
        self.clock.pass(time);
    }

    /// For commits: returns when no other thread has the turn, or it has been waited for long enough.
    #[inline]
    pub(crate) fn respect(&self) {
        if self.holder.load(Ordering::Relaxed) != NOBODY {
            self.wait_for_others();
        }
    }

    #[cold]
    fn wait_for_others(&self) {
        let thread = this_thread();
        let mut line = self.line.lock();
        let Some(first) = line.current else { return };
        while line.current.is_some_and(|current| current.thread != thread) {
            let now = self.clock.now();
            if first.ends <= now {
                self.end_if_over(&mut line, now);
                return;
            }
            self.over.wait_for(&mut line, first.ends - now);
        }
    }

    /// Waits for the turn, and takes it for so long.
    pub(crate) fn take(&self, length: Duration) -> Hold<'_> {
        let thread = this_thread();
        let mut line = self.line.lock();
        if line.current.is_some_and(|current| current.thread == thread) {
            return Hold { turn: self, number: None };
        }
        line.numbers += 1;
        let number = line.numbers;
        line.waiting.push_back(Place { number, thread, length, ends: Duration::ZERO });
        loop {
            let now = self.clock.now();
            self.end_if_over(&mut line, now);
            // Not there any more: it began, and perhaps is over again before this thread got to see it.
            if line.waiting.iter().all(|place| place.number != number) {
                return Hold { turn: self, number: Some(number) };
            }
            if let Some(current) = line.current {
                self.moved.wait_for(&mut line, current.ends.saturating_sub(now));
            }
        }
    }

    /// The next in the line, if there is one, has the turn from now on, if nobody else has it.
    fn end_if_over(&self, line: &mut MutexGuard<'_, Line>, now: Duration) {
        if line.current.is_none_or(|current| current.ends <= now) {
            self.pass_on(line, now);
        }
    }

    fn pass_on(&self, line: &mut MutexGuard<'_, Line>, now: Duration) {
        let had = line.current.is_some();
        line.current = line.waiting.pop_front().map(|next| Place { ends: now + next.length, ..next });
        let holder = line.current.map_or(NOBODY, |current| current.thread);
        self.holder.store(holder, Ordering::Relaxed);
        if line.current.is_some() {
            self.moved.notify_all();
        }
        if had && line.current.is_none() {
            self.over.notify_all();
        }
    }
}

impl Hold<'_> {
    /// Whether the thread still has the turn: it may have had it for too long.
    pub(crate) fn lasts(&self) -> bool {
        let thread = this_thread();
        self.turn.line.lock().current.is_some_and(|current| current.thread == thread)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut line = self.turn.line.lock();
        if self.number.is_some() && line.current.map(|current| current.number) == self.number {
            self.turn.pass_on(&mut line, self.turn.clock.now());
        }
    }
}

/// A number that no other thread has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(NOBODY + 1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // While a thread ends it has none any more; then it is one of no names, which only waits.
    NUMBER.try_with(|number| *number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use kestrel_io::SystemClock;

    /// So long that a test that waits for it fails by its patience.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn others_wait_until_it_is_given_back() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        let (passed, passes) = mpsc::channel();
        thread::scope(|scope| {
            let hold = turn.take(LONG);
            assert!(hold.lasts());
            turn.respect();
            for _ in 0..3 {
                let (turn, passed) = (&turn, passed.clone());
                scope.spawn(move || {
                    turn.respect();
                    passed.send(()).unwrap();
                });
            }
            assert!(passes.recv_timeout(Duration::from_millis(50)).is_err());
            drop(hold);
            (0..3).for_each(|_| passes.recv().unwrap());
        });
        assert_eq!(turn.holder.into_inner(), NOBODY);
    }

    #[test]
    fn it_goes_round_in_the_order_of_asking() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let first = turn.take(LONG);
            for n in 0..5 {
                let (turn, order) = (&turn, &order);
                scope.spawn(move || {
                    let hold = turn.take(LONG);
                    assert!(hold.lasts());
                    order.lock().push(n);
                });
                while turn.line.lock().waiting.len() < n + 1 {
                    thread::yield_now();
                }
            }
            assert!(order.lock().is_empty());
            drop(first);
        });
        assert_eq!(order.into_inner(), [0, 1, 2, 3, 4]);
        assert_eq!(turn.holder.into_inner(), NOBODY);
    }

    #[test]
    fn its_time_is_limited() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        let short = Duration::from_millis(20);
        let hold = turn.take(short);
        thread::scope(|scope| {
            scope.spawn(|| turn.respect());
        });
        assert!(!hold.lasts() && turn.now() >= short);
        // Taken away from one, it is another's, and the first has nothing to give back.
        let second = turn.take(short);
        thread::scope(|scope| {
            scope.spawn(|| {
                let third = turn.take(LONG);
                drop(second);
                drop(hold);
                assert!(third.lasts());
            });
        });
        assert_eq!(turn.holder.into_inner(), NOBODY);
    }

    #[test]
    fn a_thread_has_it_once() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        let outer = turn.take(LONG);
        let inner = turn.take(LONG);
        assert!(inner.lasts());
        drop(inner);
        assert!(outer.lasts(), "the inner one had nothing to give back");
    }

    #[test]
    fn a_panic_gives_it_back() {
        let turn = Turn::new(Arc::new(SystemClock::new()));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _hold = turn.take(LONG);
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        thread::scope(|scope| {
            scope.spawn(|| turn.respect());
        });
        assert_eq!(turn.holder.into_inner(), NOBODY);
    }
}
