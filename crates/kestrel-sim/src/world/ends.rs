//! Closing, killing, power cuts; and opening again.

use std::sync::Arc;

use kestreldb::ErrorKind;

use super::{World, unexpected};
use crate::disk::Demand;
use crate::ground::Disk;
use crate::judge::contents;
use crate::tap::Tap;
use crate::work::Trouble;

/// An opening that meets a power cut meets it within so many calls.
const CALLS_OF_OPENING: u64 = 60;

impl<D: Disk> World<D> {
    /// A second handle is refused.
    pub(super) fn open_twice(&mut self) -> Result<(), Trouble> {
        match self.builder().open_with_storage(Arc::new(self.tap.clone())) {
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
            // It is closed all the same, without what could not be written.
            drop(db);
            self.end_process()?;
            self.excuse(&error)?;
            return self.open_again();
        }
        self.history.synced();
        self.resolve_all()?;
        if db.begin_read().map(drop).map_err(|error| error.kind()) != Err(ErrorKind::Closed) {
            return Err("a closed database begins snapshots".to_owned().into());
        }
        if !self.readers.is_empty() {
            let looked = self.open_twice().and_then(|()| self.compare(0));
            self.allowed(looked)?;
        }
        if !self.writers.is_empty() {
            let txn = self.writers.remove(0).txn;
            if txn.commit().map(drop).map_err(|error| error.kind()) == Err(ErrorKind::Conflict) {
                // Told before it was told that the database is closed.
            }
        }
        self.drop_transactions();
        drop(db);
        self.open_again()
    }

    /// Opens what is there, and looks whether it may be.
    fn open_again(&mut self) -> Result<(), Trouble> {
        let lies_before = self.count_lies(true);
        let opened = self.open_database();
        self.lies = (self.lies + self.count_lies(true) - lies_before).max(self.count_lies(false));
        let opened = opened.and_then(|()| self.found());
        match &opened {
            Err(Trouble::Error(error)) => {
                self.lies = self.lies.max(self.count_lies(false));
                // Until the disk is repaired; if that is of no use, for ever.
                self.db = None;
                self.ruined = self.is_damaged() && self.disk.has_power();
                self.excuse(error)?;
                Ok(())
            }
            _ => opened,
        }
    }

    /// The disk works again. If something had gone wrong, only opening the database again tells what is there.
    pub(super) fn repair(&mut self) -> Result<(), Trouble> {
        if !self.disk.has_power() {
            return Ok(self.power_cut()?);
        }
        self.disk.go_on();
        let troubled =
            self.troubles().iter().any(|(fault, count)| count > 0 && fault.demand() != Demand::Retry);
        if self.db.is_some() && troubled {
            self.reopen(false)?;
        } else if self.db.is_none() {
            self.open_again()?;
        }
        self.fired_before = self.disk.fired();
        Ok(())
    }

    /// What is there after an opening has to be what may be there.
    fn found(&mut self) -> Result<(), Trouble> {
        self.check_kept()?;
        let snapshot = self.db()?.begin_read()?;
        let found = contents(&snapshot, false)?;
        let index = match self.lies {
            0 => self.history.find(&found)?,
            lies => self.history.find_damaged(&found, lies)?,
        };
        self.trace.note((index, snapshot.timestamp().0));
        self.history.reopened(index, snapshot.timestamp().0);
        Ok(())
    }

    /// The process ends without a word. What it gave to the system is there, synced or not.
    pub(super) fn kill(&mut self) -> Result<(), Trouble> {
        self.report.kills += 1;
        self.end_process()?;
        self.open_again()?;
        if self.db.is_none() { Ok(()) } else { self.verify() }
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
                self.allowed(opened)?;
            }
            self.report.crashes_while_opening += 1;
            let seed = self.random.word();
            self.lose_power(seed)?;
        }
        self.fired_before = self.disk.fired();
        let opened = self.open_again();
        let opened = if self.db.is_none() { opened } else { opened.and_then(|()| self.verify()) };
        self.allowed(opened)
    }

    fn lose_power(&mut self, seed: u64) -> Result<(), String> {
        let left = self.disk.crash(seed);
        self.disk = left;
        self.report.calls += self.disk.calls();
        self.end_process().map_err(unexpected)
    }
}
