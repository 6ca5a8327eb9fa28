//! A world: one database on one simulated disk, driven by one thread, and the model of what it should be.

mod ends;
mod reads;
mod tickets;
mod writes;

use std::sync::Arc;

use kestreldb::{Database, Error, ErrorKind, Value};

use crate::deed::Bytes;
use crate::generate::Program;
use crate::ground::Disk;
use crate::history::History;
use crate::judge::builder;
use crate::random::Random;
use crate::step::{Setup, Step};
use crate::tap::{Tap, Trace};
use crate::work::Trouble;

use reads::Reader;
use tickets::Pending;
use writes::Writer;

/// Open transactions of each kind, at most.
const OPEN_MAX: usize = 4;
/// Values that are kept, at most.
const KEPT_MAX: usize = 6;
/// A transaction that writes less than this part of the memory fits into it, if nothing else is open.
const BUDGET_PARTS: u64 = 16;

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The number of the step, as many as there are for the end.
    pub step: usize,
    /// What is wrong.
    pub what: String,
}

/// What a world has been through.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// Of all calls to the disk, and all answers.
    pub digest: u64,
    pub steps: u64,
    pub commits: u64,
    pub conflicts: u64,
    pub crashes: u64,
    pub crashes_while_opening: u64,
    pub kills: u64,
    pub reopenings: u64,
    /// Calls that needed more memory than there is.
    pub over_budget: u64,
    /// Calls to the disk.
    pub calls: u64,
}

/// A database and its model.
pub struct World<D> {
    setup: Setup,
    disk: D,
    tap: Tap,
    trace: Trace,
    /// `None` only while it is opened, and when that failed.
    db: Option<Database>,
    /// Bytes of the longest key.
    limit: usize,
    history: History,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    tickets: Vec<Pending>,
    kept: Vec<(Value, Bytes)>,
    /// Trees so far.
    numbers: u64,
    random: Random,
    report: Report,
}

impl<D: Disk> World<D> {
    /// Opens a new database. The seed decides what crashes leave.
    pub fn open(setup: &Setup, seed: u64, disk: D) -> Result<World<D>, String> {
        let trace = Trace::default();
        let tap = Tap::new(disk.storage(), &trace);
        let mut world = World {
            setup: *setup,
            disk,
            tap,
            trace,
            db: None,
            limit: 0,
            history: History::default(),
            writers: Vec::new(),
            readers: Vec::new(),
            tickets: Vec::new(),
            kept: Vec::new(),
            numbers: 0,
            random: Random::of(seed, 2),
            report: Report::default(),
        };
        world.open_database().map_err(unexpected)?;
        Ok(world)
    }

    /// Runs a whole program, and looks at everything in the end.
    pub fn run(program: &Program, disk: D) -> Result<Report, Finding> {
        let at = |step: usize| move |what: String| Finding { step, what };
        let mut world = World::open(&program.setup, program.seed, disk).map_err(at(0))?;
        for (number, step) in program.steps.iter().enumerate() {
            world.step(step).map_err(at(number))?;
        }
        world.finish().map_err(at(program.steps.len()))
    }

    /// What may be there after a crash.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What happened so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report { digest: self.trace.digest(), ..self.report }
    }

    /// Does a step. If the power goes off, what is left is opened again.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        self.step_until_power_off(step)?;
        if !self.disk.has_power() {
            self.power_cut()?;
        }
        Ok(())
    }

    /// Does a step. If the power goes off, nothing more can be done but to look at what the disk holds.
    pub fn step_until_power_off(&mut self, step: &Step) -> Result<(), String> {
        self.report.steps += 1;
        match self.try_step(step) {
            Ok(()) => Ok(()),
            Err(Trouble::Wrong(wrong)) => Err(wrong),
            Err(Trouble::Error(error)) => self.excuse(&error),
        }
    }

    fn try_step(&mut self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Begin(isolation, durability) => self.begin(*isolation, *durability),
            Step::Act(writer, op) => self.act(*writer, *op),
            Step::Commit(writer, with_ticket) => self.commit(*writer, *with_ticket),
            Step::Abort(writer) => {
                pick(*writer, &self.writers).map(|at| self.writers.remove(at));
                Ok(())
            }
            Step::Single(op) => self.single(*op),
            Step::Closure(ops, ending, losses, with_ticket) => {
                self.closure(ops, *ending, *losses, *with_ticket)
            }
            Step::Snapshot => self.snapshot(),
            Step::Look(reader, op) => self.look(*reader, *op),
            Step::Compare(reader) => self.compare(*reader),
            Step::EndSnapshot(reader) => {
                pick(*reader, &self.readers).map(|at| self.readers.remove(at));
                Ok(())
            }
            Step::Keep(which, key, of_snapshot) => self.keep(*which, *key, *of_snapshot),
            Step::Poll(ticket) => self.poll(*ticket),
            Step::Wait(ticket) => self.wait(*ticket),
            Step::Forget(ticket) => {
                pick(*ticket, &self.tickets).map(|at| self.tickets.remove(at));
                Ok(())
            }
            Step::Maintain(times) => {
                for _ in 0..*times {
                    let more = self.db()?.maintain()?;
                    self.trace.note(more);
                }
                Ok(())
            }
            Step::Flush => {
                self.db()?.flush()?;
                self.history.synced();
                Ok(())
            }
            Step::Checkpoint => {
                self.db()?.checkpoint()?;
                self.history.synced();
                Ok(())
            }
            Step::Verify => self.verify(),
            Step::Figures => self.figures(),
            Step::OpenTwice => self.open_twice(),
            Step::Time(_) => Ok(()),
            Step::Reopen(with_others_open) => self.reopen(*with_others_open),
            Step::Kill => self.kill(),
            Step::Crash(seed, while_opening) => Ok(self.crash(*seed, *while_opening)?),
            Step::PowerOff(after) => {
                self.disk.stop_at(self.disk.calls() + u64::from(*after));
                Ok(())
            }
        }
    }

    fn db(&self) -> Result<&Database, Trouble> {
        self.db.as_ref().ok_or_else(|| Trouble::Wrong("no database is open".to_owned()))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn open_database(&mut self) -> Result<(), Trouble> {
        let db = builder(&self.setup).open_with_storage(Arc::new(self.tap.clone()))?;
        self.limit = db.max_key_len();
        self.db = Some(db);
        Ok(())
    }

    /// An error that the model does not know of needs a cause.
    fn excuse(&mut self, error: &Error) -> Result<(), String> {
        self.trace.note(error.kind());
        match error.kind() {
            ErrorKind::OverBudget => {
                self.report.over_budget += 1;
                Ok(())
            }
            ErrorKind::Io | ErrorKind::ReadOnly if !self.disk.has_power() => Ok(()),
            _ => Err(format!("unexpected error: {error:?}")),
        }
    }

    /// Looks at everything: as it is, and opened again.
    fn finish(&mut self) -> Result<Report, String> {
        self.disk.go_on();
        let looked = self.verify().and_then(|()| self.reopen(false)).and_then(|()| self.verify());
        looked.map_err(unexpected)?;
        self.check_kept()?;
        self.report.calls = self.disk.calls();
        let report = self.report();
        self.db = None;
        Ok(report)
    }
}

/// The index that a number means among so many.
fn pick<T>(which: u8, of: &[T]) -> Option<usize> {
    usize::from(which).checked_rem(of.len())
}

fn unexpected(trouble: Trouble) -> String {
    match trouble {
        Trouble::Wrong(wrong) => wrong,
        Trouble::Error(error) => format!("unexpected error: {error:?}"),
    }
}
