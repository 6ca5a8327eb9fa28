//! One thread of the workload.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread;

use kestreldb::{Durability, ReadTxn, WriteTxn};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Shared;
use super::lists::{Failure, State};
use crate::{Element, History, Key, Moment, Outcome, Timestamp};

/// Transactions of the thread between two looks at its long snapshot.
const LONG_EVERY: u64 = 150;
/// Looks before it is given up for a newer one.
const LONG_LOOKS: u32 = 4;
/// Lists that a long snapshot looks at.
const LONG_LISTS: usize = 6;
/// Lists that one transaction removes at most.
const REMOVED_MAX: usize = 4;

/// See the module's description.
pub(super) struct Worker<'s> {
    shared: &'s Shared,
    process: u32,
    dice: StdRng,
    history: History,
    /// When the write transaction that is open began, and its snapshot.
    open: Option<(Moment, Timestamp)>,
    long: Option<Long>,
}

/// A snapshot that is kept.
struct Long {
    snapshot: ReadTxn,
    begun: Moment,
    lists: Vec<Key>,
    looks: u32,
}

impl<'s> Worker<'s> {
    pub(super) fn new(shared: &'s Shared, process: u32) -> Worker<'s> {
        let seed = shared.workload.seed.wrapping_mul(1 << 20) + u64::from(process);
        let dice = StdRng::seed_from_u64(seed);
        Worker { shared, process, dice, history: History::new(), open: None, long: None }
    }

    pub(super) fn into_history(self) -> History {
        self.history
    }

    /// Runs transactions until there were enough, or something is wrong.
    pub(super) fn run(mut self) -> History {
        let mut turn = 0;
        while self.shared.another() {
            turn += 1;
            // What the thread saw until it panicked still counts.
            let done = catch_unwind(AssertUnwindSafe(|| self.take_turn(turn)));
            if let Err(trouble) = done.unwrap_or_else(|panic| Err(Failure::Panic(said(&*panic)))) {
                self.shared.trouble(format!("process {}: {trouble}", self.process));
                match self.open.take() {
                    Some((begun, snapshot)) => {
                        let span = (begun, self.shared.now());
                        self.history.end(self.process, span, snapshot, Outcome::Unknown);
                    }
                    None => self.history.forget(),
                }
            }
        }
        self.history
    }

    fn take_turn(&mut self, turn: u64) -> Result<(), Failure> {
        match self.dice.random_range(0..100) {
            _ if turn.is_multiple_of(LONG_EVERY) => self.look_back(),
            0..15 => self.read_only(),
            15..20 => self.remove(),
            _ => self.write(),
        }
    }

    /// Reads every list that is left, so that nothing acknowledged goes unseen.
    pub(super) fn read_everything(&mut self) {
        let lists = self.shared.keys.all();
        let begun = self.shared.now();
        let done = self.shared.database.begin_read().map_err(Failure::from);
        let done = done.and_then(|snapshot| self.read_lists(&snapshot, begun, &lists));
        if let Err(failure) = done {
            self.shared.trouble(format!("in the end: {failure}"));
        }
    }

    fn read_only(&mut self) -> Result<(), Failure> {
        let lists = self.choose_lists(4);
        let begun = self.shared.now();
        let snapshot = self.shared.database.begin_read()?;
        self.read_lists(&snapshot, begun, &lists)
    }

    /// Looks at the long snapshot again, or begins another.
    fn look_back(&mut self) -> Result<(), Failure> {
        if self.long.as_ref().is_none_or(|long| long.looks == 0) {
            self.long = None;
            let lists = self.choose_lists(LONG_LISTS);
            let begun = self.shared.now();
            let snapshot = self.shared.database.begin_read()?;
            self.long = Some(Long { snapshot, begun, lists, looks: LONG_LOOKS });
        }
        let Some(long) = &mut self.long else { return Ok(()) };
        long.looks -= 1;
        let (snapshot, begun, lists) = (long.snapshot.clone(), long.begun, long.lists.clone());
        self.read_lists(&snapshot, begun, &lists)
    }

    fn choose_lists(&mut self, count: usize) -> Vec<Key> {
        (0..count).map(|_| self.shared.keys.choose(&mut self.dice).key).collect()
    }

    /// A transaction that reads lists of a snapshot.
    fn read_lists(&mut self, snapshot: &ReadTxn, begun: Moment, lists: &[Key]) -> Result<(), Failure> {
        for &key in lists {
            if let Err(failure) = self.read_list(snapshot, key) {
                self.history.forget();
                return Err(failure);
            }
            self.let_others();
        }
        let (at, span) = (snapshot.timestamp(), (begun, self.shared.now()));
        self.history.end(self.process, span, at, Outcome::Committed(at));
        Ok(())
    }

    fn read_list(&mut self, state: &impl State, key: Key) -> Result<u32, Failure> {
        let list = self.shared.lists.read(state, key, self.dice.random_ratio(1, 4))?;
        let len = list.len() as u32;
        if list.is_empty() && self.shared.keys.is_retired(key) {
            self.history.gone(key);
        } else {
            self.history.read(key, list);
        }
        Ok(len)
    }

    /// A transaction that removes lists for good.
    fn remove(&mut self) -> Result<(), Failure> {
        let lists = self.shared.keys.take_retired(REMOVED_MAX);
        if lists.is_empty() {
            return self.read_only();
        }
        let removed = self.in_transaction(|worker, txn| {
            for &key in &lists {
                worker.read_list(txn, key)?;
                worker.shared.lists.remove(txn, key)?;
                worker.history.retire(key);
                worker.let_others();
            }
            Ok(true)
        });
        if !matches!(removed, Ok(Outcome::Committed(_))) {
            self.shared.keys.give_back(&lists);
        }
        removed.map(drop)
    }

    /// A transaction that appends and reads.
    fn write(&mut self) -> Result<(), Failure> {
        let steps = self.dice.random_range(1..=5);
        let savepoint_at = self.dice.random_ratio(1, 10).then(|| self.dice.random_range(0..steps));
        let commits = !self.dice.random_ratio(1, 20);
        let done = self.in_transaction(|worker, txn| {
            for step in 0..steps {
                if savepoint_at == Some(step) {
                    let savepoint = txn.savepoint()?;
                    worker.history.savepoint();
                    worker.append(txn)?;
                    worker.append_or_read(txn)?;
                    txn.rollback_to(savepoint)?;
                    worker.history.rollback();
                }
                worker.append_or_read(txn)?;
                worker.let_others();
            }
            Ok(commits)
        });
        done.map(drop)
    }

    /// Runs a transaction and records it. `body` returns whether it is to be committed.
    fn in_transaction(
        &mut self,
        body: impl FnOnce(&mut Self, &WriteTxn) -> Result<bool, Failure>,
    ) -> Result<Outcome, Failure> {
        let way = self.dice.random_range(0..8);
        let durability = if way == 0 { Durability::Immediate } else { Durability::Eventual };
        let database = &self.shared.database;
        let begun = self.shared.now();
        let txn = database.begin_write_with(database.write_options().durability(durability))?;
        let snapshot = txn.timestamp();
        self.open = Some((begun, snapshot));
        let mut trouble = None;
        let outcome = match body(self, &txn) {
            Ok(true) => match self.commit(txn, way == 1) {
                Ok(timestamp) => Outcome::Committed(timestamp),
                Err(error) if error.is_conflict() => Outcome::Conflict,
                Err(error) => {
                    trouble = Some(Failure::Engine(error));
                    Outcome::Unknown
                }
            },
            Ok(false) => {
                txn.abort();
                Outcome::Aborted
            }
            Err(Failure::Engine(error)) if error.is_conflict() => Outcome::Conflict,
            Err(failure) => {
                trouble = Some(failure);
                Outcome::Aborted
            }
        };
        self.open = None;
        self.history.end(self.process, (begun, self.shared.now()), snapshot, outcome);
        trouble.map_or(Ok(outcome), Err)
    }

    /// Commits at once, or with a ticket, before whose end the transaction has its place already.
    fn commit(&mut self, txn: WriteTxn, with_ticket: bool) -> Result<Timestamp, kestreldb::Error> {
        if !with_ticket {
            return txn.commit();
        }
        let ticket = txn.commit_async()?;
        self.let_others();
        ticket.wait()
    }

    fn append_or_read(&mut self, txn: &WriteTxn) -> Result<(), Failure> {
        if self.dice.random_ratio(11, 20) {
            return self.append(txn);
        }
        let chosen = self.shared.keys.choose(&mut self.dice);
        self.read_list(txn, chosen.key).map(drop)
    }

    fn append(&mut self, txn: &WriteTxn) -> Result<(), Failure> {
        let chosen = self.shared.keys.choose(&mut self.dice);
        let tail = self.shared.lists.tail(txn, chosen.key)?;
        self.shared.keys.seen(chosen, tail.len);
        if tail.len == 0 && self.shared.keys.is_retired(chosen.key) {
            self.history.gone(chosen.key);
            return Ok(());
        }
        self.history.tail(chosen.key, tail.len, tail.last);
        self.let_others();
        let element = Element(self.shared.elements.fetch_add(1, Ordering::Relaxed));
        self.shared.lists.append(txn, chosen.key, tail, element)?;
        self.history.append(chosen.key, element);
        Ok(())
    }

    /// On few processors, transactions meet only where they stop.
    fn let_others(&mut self) {
        if self.dice.random_ratio(1, 4) {
            thread::yield_now();
        }
    }
}

/// What a panic was about.
fn said(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing said").to_owned()
}
