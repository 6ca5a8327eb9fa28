//! A tiny engine on schedules that shuttle draws: writers, readers, background work and a checkpoint, with a possible
//! switch of threads at every lock and every atomic operation.
//!
//! ```sh
//! RUSTFLAGS="--cfg kestrel_shuttle" CARGO_TARGET_DIR=target/shuttle cargo test -p kestrel-txn --test shuttle
//! ```
//!
//! `KESTREL_SCHEDULES` is how many are run in all. A failure names how to run that schedule alone: with bursts, by its
//! number; with priorities, which depend on the schedules before, by the file that its choices were written to.
//!
//! Each schedule has a thread of the system of its own, and drains the epoch before it ends. So whatever is per thread
//! begins anew, and what one schedule leaves behind does not run in the next: the same choices lead to the same run.
//!
//! The epoch is the real one. It knows one thread only, as all threads of a model share one of the system, so it counts as
//! pinned while any of them pins it. Garbage is freed later than it could be in reality, never earlier: a version that is
//! freed too early because a pin was forgotten is the thread sanitizer's and the address sanitizer's to find, not this
//! test's.
#![cfg(kestrel_shuttle)]
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kestrel_check::shuttle::scheduler::{PctScheduler, ReplayScheduler, Schedule, Scheduler, Task, TaskId};
use kestrel_check::shuttle::{Config, FailurePersistence, Runner, thread};
use kestrel_io::{MemoryStorage, Storage};
use kestrel_txn::{
    Durability, Engine, EngineOptions, Error, ErrorKind, Isolation, ReadTxn, Statistics, Timestamp, TreeId,
    WriteTxn,
};

/// Keys of each tree that make it several leaves wide.
const FILLERS: u64 = 30;
/// Those of them that are there only while the second group's number is even: so leaves become thin and fill again.
const CHANGING: Range<u64> = 18..28;
/// Keys of each tree that every commit of a group writes the group's number to.
const MEMBERS: u64 = 2;
const GROUPS: u64 = 2;
const FILLER: [u8; 900] = [7; 900];
const TREES: [&str; 2] = ["left", "right"];

fn options() -> EngineOptions {
    // 20 frames, which is less than there are pages; and buffers so small that transactions stream what they do.
    EngineOptions { memory_budget: 115 << 10, log_segment_size: 64 << 10, ..EngineOptions::default() }
}

/// Keys of both groups and fillers lie side by side in the leaves.
fn member(group: u64, index: u64) -> Vec<u8> {
    format!("{:03} group {group}", index * FILLERS / MEMBERS).into_bytes()
}

fn filler(index: u64) -> Vec<u8> {
    format!("{index:03} filler").into_bytes()
}

/// The key that is there while the group's number is odd.
fn odd(group: u64) -> Vec<u8> {
    format!("{:03} odd {group}", FILLERS / MEMBERS).into_bytes()
}

/// A number, as long as it likes: a delta has room for it, or the leaf has to be made anew, or it lies outside the leaf.
fn value(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number * 457 % 1600) as usize, number as u8);
    bytes
}

fn number(value: &[u8]) -> u64 {
    let number = u64::from_le_bytes(value[..8].try_into().unwrap());
    assert_eq!(value, self::value(number), "bytes of another value");
    number
}

/// The files of a database with both trees, all numbers zero.
fn base() -> &'static BTreeMap<String, Vec<u8>> {
    static BASE: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    BASE.get_or_init(|| {
        let storage = MemoryStorage::new();
        let made = storage.clone();
        let make = move || {
            let engine = Engine::open(Arc::new(made.clone()), &options()).unwrap();
            let txn = engine.begin_write(Isolation::Serializable).unwrap();
            for name in TREES {
                let tree = txn.create_tree(name).unwrap();
                for index in 0..FILLERS {
                    txn.put(tree, &filler(index), &FILLER).unwrap();
                }
                for (group, index) in
                    (0..GROUPS).flat_map(|group| (0..MEMBERS).map(move |index| (group, index)))
                {
                    txn.put(tree, &member(group, index), &value(0)).unwrap();
                }
            }
            txn.commit(Durability::Immediate).unwrap();
            engine.close().unwrap();
        };
        run(Bursts::new(0), make);
        let mut files = BTreeMap::new();
        for name in storage.list().unwrap() {
            let file = storage.open(&name).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            files.insert(name, bytes);
        }
        files
    })
}

fn copy_of_base() -> MemoryStorage {
    let storage = MemoryStorage::new();
    for (name, bytes) in base() {
        storage.create(name).unwrap().write_all_at(bytes, 0).unwrap();
    }
    storage
}

/// What a snapshot shows: the numbers of the groups. Fails if it is no single state.
fn numbers(txn: &ReadTxn, trees: [TreeId; 2]) -> [u64; GROUPS as usize] {
    let mut numbers = [None; GROUPS as usize];
    for tree in trees {
        for (group, known) in numbers.iter_mut().enumerate() {
            for index in 0..MEMBERS {
                let found = txn.get(tree, &member(group as u64, index)).unwrap().expect("a key of a group");
                let found = number(&found);
                assert_eq!(*known.get_or_insert(found), found, "group {group} at {}", txn.timestamp());
            }
            let is_odd = known.unwrap() % 2 == 1;
            assert_eq!(txn.contains(tree, &odd(group as u64)).unwrap(), is_odd, "at {}", txn.timestamp());
        }
        let numbers = numbers.map(|number| number.unwrap());
        let gone = if numbers[1] % 2 == 1 { CHANGING.end - CHANGING.start } else { 0 };
        for index in [CHANGING.start, CHANGING.end - 1] {
            assert_eq!(txn.contains(tree, &filler(index)).unwrap(), gone == 0, "at {}", txn.timestamp());
        }
        let odd = numbers.iter().filter(|&number| number % 2 == 1).count() as u64;
        let len = FILLERS - gone + GROUPS * MEMBERS + odd;
        assert_eq!(txn.len(tree).unwrap(), len, "length at {}", txn.timestamp());
    }
    numbers.map(|number| number.unwrap())
}

/// Everything a snapshot shows, by a scan.
fn scan(txn: &ReadTxn, tree: TreeId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = txn.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
    entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
}

/// What happened in one schedule, to be compared when all of it has.
#[derive(Default)]
struct Record {
    /// Timestamp, group and number of each commit.
    commits: Vec<(Timestamp, u64, u64)>,
    /// What snapshots showed.
    seen: Vec<(Timestamp, [u64; GROUPS as usize])>,
}

#[derive(Clone)]
struct Model {
    engine: Engine,
    trees: [TreeId; 2],
    record: Arc<Mutex<Record>>,
}

impl Model {
    fn try_increment(&self, group: u64, durability: Durability) -> Result<(Timestamp, u64), Error> {
        let txn = self.engine.begin_write(Isolation::Serializable)?;
        let next = number(&txn.get(self.trees[0], &member(group, 0))?.expect("a key of a group")) + 1;
        for tree in self.trees {
            for index in 0..MEMBERS {
                txn.put(tree, &member(group, index), &value(next))?;
            }
            if next % 2 == 1 {
                txn.put(tree, &odd(group), b"")?;
            } else {
                assert!(txn.delete(tree, &odd(group))?, "an odd number's key was there");
            }
            if group == 1 {
                self.change_fillers(&txn, tree, next)?;
            }
        }
        Ok((txn.commit(durability)?, next))
    }

    fn change_fillers(&self, txn: &WriteTxn, tree: TreeId, next: u64) -> Result<(), Error> {
        if next.is_multiple_of(2) {
            return CHANGING.into_iter().try_for_each(|index| txn.put(tree, &filler(index), &FILLER));
        }
        let (low, high) = (filler(CHANGING.start), filler(CHANGING.end));
        let removed = txn.remove_range(tree, Bound::Included(&low), Bound::Excluded(&high))?;
        assert_eq!(removed, CHANGING.end - CHANGING.start);
        Ok(())
    }

    /// Adds one to a group's number, by a transaction that reads before it writes. Begins again after a conflict.
    fn increment(&self, group: u64, durability: Durability) {
        let (ts, number) = loop {
            match self.try_increment(group, durability) {
                Ok(done) => break done,
                // Or all three writers need more frames than there are.
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Conflict | ErrorKind::OverBudget), "{error}");
                }
            }
            thread::yield_now();
        };
        self.record.lock().unwrap().commits.push((ts, group, number));
        // Whoever was told of a commit sees it.
        let after = self.engine.begin_read().unwrap();
        assert!(after.timestamp() >= ts, "a commit at {ts} is not visible at {}", after.timestamp());
        drop(after);
    }

    fn look(&self, txn: &ReadTxn) -> [u64; GROUPS as usize] {
        let numbers = numbers(txn, self.trees);
        self.record.lock().unwrap().seen.push((txn.timestamp(), numbers));
        numbers
    }

    /// A snapshot that lives while much happens, and shows the same from its first look to its last.
    fn read_long(&self) {
        let txn = self.engine.begin_read().unwrap();
        let first = self.look(&txn);
        let scanned = self.trees.map(|tree| scan(&txn, tree));
        assert_eq!(numbers(&txn, self.trees), first);
        assert_eq!(self.trees.map(|tree| scan(&txn, tree)), scanned);
    }

    /// Snapshots that come and go; none shows less than the one before.
    fn read_short(&self) {
        let mut before = [0; GROUPS as usize];
        for _ in 0..3 {
            for _ in 0..4 {
                let txn = self.engine.begin_read().unwrap();
                let glance = self.trees.map(|tree| number(&txn.get(tree, &member(0, 0)).unwrap().unwrap()));
                assert!(glance[0] == glance[1] && glance[0] >= before[0], "{glance:?} after {before:?}");
                before[0] = glance[0];
            }
            let txn = self.engine.begin_read().unwrap();
            let now = self.look(&txn);
            assert!(before.iter().zip(&now).all(|(before, now)| before <= now), "{now:?} after {before:?}");
            before = now;
        }
    }

    fn keep_up(&self) {
        for step in 1..=8 {
            self.engine.maintain().unwrap();
            if step % 3 == 0 {
                self.engine.checkpoint().unwrap();
            }
        }
    }

    /// Every snapshot showed exactly the commits up to its timestamp.
    fn compare(&self) -> [u64; GROUPS as usize] {
        let mut record = self.record.lock().unwrap();
        record.commits.sort_unstable();
        let at = |ts: Timestamp| {
            let mut state = [0; GROUPS as usize];
            for &(_, group, number) in record.commits.iter().take_while(|commit| commit.0 <= ts) {
                assert_eq!(number, state[group as usize] + 1, "an increment of group {group} was lost");
                state[group as usize] = number;
            }
            state
        };
        for &(ts, seen) in &record.seen {
            assert_eq!(seen, at(ts), "at {ts}; commits: {:?}", record.commits);
        }
        at(Timestamp::MAX)
    }
}

/// One schedule.
fn churn(totals: &Mutex<Statistics>) {
    let storage = Arc::new(copy_of_base());
    let engine = Engine::open(storage.clone(), &options()).unwrap();
    let txn = engine.begin_read().unwrap();
    let trees = TREES.map(|name| txn.tree(name).unwrap().unwrap());
    drop(txn);
    let model = Model { engine, trees, record: Arc::default() };

    let start = |work: fn(&Model)| {
        let model = model.clone();
        thread::spawn(move || work(&model))
    };
    let threads = [
        start(|model| {
            model.increment(0, Durability::Immediate);
            model.increment(0, Durability::Eventual);
        }),
        start(|model| {
            model.increment(1, Durability::Eventual);
            model.increment(1, Durability::Immediate);
        }),
        start(|model| model.increment(0, Durability::Immediate)),
        start(Model::read_long),
        start(Model::read_short),
        start(Model::keep_up),
    ];
    for thread in threads {
        thread.join().unwrap();
    }

    let last = model.compare();
    assert_eq!(last, [3, 2]);
    let Model { engine, trees, .. } = model;
    let check = |engine: &Engine| {
        let txn = engine.begin_read().unwrap();
        assert_eq!(numbers(&txn, trees), last);
        assert_eq!(engine.verify(&mut |_, _| {}).unwrap().damages, []);
    };
    check(&engine);
    note(totals, &engine.statistics());
    // Not closed: what the log has is run again.
    engine.flush_log().unwrap();
    drop(engine);
    check(&Engine::open(storage, &options()).unwrap());
}

fn note(totals: &Mutex<Statistics>, one: &Statistics) {
    let mut totals = totals.lock().unwrap();
    totals.commits += one.commits;
    totals.conflicts += one.conflicts;
    totals.replays += one.replays;
    totals.page_loads += one.page_loads;
    totals.page_writes += one.page_writes;
}

/// Runs a model on the one schedule that a scheduler has, in a thread of its own, and leaves nothing to the epoch.
fn run(scheduler: impl Scheduler + Send + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence =
        FailurePersistence::File(Some(Path::new(env!("CARGO_TARGET_TMPDIR")).into()));
    let body = move || {
        model();
        drain();
    };
    // The epoch is one for all tests: what one schedule gave it, none that runs beside it may free, as it has other threads.
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = std::thread::spawn(move || Runner::new(scheduler, config).run(body)).join();
    drop(alone);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Makes the epoch free all that it was given. Nothing is pinned.
fn drain() {
    use crossbeam_epoch as epoch;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let last = Arc::clone(&done);
    epoch::pin().defer(move || last.store(true, std::sync::atomic::Ordering::Relaxed));
    // What was given before is freed before.
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        epoch::pin().flush();
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs the model on its part of as many schedules as are asked for.
fn explore<S: Scheduler + Send + 'static>(percent: u64, mut scheduler: impl FnMut(u64) -> S) {
    let totals = Arc::new(Mutex::new(Statistics::default()));
    let model = |totals: &Arc<Mutex<Statistics>>| {
        let totals = Arc::clone(totals);
        move || churn(&totals)
    };
    base();
    if let Ok(path) = std::env::var("KESTREL_REPLAY") {
        return run(ReplayScheduler::new_from_file(path).unwrap(), model(&totals));
    }
    let (first, count) =
        (variable("KESTREL_SEED", 1), (variable("KESTREL_SCHEDULES", 1000) * percent / 100).max(1));
    for seed in first..first + count {
        let failing = Failing(seed);
        run(scheduler(seed), model(&totals));
        std::mem::forget(failing);
    }
    let totals = *totals.lock().unwrap();
    let figures = [
        ("conflicts", totals.conflicts),
        ("replays", totals.replays),
        ("loads", totals.page_loads),
        ("writes", totals.page_writes),
    ];
    println!("{count} schedules, {} commits: {figures:?}", totals.commits);
    // A model in which nothing happens proves nothing.
    for (what, figure) in figures.into_iter().filter(|_| count >= 100) {
        assert!(figure >= count / 20, "{figure} {what}");
    }
}

/// Names the schedule that failed.
struct Failing(u64);

impl Drop for Failing {
    fn drop(&mut self) {
        eprintln!(
            "This schedule alone: KESTREL_REPLAY=FILE, the file named above; or, if it was one of bursts,"
        );
        eprintln!("KESTREL_SEED={} KESTREL_SCHEDULES=1", self.0);
    }
}

/// Lets threads run in bursts, whose mean length each schedule draws: from a switch at every opportunity to a handful in a
/// whole schedule. A thread that meets another at the wrong moment needs short ones, a thread that is left behind in the
/// middle of a step while others finish much work needs long ones.
struct Bursts {
    random: u64,
    mean: u64,
    begun: bool,
}

impl Bursts {
    fn new(seed: u64) -> Bursts {
        let mut bursts = Bursts { random: seed, mean: 1, begun: false };
        bursts.mean = 1 << bursts.below(12);
        bursts
    }

    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64: numbers of neighbouring seeds have nothing in common.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

impl Scheduler for Bursts {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.begun, true)).then(|| Schedule::new(self.random))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        let goes_on = runnable.iter().map(|task| task.id()).find(|&id| Some(id) == current && !yields);
        match goes_on {
            Some(current) if self.below(self.mean) > 0 => Some(current),
            _ => Some(runnable[self.below(runnable.len() as u64) as usize].id()),
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.below(u64::MAX)
    }
}

/// A scheduler that outlives the runner of a single schedule.
struct Shared<S> {
    scheduler: Arc<Mutex<S>>,
    begun: bool,
}

impl<S: Scheduler> Scheduler for Shared<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        if std::mem::replace(&mut self.begun, true) {
            return None;
        }
        self.scheduler.lock().unwrap().new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        self.scheduler.lock().unwrap().next_task(runnable, current, yields)
    }

    fn next_u64(&mut self) -> u64 {
        self.scheduler.lock().unwrap().next_u64()
    }
}

#[test]
fn snapshots_are_states_on_schedules_of_bursts() {
    explore(60, Bursts::new);
}

/// Threads have priorities, which change at a few random places (probabilistic concurrency testing, Burckhardt et al.
/// 2010): what takes few ill-timed switches is found with a known probability.
#[test]
fn snapshots_are_states_on_schedules_with_priorities() {
    let seed = variable("KESTREL_SEED", 1);
    let scheduler = Arc::new(Mutex::new(PctScheduler::new_from_seed(seed, 4, usize::MAX)));
    explore(40, |_| Shared { scheduler: Arc::clone(&scheduler), begun: false });
}
