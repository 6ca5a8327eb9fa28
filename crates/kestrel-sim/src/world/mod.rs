//! A world: one database on one simulated disk, driven by one thread, and the model of what it should be.

mod ends;
mod reads;
mod tickets;
mod writes;

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use kestreldb::simulation::{Clock, ManualClock};
use kestreldb::{Builder, Database, Error, ErrorKind, Value};

use crate::deed::Bytes;
use crate::disk::{Demand, DiskFault, FaultCounts};
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
    /// Calls that failed because the disk did.
    pub errors: u64,
    /// How often each fault fired.
    pub fired: FaultCounts,
    /// Calls to the disk.
    pub calls: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.digest = self.digest.rotate_left(1) ^ other.digest;
        self.steps += other.steps;
        self.commits += other.commits;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.crashes_while_opening += other.crashes_while_opening;
        self.kills += other.kills;
        self.reopenings += other.reopenings;
        self.over_budget += other.over_budget;
        self.errors += other.errors;
        self.fired += other.fired;
        self.calls += other.calls;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} steps, {} commits, {} conflicts, {} calls to the disk\n\
             {} crashes and {} more while opening, {} kills, {} reopenings\n\
             {} calls met a fault, {} did not fit the memory",
            self.steps,
            self.commits,
            self.conflicts,
            self.calls,
            self.crashes,
            self.crashes_while_opening,
            self.kills,
            self.reopenings,
            self.errors,
            self.over_budget,
        )
    }
}

/// A database and its model.
pub struct World<D> {
    setup: Setup,
    disk: D,
    clock: ManualClock,
    /// The faults that fired before the database was opened, or the disk repaired.
    fired_before: FaultCounts,
    /// How often the disk has lied, so that commits may be gone, and everything may be refused.
    lies: u64,
    /// Nothing can be compared any more.
    ruined: bool,
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
        let mut world = World::new(setup, seed, disk);
        world.open_database().map_err(unexpected)?;
        Ok(world)
    }

    fn new(setup: &Setup, seed: u64, disk: D) -> World<D> {
        let trace = Trace::default();
        let tap = Tap::new(disk.storage(), &trace);
        World {
            setup: *setup,
            clock: ManualClock::new(),
            fired_before: disk.fired(),
            lies: 0,
            ruined: false,
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
        }
    }

    /// Runs a whole program, and looks at everything in the end.
    pub fn run(program: &Program, disk: D) -> Result<Report, Finding> {
        let at = |step: usize| move |what: String| Finding { step, what };
        // After a panic, or when something is wrong, it had better not do anything more: it is forgotten.
        let mut world = ManuallyDrop::new(World::new(&program.setup, program.seed, disk));
        for (number, step) in program.steps.iter().enumerate() {
            // What is planned before anything else is met by the creation.
            if !matches!(step, Step::Plan(_)) && world.report.steps == 0 {
                world.create().map_err(at(number))?;
            }
            world.step(step).map_err(at(number))?;
        }
        let report = world.finish().map_err(at(program.steps.len()))?;
        drop(ManuallyDrop::into_inner(world));
        Ok(report)
    }

    fn create(&mut self) -> Result<(), String> {
        let opened = self.open_database();
        self.allowed(opened)
    }

    /// What may be there after a crash.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What happened so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report { digest: self.trace.digest(), fired: self.disk.fired(), ..self.report }
    }

    /// Does a step. If the power goes off, what is left is opened again.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        self.step_until_power_off(step)?;
        if !self.disk.has_power() && !self.ruined {
            self.power_cut()?;
        }
        Ok(())
    }

    /// Does a step. If the power goes off, nothing more can be done but to look at what the disk holds.
    pub fn step_until_power_off(&mut self, step: &Step) -> Result<(), String> {
        if let Step::Plan(plan) = step {
            self.disk.plan(*plan);
            return Ok(());
        }
        self.report.steps += 1;
        let goes_on =
            matches!(step, Step::Kill | Step::Crash(..) | Step::PowerOff(_) | Step::Repair | Step::Time(_));
        if self.ruined || self.db.is_none() && !goes_on {
            return Ok(());
        }
        let done = self.try_step(step);
        self.lies = self.lies.max(self.count_lies(false));
        self.allowed(done)
    }

    /// What went wrong needs a cause.
    fn allowed(&mut self, done: Result<(), Trouble>) -> Result<(), String> {
        match done {
            Ok(()) => Ok(()),
            Err(Trouble::Wrong(wrong)) => Err(wrong),
            Err(Trouble::Error(error)) => self.excuse(&error),
        }
    }

    /// The faults that fired since the database was opened.
    fn troubles(&self) -> FaultCounts {
        self.disk.fired().since(&self.fired_before)
    }

    /// Lies that lasted. Those of a single read are forgotten, unless an opening met them: it may have taken them for the end of
    /// the log.
    fn count_lies(&self, opening: bool) -> u64 {
        let fired = self.disk.fired();
        let lies = fired.iter().filter(|(fault, _)| match fault {
            DiskFault::StaleRead | DiskFault::RotInRead => opening,
            fault => matches!(fault.demand(), Demand::Detect | Demand::Lose),
        });
        lies.map(|(_, count)| count).sum()
    }

    fn is_damaged(&self) -> bool {
        self.lies > 0
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
            Step::Time(milliseconds) => {
                let now = self.clock.now();
                let by = Duration::from_millis(milliseconds.unsigned_abs());
                self.clock.set(if *milliseconds < 0 { now.saturating_sub(by) } else { now + by });
                Ok(())
            }
            Step::Plan(_) => Ok(()),
            Step::Repair => self.repair(),
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

    fn builder(&self) -> Builder {
        builder(&self.setup, &self.clock)
    }

    fn open_database(&mut self) -> Result<(), Trouble> {
        let db = self.builder().open_with_storage(Arc::new(self.tap.clone()))?;
        self.limit = db.max_key_len();
        self.db = Some(db);
        Ok(())
    }

    /// An error that the model does not know of needs a cause.
    fn excuse(&mut self, error: &Error) -> Result<(), String> {
        self.trace.note(error.kind());
        self.lies = self.lies.max(self.count_lies(false));
        match error.kind() {
            ErrorKind::OverBudget => {
                self.report.over_budget += 1;
                Ok(())
            }
            ErrorKind::Io | ErrorKind::ReadOnly if !self.disk.has_power() => Ok(()),
            kind if self.is_damaged()
                || self.troubles().iter().any(|(fault, count)| count > 0 && may_cause(fault, kind)) =>
            {
                self.report.errors += 1;
                Ok(())
            }
            _ => Err(format!("unexpected error: {error:?}")),
        }
    }

    /// Looks at everything: as it is, and opened again.
    fn finish(&mut self) -> Result<Report, String> {
        if !self.ruined {
            let looked = self.repair().and_then(|()| self.verify()).and_then(|()| self.reopen(false));
            let looked = looked.and_then(|()| self.verify());
            self.allowed(looked)?;
        }
        self.check_kept()?;
        self.report.calls = self.disk.calls();
        let report = self.report();
        self.db = None;
        Ok(report)
    }
}

/// Whether a call may fail so because of a fault.
fn may_cause(fault: DiskFault, kind: ErrorKind) -> bool {
    use DiskFault as F;
    match fault {
        F::ReadError => kind == ErrorKind::Io,
        F::WriteError | F::TornWrite | F::SyncError | F::DirectorySyncError | F::NameError => {
            matches!(kind, ErrorKind::Io | ErrorKind::ReadOnly)
        }
        // Where the log or a superblock has no room, which was claimed before, nobody knows what was written.
        F::NoSpace | F::OverQuota => {
            matches!(kind, ErrorKind::DiskFull | ErrorKind::Io | ErrorKind::ReadOnly)
        }
        F::StaleRead | F::RotInRead => matches!(kind, ErrorKind::Corrupted | ErrorKind::ReadOnly),
        _ => false,
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
