//! The database under test beside the model.

use std::sync::Arc;

use kestrel_io::CrashStorage;
use kestreldb::{Database, Durability, Error, ErrorKind, ReadTxn};
use proptest::test_runner::TestCaseError;

use crate::changes::Both;
use crate::oracle::{History, State, wrong};
use crate::steps::{Change, Setup, Step};

/// A smaller transaction has to fit any budget.
const BUDGET_PARTS: u64 = 16;

/// Why a step did not go through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database says something else than the model.
    Wrong(TestCaseError),
    /// The database returned an error; right if the power failed.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<TestCaseError> for Failure {
    fn from(error: TestCaseError) -> Failure {
        Failure::Wrong(error)
    }
}

pub(crate) struct Machine {
    setup: Setup,
    storage: CrashStorage,
    /// `None` only while it is opened, and when that failed.
    db: Option<Database>,
    snapshots: Vec<(ReadTxn, State)>,
    history: History,
    /// How the coming power failure chooses what is left.
    power_failure: Option<u64>,
}

impl Machine {
    pub(crate) fn new(setup: Setup) -> Result<Machine, TestCaseError> {
        let storage = CrashStorage::new();
        let mut machine = Machine {
            setup,
            storage,
            db: None,
            snapshots: Vec::new(),
            history: History::new(),
            power_failure: None,
        };
        machine.open().map_err(reported)?;
        Ok(machine)
    }

    fn open(&mut self) -> Result<(), Failure> {
        let db = Database::builder()
            .page_size(self.setup.page_size)
            .memory_budget(self.setup.memory_budget)
            .log_segment_size(64 << 10)
            .checkpoint_log_bytes(256 << 10)
            .background(false)
            .open_with_storage(Arc::new(self.storage.clone()))?;
        self.db = Some(db);
        Ok(())
    }

    fn db(&self) -> Result<&Database, Failure> {
        self.db.as_ref().ok_or_else(|| wrong("no database is open"))
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match self.try_step(step) {
            Err(Failure::Error(_)) if self.power_is_off() => self.recover().map_err(reported),
            result => result.map_err(reported),
        }
    }

    fn power_is_off(&self) -> bool {
        self.power_failure.is_some() && !self.storage.has_power()
    }

    fn try_step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Transaction { changes, durability, commit } => {
                self.transaction(changes, *durability, *commit)
            }
            Step::Snapshot => {
                let snapshot = self.db()?.begin_read()?;
                self.snapshots.push((snapshot, self.history.current().clone()));
                Ok(())
            }
            Step::EndSnapshot(which) => {
                let Some(which) = which.checked_rem(self.snapshots.len()) else { return Ok(()) };
                let (snapshot, state) = self.snapshots.swap_remove(which);
                state.compare(&snapshot)
            }
            Step::Checkpoint => {
                self.db()?.checkpoint()?;
                self.history.synced();
                Ok(())
            }
            Step::Maintain => {
                self.db()?.maintain()?;
                Ok(())
            }
            Step::Flush => {
                self.db()?.flush()?;
                self.history.synced();
                Ok(())
            }
            Step::Reopen => self.reopen(),
            Step::Crash(seed) => self.crash(*seed),
            Step::PowerFailure { operations, seed } => {
                if self.power_failure.is_none() {
                    self.power_failure = Some(*seed);
                    self.storage.stop_at(self.storage.operations().total() + operations);
                }
                Ok(())
            }
        }
    }

    fn transaction(
        &mut self,
        changes: &[Change],
        durability: Durability,
        commit: bool,
    ) -> Result<(), Failure> {
        let db = self.db()?;
        let tx = db.begin_write_with(db.write_options().durability(durability))?;
        let state = self.history.current().clone();
        let mut both = Both { tx: &tx, state, limit: db.max_key_len(), written: 0, savepoints: Vec::new() };
        let applied = changes.iter().try_for_each(|change| both.apply(change));
        let (state, written) = (both.state, both.written);
        if let Err(failure) = applied {
            return self.unless_too_big(failure, written);
        }
        if !commit {
            tx.abort();
            return Ok(());
        }
        match tx.commit() {
            Ok(_) => {
                // One that wrote nothing has nothing to make durable, not even what it saw.
                let wrote = state != *self.history.current();
                self.history.push(state);
                if wrote && durability == Durability::Immediate {
                    self.history.synced();
                }
                Ok(())
            }
            Err(error) if self.power_is_off() => {
                // It may have reached the disk.
                self.history.push(state);
                Err(error.into())
            }
            Err(error) => self.unless_too_big(error.into(), written),
        }
    }

    /// A transaction may be too big for the memory there is; then it never was.
    fn unless_too_big(&self, failure: Failure, written: u64) -> Result<(), Failure> {
        match failure {
            Failure::Error(error)
                if error.kind() == ErrorKind::OverBudget
                    && written > self.setup.memory_budget / BUDGET_PARTS =>
            {
                Ok(())
            }
            failure => Err(failure),
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        for (snapshot, state) in self.snapshots.drain(..) {
            state.compare(&snapshot)?;
        }
        if let Some(db) = self.db.take() {
            db.close()?;
            self.history.synced();
        }
        self.open()?;
        self.history.current().compare(&self.db()?.begin_read()?)
    }

    fn crash(&mut self, seed: u64) -> Result<(), Failure> {
        let left = self.storage.crash(seed);
        self.snapshots.clear();
        // Whatever it still writes, it writes to a disk that nobody will look at again.
        self.db = None;
        self.storage = left;
        self.power_failure = None;
        self.open()?;
        let db = self.db()?.clone();
        self.history.crashed(&db)?;
        self.verify()
    }

    fn recover(&mut self) -> Result<(), Failure> {
        let seed = self.power_failure.take().unwrap_or(0);
        self.crash(seed)
    }

    fn verify(&self) -> Result<(), Failure> {
        let damages = self.db()?.verify()?.damages;
        if damages.is_empty() {
            Ok(())
        } else {
            Err(wrong(damages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
        }
    }

    /// Compares everything, and once more after opening again.
    pub(crate) fn finish(&mut self) -> Result<(), TestCaseError> {
        self.storage.clear_faults();
        if self.power_failure.is_some() {
            // Whether it has come or not: from here on nothing may fail.
            self.recover().map_err(reported)?;
        }
        self.history
            .current()
            .compare(&self.db().and_then(|db| Ok(db.begin_read()?)).map_err(reported)?)
            .map_err(reported)?;
        self.verify().map_err(reported)?;
        self.reopen().map_err(reported)?;
        self.verify().map_err(reported)
    }
}

fn reported(failure: Failure) -> TestCaseError {
    match failure {
        Failure::Wrong(error) => error,
        Failure::Error(error) => TestCaseError::fail(format!("unexpected error: {error:?}")),
    }
}
