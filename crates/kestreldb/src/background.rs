//! The threads: the only ones that Kestrel starts, and all that knows of threads.
//!
//! *kestrel-flush* makes `Eventual` commits durable a few milliseconds after they were made, and those with tickets at once, for
//! as long as there are any: what arrives during a sync is what the next one is for. *kestrel-keeper* prunes,
//! consolidates, writes ahead and checkpoints. Both hold the engine, never the handle that users share: so the last
//! handle's end ends them, not the other way round.
//!
//! A commit tells a worker of new work by [`Signal::raise`], which costs a fence and a load while the worker knows already.
//! The worker lowers the signal *before* it looks for work, with a fence in between. So of a commit and a worker that
//! meet, at least one sees the other: either the commit finds the signal lowered and raises it again, or the worker
//! finds the commit. No work is forgotten, and no commit waits for a worker.
//!
//! A failed pass is noted, and tried again later; a success forgets it. What is still noted at the end is returned by
//! [`Background::error`]. Nothing is lost in between: an engine that could not write says so to every commit as well.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kestrel_io::{Clock, SystemClock};
use kestrel_txn::{Engine, ErrorKind};
use parking_lot::{Condvar, Mutex};

use crate::Error;
use crate::upkeep::Upkeep;

/// How long an `Eventual` commit is exposed to a crash, about.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);
/// How often the keeper runs while there are commits.
const KEEPER_INTERVAL: Duration = Duration::from_millis(20);
/// How often the keeper looks while there are none: ended readers leave work without a commit.
const KEEPER_IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a worker rests after a failure.
const FAILURE_INTERVAL: Duration = Duration::from_millis(500);

/// What a commit leaves to the flusher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flush {
    /// It is durable.
    Done,
    /// Nobody waits for it.
    Soon,
    /// Somebody may wait for it.
    Now,
}

/// The workers of one database, or what is left of them.
#[derive(Debug)]
pub(crate) struct Background {
    flush: Arc<Signal>,
    keeper: Arc<Signal>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    /// Starts the workers.
    pub(crate) fn start(engine: &Engine, upkeep: &Arc<Upkeep>) -> io::Result<Background> {
        let background = Background::none();
        let flush = engine.clone();
        background.spawn("kestrel-flush", &background.flush, FLUSH_INTERVAL, None, move || {
            flush.flush_log()?;
            Ok(false)
        })?;
        let (upkeep, signal) = (Arc::clone(upkeep), Arc::clone(&background.keeper));
        background.spawn(
            "kestrel-keeper",
            &background.keeper,
            KEEPER_INTERVAL,
            Some(KEEPER_IDLE_INTERVAL),
            move || {
                let more = upkeep.step()?;
                if !more && upkeep.has_postponed() {
                    signal.raise();
                }
                Ok(more)
            },
        )?;
        Ok(background)
    }

    /// No workers: whoever opened the database calls its maintenance.
    pub(crate) fn none() -> Background {
        Background { flush: Arc::default(), keeper: Arc::default(), workers: Mutex::default() }
    }

    /// If a worker cannot be started, dropping `self` stops those that could.
    fn spawn(
        &self,
        name: &str,
        signal: &Arc<Signal>,
        interval: Duration,
        idle_interval: Option<Duration>,
        work: impl FnMut() -> Result<bool, kestrel_txn::Error> + Send + 'static,
    ) -> io::Result<()> {
        let signal = Arc::clone(signal);
        let worker = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || signal.serve(interval, idle_interval, work))?;
        self.workers.lock().push(worker);
        Ok(())
    }

    /// Tells the workers of a commit.
    #[inline]
    pub(crate) fn committed(&self, flush: Flush) {
        fence(Ordering::SeqCst);
        match flush {
            Flush::Done => {}
            Flush::Soon => self.flush.raise(),
            Flush::Now => self.flush.press(),
        }
        self.keeper.raise();
    }

    /// Ends the workers, and waits for the pass that each is in. A worker that calls this itself, by a waker that ends the
    /// database, ends when it comes back.
    pub(crate) fn stop(&self) {
        self.flush.stop();
        self.keeper.stop();
        // Not waited for under the lock: the one that is waited for may come here as well.
        let workers = std::mem::take(&mut *self.workers.lock());
        let this = thread::current().id();
        for worker in workers.into_iter().filter(|worker| worker.thread().id() != this) {
            // If it panicked, that was noted.
            let _ = worker.join();
        }
    }

    /// What failed, and has not succeeded since.
    pub(crate) fn error(&self) -> Option<Error> {
        self.flush.error().or_else(|| self.keeper.error())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How others speak with a worker.
#[derive(Default)]
struct Signal {
    raised: AtomicBool,
    /// Work that is not to gather first. Implies `raised`.
    pressed: AtomicBool,
    stopped: AtomicBool,
    error: Mutex<Option<Error>>,
    /// Held by those who wait, and for a moment by those who change one of the flags in a way to wake up for.
    gate: Mutex<()>,
    changed: Condvar,
}

impl Signal {
    #[inline]
    fn raise(&self) {
        if !self.raised.load(Ordering::Relaxed) {
            self.raise_slowly();
        }
    }

    /// Raises it, and tells the worker not to wait for more.
    #[inline]
    fn press(&self) {
        if !self.pressed.load(Ordering::Relaxed) {
            self.press_slowly();
        }
    }

    #[cold]
    fn press_slowly(&self) {
        let _gate = self.gate.lock();
        self.raised.store(true, Ordering::Relaxed);
        self.pressed.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    #[cold]
    fn raise_slowly(&self) {
        let _gate = self.gate.lock();
        self.raised.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    fn stop(&self) {
        let _gate = self.gate.lock();
        self.stopped.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn error(&self) -> Option<Error> {
        self.error.lock().clone()
    }

    /// Waits until `ready` or stopped or the time is over.
    fn wait(&self, longest: Option<Duration>, ready: impl Fn() -> bool) {
        let clock = SystemClock::new();
        let mut gate = self.gate.lock();
        while !ready() && !self.is_stopped() {
            match longest.map(|longest| longest.checked_sub(clock.now())) {
                None => self.changed.wait(&mut gate),
                Some(Some(left)) => drop(self.changed.wait_for(&mut gate, left)),
                Some(None) => return,
            }
        }
    }

    /// The life of a worker: wait for the signal (or the idle interval), let some work gather unless pressed, do all of it.
    fn serve(
        &self,
        interval: Duration,
        idle_interval: Option<Duration>,
        mut work: impl FnMut() -> Result<bool, kestrel_txn::Error>,
    ) {
        let _note = NotePanic(self);
        while !self.is_stopped() {
            self.wait(idle_interval, || self.raised.load(Ordering::Relaxed));
            self.wait(Some(interval), || self.pressed.load(Ordering::Relaxed));
            self.raised.store(false, Ordering::Relaxed);
            self.pressed.store(false, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            match self.work_off(&mut work) {
                Ok(()) => *self.error.lock() = None,
                // Somebody else closed the engine.
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) => {
                    *self.error.lock() = Some(error.into());
                    self.wait(Some(FAILURE_INTERVAL), || false);
                    self.raise();
                }
            }
        }
    }

    fn work_off(
        &self,
        work: &mut impl FnMut() -> Result<bool, kestrel_txn::Error>,
    ) -> Result<(), kestrel_txn::Error> {
        while !self.is_stopped() && work()? {}
        Ok(())
    }
}

/// Dropped by a panic, it leaves the error that nobody else could.
struct NotePanic<'a>(&'a Signal);

impl Drop for NotePanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let message =
                "a background thread panicked, which is a bug; close the database and open it again";
            *self.0.error.lock() = Some(Error::new(crate::ErrorKind::Other, message));
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("raised", &self.raised)
            .field("pressed", &self.pressed)
            .field("stopped", &self.stopped)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    const SHORT: Duration = Duration::from_millis(1);

    /// Runs a worker beside `meanwhile`, then stops it; how often it worked.
    fn with_worker(
        idle_interval: Option<Duration>,
        work: impl Fn(u64) -> Result<bool, kestrel_txn::Error> + Sync,
        meanwhile: impl FnOnce(&Signal, &AtomicU64),
    ) -> u64 {
        let (signal, passes) = (Signal::default(), AtomicU64::new(0));
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                signal.serve(SHORT, idle_interval, || work(passes.fetch_add(1, Ordering::SeqCst)));
            });
            meanwhile(&signal, &passes);
            signal.stop();
            // A panic of the worker is what some tests are about.
            let _ = worker.join();
        });
        passes.into_inner()
    }

    fn until(done: impl Fn() -> bool) {
        let clock = SystemClock::new();
        while !done() {
            assert!(clock.now() < Duration::from_secs(20), "it takes too long");
            thread::sleep(SHORT);
        }
    }

    fn some_error() -> kestrel_txn::Error {
        let storage = Arc::new(kestrel_io::MemoryStorage::new());
        let options = kestrel_txn::EngineOptions { create: false, ..Default::default() };
        Engine::open(storage, &options).unwrap_err()
    }

    #[test]
    fn every_signal_is_followed_by_work() {
        let passes = with_worker(
            None,
            |_| Ok(false),
            |signal, passes| {
                for _ in 0..20 {
                    let before = passes.load(Ordering::SeqCst);
                    signal.raise();
                    until(|| passes.load(Ordering::SeqCst) > before);
                }
            },
        );
        assert!(passes >= 20);
        assert_eq!(
            with_worker(None, |_| Ok(false), |_, _| thread::sleep(20 * SHORT)),
            0,
            "nothing was to do"
        );
    }

    #[test]
    fn work_goes_on_while_there_is_more_and_now_and_then_unasked() {
        let all = |passes: &AtomicU64| until(|| passes.load(Ordering::SeqCst) >= 50);
        with_worker(
            None,
            |pass| Ok(pass < 49),
            |signal, passes| {
                signal.raise();
                all(passes);
            },
        );
        with_worker(Some(SHORT), |_| Ok(false), |_, passes| all(passes));
    }

    #[test]
    fn errors_stay_until_the_work_succeeds() {
        with_worker(
            None,
            |pass| if pass < 2 { Err(some_error()) } else { Ok(false) },
            |signal, passes| {
                assert!(signal.error().is_none());
                signal.raise();
                until(|| signal.error().is_some());
                assert_eq!(signal.error().map(|error| error.kind()), Some(crate::ErrorKind::NotFound));
                until(|| passes.load(Ordering::SeqCst) >= 3);
                until(|| signal.error().is_none());
            },
        );
    }

    #[test]
    fn pressed_work_does_not_gather() {
        let (signal, passes) = (Signal::default(), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let minute = Duration::from_secs(60);
                signal.serve(minute, None, || {
                    passes.fetch_add(1, Ordering::SeqCst);
                    Ok(false)
                });
            });
            signal.raise();
            for pass in 0..20 {
                signal.press();
                until(|| passes.load(Ordering::SeqCst) > pass);
            }
            signal.stop();
        });
    }

    #[test]
    fn a_panic_is_noted() {
        with_worker(
            None,
            |_| panic!("on purpose"),
            |signal, _| {
                signal.raise();
                until(|| signal.error().is_some());
            },
        );
    }

    #[test]
    fn stopping_does_not_wait_for_a_rest() {
        let clock = SystemClock::new();
        with_worker(Some(Duration::from_secs(60)), |_| Ok(false), |_, _| thread::sleep(SHORT));
        assert!(clock.now() < Duration::from_secs(20));
    }
}
