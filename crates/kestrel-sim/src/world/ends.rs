//! Closing, killing, power cuts; and opening again.

use std::sync::Arc;

use kestreldb::ErrorKind;

use super::{World, unexpected};
use crate::ground::Disk;
use crate::judge::{builder, contents};
use crate::tap::Tap;
use crate::work::Trouble;

/// An opening that meets a power cut meets it within so many calls.
const CALLS_OF_OPENING: u64 = 60;

impl<D: Disk> World<D> {
    /// A second handle is refused.
    pub(super) fn open_twice(&mut self) -> Result<(), Trouble> {
        match builder(&self.setup).open_with_storage(Arc::new(self.tap.clone())) {
            Ok(_) => Err("the database was opened twice".to_owned().into()),
            Err(error) if error.kind() == ErrorKind::Locked => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn drop_transactions(&mut self) {
        self.writers.clear();
        self.readers.clear();
    }

    /// Closes and opens again; with transactions still open, which hold the lock until they end.
    pub(super) fn reopen(&mut self, with_others_open: bool) -> Result<(), Trouble> {
        self.report.reopenings += 1;
        if !with_others_open {
            self.drop_transactions();
        }
        let Some(db) = self.db.take() else { return Ok(()) };
        if let Err(error) = db.clone().close() {
            self.db = Some(db);
            return Err(error.into());
        }
        self.history.synced();
        self.resolve_all()?;
        if db.begin_read().map(drop).map_err(|error| error.kind()) != Err(ErrorKind::Closed) {
            return Err("a closed database begins snapshots".to_owned().into());
        }
        if !self.readers.is_empty() {
            self.open_twice()?;
            self.compare(0)?;
        }
        if !self.writers.is_empty() {
            let txn = self.writers.remove(0).txn;
            if txn.commit().map(drop).map_err(|error| error.kind()) == Err(ErrorKind::Conflict) {
                // Told before it was told that the database is closed.
            }
        }
        self.drop_transactions();
        drop(db);
        self.open_database()?;
        self.found()
    }

    /// What is there after an opening has to be what may be there.
    fn found(&mut self) -> Result<(), Trouble> {
        self.check_kept()?;
        let snapshot = self.db()?.begin_read()?;
        let found = contents(&snapshot, false)?;
        let index = self.history.find(&found)?;
        self.trace.note((index, snapshot.timestamp().0));
        self.history.reopened(index, snapshot.timestamp().0);
        Ok(())
    }

    /// The process ends without a word. What it gave to the system is there, synced or not.
    pub(super) fn kill(&mut self) -> Result<(), Trouble> {
        self.report.kills += 1;
        self.end_process()?;
        self.open_database()?;
        self.found()?;
        self.verify()
    }

    fn end_process(&mut self) -> Result<(), Trouble> {
        self.tap.cut();
        self.drop_transactions();
        self.db = None;
        self.resolve_all()?;
        self.tap = Tap::new(self.disk.storage(), &self.trace);
        Ok(())
    }

    /// The power has gone off.
    pub(super) fn power_cut(&mut self) -> Result<(), String> {
        let seed = self.random.word();
        let while_opening = [0, 0, 1, 2][self.random.below(4) as usize];
        self.crash(seed, while_opening)
    }

    /// The power goes off, and comes back; again and again while the database is opened.
    pub(super) fn crash(&mut self, seed: u64, while_opening: u8) -> Result<(), String> {
        self.report.crashes += 1;
        self.lose_power(seed)?;
        for _ in 0..while_opening {
            self.disk.stop_at(self.disk.calls() + self.random.below(CALLS_OF_OPENING));
            let opened = self.open_database();
            if self.disk.has_power() {
                // It was opened before; then it goes off now.
                opened.map_err(unexpected)?;
            }
            self.report.crashes_while_opening += 1;
            let seed = self.random.word();
            self.lose_power(seed)?;
        }
        self.open_database().and_then(|()| self.found()).and_then(|()| self.verify()).map_err(unexpected)
    }

    fn lose_power(&mut self, seed: u64) -> Result<(), String> {
        let left = self.disk.crash(seed);
        self.disk = left;
        self.report.calls += self.disk.calls();
        self.end_process().map_err(unexpected)
    }
}
