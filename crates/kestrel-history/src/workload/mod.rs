//! The workload: threads that append to lists and read them, in transactions of all sorts.
//!
//! Lists are short and end: when one is long enough another takes its place, and it is removed. So memory stays bounded, in
//! the database and in a checker, however long it runs. Some lists are in everybody's hands, so that transactions
//! meet; most are touched seldom, so that they take more room than the memory budget and pages come and go. The seed
//! decides what each thread does; how the threads meet is up to the machine.

mod keys;
mod lists;
mod worker;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use kestreldb::{Database, Isolation, Result, Statistics};

use crate::{History, Moment};
use keys::Keys;
use lists::Lists;
use worker::Worker;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(10);
const LOG_SEGMENT_SIZE: u64 = 256 << 10;
const CHECKPOINT_LOG_BYTES: u64 = 1 << 20;

/// What is to be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// How many transactions, whatever comes of them.
    pub transactions: u64,
    /// How many threads run them.
    pub threads: u32,
    /// Decides what each thread does.
    pub seed: u64,
    /// The isolation level of all write transactions.
    pub isolation: Isolation,
    /// The database's memory budget, in bytes. The lists together take some MiB.
    pub memory_budget: u64,
    /// An empty or missing directory to lie in; `None`: memory.
    pub directory: Option<PathBuf>,
}

impl Default for Workload {
    /// A short one.
    fn default() -> Workload {
        Workload {
            transactions: 10_000,
            threads: 4,
            seed: 1,
            isolation: Isolation::Serializable,
            memory_budget: 1 << 20,
            directory: None,
        }
    }
}

/// What a workload left behind.
#[derive(Debug)]
pub struct Run {
    /// What transactions did and saw.
    pub history: History,
    /// The engine's figures at the end.
    pub statistics: Statistics,
    /// What went wrong by itself: errors other than conflicts, panics, values that were never written.
    pub troubles: Vec<String>,
}

/// What the threads share.
struct Shared {
    workload: Workload,
    database: Database,
    lists: Lists,
    keys: Keys,
    moments: AtomicU64,
    elements: AtomicU32,
    /// Transactions that were begun.
    begun: AtomicU64,
    stop: AtomicBool,
    troubles: Mutex<Vec<String>>,
}

impl Shared {
    fn now(&self) -> Moment {
        Moment(self.moments.fetch_add(1, Ordering::SeqCst))
    }

    /// Whether another transaction is to be run.
    fn another(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && self.begun.fetch_add(1, Ordering::Relaxed) < self.workload.transactions
    }

    /// Something is wrong that no history tells: everybody stops.
    fn trouble(&self, what: String) {
        self.stop.store(true, Ordering::Relaxed);
        self.troubles.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
    }
}

impl Workload {
    /// Runs it. Tells how many transactions were begun now and then, on the calling thread.
    ///
    /// # Errors
    /// The database could not be opened. What happens later is told in [`Run::troubles`].
    pub fn run(self, mut progress: impl FnMut(u64)) -> Result<Run> {
        let builder = Database::builder()
            .memory_budget(self.memory_budget)
            .log_segment_size(LOG_SEGMENT_SIZE)
            .checkpoint_log_bytes(CHECKPOINT_LOG_BYTES)
            .isolation(self.isolation);
        let database = match &self.directory {
            Some(directory) => builder.open(directory)?,
            None => builder.in_memory()?,
        };
        let shared = Shared {
            lists: Lists::open(&database)?,
            keys: Keys::new(),
            workload: self,
            database,
            moments: AtomicU64::new(0),
            elements: AtomicU32::new(1),
            begun: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            troubles: Mutex::new(Vec::new()),
        };
        let threads = shared.workload.threads;
        let mut histories: Vec<History> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|process| Worker::new(&shared, process))
                .map(|worker| scope.spawn(|| worker.run()))
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                progress(shared.begun.load(Ordering::Relaxed).min(shared.workload.transactions));
                thread::sleep(TICK);
            }
            let joined = workers.into_iter().map(ScopedJoinHandle::join);
            joined.map(|history| history.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut last = Worker::new(&shared, threads);
        last.read_everything();
        histories.push(last.into_history());
        shared.check_database();
        let statistics = shared.database.statistics();
        let Shared { database, lists, troubles, .. } = shared;
        drop(lists);
        let mut troubles = troubles.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = database.close() {
            troubles.push(format!("closing: {error}"));
        }
        Ok(Run { history: History::merge(histories), statistics, troubles })
    }
}

impl Shared {
    fn check_database(&self) {
        match self.database.verify() {
            Ok(report) => {
                for damage in report.damages {
                    self.trouble(format!("verify: {damage}"));
                }
            }
            Err(error) => self.trouble(format!("verify: {error}")),
        }
        if let Some(error) = self.database.background_error() {
            self.trouble(format!("in the background: {error}"));
        }
    }
}
