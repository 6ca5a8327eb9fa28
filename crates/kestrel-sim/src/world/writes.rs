//! Write transactions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kestreldb::{CommitTicket, Database, Durability, Error, ErrorKind, Isolation, Timestamp, WriteTxn};

use super::tickets::Pending;
use super::{BUDGET_PARTS, OPEN_MAX, World, pick};
use crate::deed::{Deed, tree_name};
use crate::execute::{alone, is_read};
use crate::ground::Disk;
use crate::history::Commit;
use crate::model::Draft;
use crate::step::{Ending, Key, Op, Val};
use crate::work::{Trouble, Work, shortened};

/// A tree and a key that the rivals of closures write.
const CONTESTED: (u8, Key) = (2, Key::Short(255));

/// A write transaction beside its model.
pub(super) struct Writer {
    pub(super) txn: WriteTxn,
    pub(super) work: Work,
    isolation: Isolation,
    durability: Durability,
}

/// How a commit was asked for, and what came of it.
struct Asked {
    isolation: Isolation,
    /// Before it is visible it has to be durable.
    must: bool,
    /// Commits that were published before.
    published: u64,
}

/// What a closure of this world fails with.
enum Failure {
    Trouble(Trouble),
    OnPurpose,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Trouble(error.into())
    }
}

impl<D: Disk> World<D> {
    pub(super) fn begin(&mut self, isolation: Isolation, durability: Durability) -> Result<(), Trouble> {
        if self.writers.len() < OPEN_MAX {
            let db = self.db()?;
            let options = db.write_options().isolation(isolation).durability(durability);
            let txn = db.begin_write_with(options)?;
            let work = self.new_work(&txn)?;
            self.writers.push(Writer { txn, work, isolation, durability });
        }
        Ok(())
    }

    /// A write transaction begins with the newest commit, visible or not.
    fn new_work(&self, txn: &WriteTxn) -> Result<Work, Trouble> {
        let newest = self.history.newest();
        if self.history.seen_at(txn.timestamp().0) != newest {
            return Err("a write transaction does not begin with the newest commit".to_owned().into());
        }
        Ok(Work::new(self.history.current().clone(), newest))
    }

    pub(super) fn act(&mut self, writer: u8, op: Op) -> Result<(), Trouble> {
        let Some(at) = pick(writer, &self.writers) else { return Ok(()) };
        let number = self.number();
        let Writer { txn, work, .. } = &mut self.writers[at];
        match work.act(txn, op, self.limit, number) {
            Ok(outcome) => {
                self.trace.note(outcome);
                Ok(())
            }
            Err(trouble) => {
                let writer = self.writers.remove(at);
                self.excuse_of(trouble, &writer.work)
            }
        }
    }

    /// A transaction may meet a conflict before it commits, and may be too large; then it has ended.
    fn excuse_of(&mut self, trouble: Trouble, work: &Work) -> Result<(), Trouble> {
        match trouble {
            Trouble::Error(error) if error.is_conflict() => self.has_cause(&error, work),
            Trouble::Error(error) if error.kind() == ErrorKind::OverBudget => {
                let alone = self.writers.is_empty() && self.readers.is_empty() && self.kept.is_empty();
                if alone && work.weight < self.setup.memory_budget / BUDGET_PARTS {
                    let weight = work.weight;
                    return Err(format!("a transaction of {weight} bytes does not fit: {error}").into());
                }
                Err(error.into())
            }
            trouble => Err(trouble),
        }
    }

    fn has_cause(&mut self, error: &Error, work: &Work) -> Result<(), Trouble> {
        self.report.conflicts += 1;
        self.trace.note("conflict");
        // Where one of the two touched more than is remembered key by key, and tree by tree, anything may be the cause.
        let exact = error.conflict().is_none_or(|conflict| conflict.exact);
        if self.history.was_met(work.began, &work.touched) || !exact && work.began < self.history.newest() {
            return Ok(());
        }
        Err(format!("a conflict without a cause: {error}").into())
    }

    fn published(&self) -> Result<u64, Trouble> {
        Ok(self.db()?.statistics().commits)
    }

    pub(super) fn commit(&mut self, writer: u8, with_ticket: bool) -> Result<(), Trouble> {
        let Some(at) = pick(writer, &self.writers) else { return Ok(()) };
        let Writer { txn, work, isolation, durability } = self.writers.remove(at);
        let must = with_ticket || durability == Durability::Immediate;
        let asked = Asked { isolation, must, published: self.published()? };
        let began = txn.timestamp();
        let committed = if with_ticket {
            txn.commit_async().map(|ticket| (ticket.timestamp(), Some(ticket)))
        } else {
            txn.commit().map(|at| (at, None))
        };
        match committed {
            Ok((at, ticket)) => {
                let at = (at != began).then_some(at);
                self.committed(work, &asked, at, ticket)
            }
            Err(error) => self.not_committed(work, &asked, error),
        }
    }

    /// A commit succeeded, at that time if it wrote something.
    fn committed(
        &mut self,
        work: Work,
        asked: &Asked,
        at: Option<Timestamp>,
        ticket: Option<CommitTicket>,
    ) -> Result<(), Trouble> {
        let mut index = work.began;
        if let Some(at) = at {
            self.trace.note(at.0);
            if at.0 <= self.history.newest_at() {
                return Err(format!("a commit at {} behind one at {}", at.0, self.history.newest_at()).into());
            }
            self.push(work, asked, at.0)?;
            index = self.history.newest();
        } else if work.changes() {
            return Err("a transaction committed, and its changes did not".to_owned().into());
        }
        match ticket {
            Some(ticket) => self.tickets.push(Pending::new(ticket, index, at.is_some())),
            None => {
                self.history.reached(index);
                if at.is_some() && asked.must {
                    self.history.kept(index);
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, work: Work, asked: &Asked, at: u64) -> Result<(), Trouble> {
        self.report.commits += 1;
        let is_newest = work.began == self.history.newest();
        let wrote = work.wrote.clone();
        let state = work.onto(self.history.current(), is_newest, asked.isolation, self.limit)?;
        self.history.push(Commit { at, state, must: asked.must, wrote });
        Ok(())
    }

    /// A commit failed. If it was published all the same, a crash may leave it; nobody sees it before.
    fn not_committed(&mut self, work: Work, asked: &Asked, error: Error) -> Result<(), Trouble> {
        let published = self.published()? - asked.published;
        if error.is_conflict() {
            if published > 0 {
                return Err(format!("a commit was published in spite of a conflict: {error}").into());
            }
            return self.has_cause(&error, &work);
        }
        if published > 0 {
            self.push(work, asked, u64::MAX)?;
            return Err(error.into());
        }
        self.excuse_of(error.into(), &work)
    }

    /// A call that is a transaction of its own.
    pub(super) fn single(&mut self, op: Op) -> Result<(), Trouble> {
        let op = match op {
            // A tree's own stores what comes before the wrong one.
            Op::Append(tree, count, value, _) => Op::Append(tree, count, value, false),
            Op::Extract(tree, span, modulus, _) => Op::Extract(tree, span, modulus, u8::MAX),
            op => op,
        };
        let db = self.db()?.clone();
        let number = self.number();
        let snapshot = db.begin_read()?;
        let visible = self.shown(&snapshot)?;
        drop(snapshot);
        let newest = self.history.newest();
        let mut work = Work::new(self.history.current().clone(), newest);
        let mut deed = Deed::resolve(op, &work.draft, self.limit, number);
        if let Deed::Extract(_, _, _, most) = &mut deed {
            *most = u64::MAX;
        }
        if is_read(&deed) {
            let outcome = alone(&db, &deed)?;
            let mut draft = Draft::new(self.history.state(visible).clone());
            let expected = draft.apply(&deed, self.limit);
            self.trace.note(&outcome);
            if outcome == expected {
                return Ok(());
            }
            let deed = shortened(&deed);
            return Err(format!("{deed}: expected {expected:?}, found {outcome:?}").into());
        }
        if matches!(deed, Deed::Append(..) | Deed::Tree(..)) && visible != newest {
            // They look for the last key, and for the tree, in what is visible.
            db.flush()?;
            self.history.synced();
        }
        work.touch(&deed);
        work.weight = deed.weight();
        let must = self.setup.durability == Durability::Immediate;
        let asked = Asked { isolation: Isolation::Snapshot, must, published: self.published()? };
        match alone(&db, &deed) {
            Ok(outcome) => {
                self.trace.note(&outcome);
                work.compare(deed, outcome, self.limit)?;
                self.committed_somewhere(work, &asked, None)
            }
            Err(error) => {
                // It may have been done, and failed then.
                work.draft.apply(&deed, self.limit);
                self.not_committed(work, &asked, error)
            }
        }
    }

    /// A commit succeeded in a call that does not say when.
    fn committed_somewhere(
        &mut self,
        work: Work,
        asked: &Asked,
        ticket: Option<CommitTicket>,
    ) -> Result<(), Trouble> {
        let at = match (self.published()? - asked.published, &ticket) {
            (0, None) if !work.changes() => return Ok(()),
            (0, _) => None,
            (1, Some(ticket)) => Some(ticket.timestamp()),
            (1, None) => Some(self.db()?.begin_read()?.timestamp()),
            (more, _) => return Err(format!("one call committed {more} transactions").into()),
        };
        self.committed(work, asked, at, ticket)
    }

    /// A closure, beaten by others so many times before it gets through.
    pub(super) fn closure(
        &mut self,
        ops: &[Op],
        ending: Ending,
        losses: u8,
        with_ticket: bool,
    ) -> Result<(), Trouble> {
        let db = self.db()?.clone();
        let (isolation, durability) = (self.setup.isolation, self.setup.durability);
        let must = with_ticket || durability == Durability::Immediate;
        let mut asked = Asked { isolation, must, published: self.published()? };
        let (mut tries, mut work) = (0, None);
        let body = |txn: &WriteTxn| {
            tries += 1;
            let done = self.body(&db, txn, ops, (tries <= losses).then_some(tries), &mut work);
            // What a rival published is none of this one's commits, even if the rival failed then.
            asked.published = self.published().map_err(Failure::Trouble)?;
            done?;
            match ending {
                Ending::Error if tries > losses => Err(Failure::OnPurpose),
                #[expect(clippy::panic, reason = "closures of users do")]
                Ending::Panic if tries > losses => panic!("{}", crate::ON_PURPOSE),
                _ => Ok(()),
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| match with_ticket {
            true => db.write_async(body).map(|((), ticket)| Some(ticket)),
            false => db.write(body).map(|()| None),
        }));
        let result = match result {
            Err(panic) if ending == Ending::Panic && crate::is_on_purpose(&*panic) => return Ok(()),
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(result) => result,
        };
        let Some(work) = work else {
            return match result {
                Err(Failure::Trouble(trouble)) => Err(trouble),
                _ => Err("a closure was not called".to_owned().into()),
            };
        };
        match result {
            Err(Failure::OnPurpose) => Ok(()),
            Err(Failure::Trouble(Trouble::Error(error))) => self.not_committed(work, &asked, error),
            Err(Failure::Trouble(trouble)) => Err(trouble),
            Ok(_) if tries != losses + 1 => {
                Err(format!("a closure that was beaten {losses} times ran {tries} times").into())
            }
            Ok(ticket) => self.committed_somewhere(work, &asked, ticket),
        }
    }

    /// What the closure does. `beaten`: the number of the try, if another transaction comes between.
    fn body(
        &mut self,
        db: &Database,
        txn: &WriteTxn,
        ops: &[Op],
        beaten: Option<u8>,
        done: &mut Option<Work>,
    ) -> Result<(), Failure> {
        *done = None;
        let work = self.new_work(txn).map_err(Failure::Trouble)?;
        let work = done.insert(work);
        let (tree, key) = CONTESTED;
        let contest = |mark: u32| [Op::Tree(tree), Op::Put(tree, key, Val { len: 9, mark })];
        let first = if beaten.is_some() { &contest(0)[..] } else { &[] };
        for op in first.iter().chain(ops) {
            let number = self.number();
            let outcome = work.act(txn, *op, self.limit, number).map_err(Failure::Trouble)?;
            self.trace.note(outcome);
        }
        if let Some(beaten) = beaten {
            self.rival(db, &contest(beaten.into())).map_err(Failure::Trouble)?;
        }
        Ok(())
    }

    fn rival(&mut self, db: &Database, ops: &[Op]) -> Result<(), Trouble> {
        let options = db.write_options().durability(Durability::Eventual);
        let asked = Asked { isolation: Isolation::Serializable, must: false, published: self.published()? };
        let txn = db.begin_write_with(options.isolation(asked.isolation))?;
        let mut work = self.new_work(&txn)?;
        for op in ops {
            let number = self.number();
            work.act(&txn, *op, self.limit, number)?;
        }
        debug_assert_eq!(work.draft.cursors(), 0, "{}", tree_name(CONTESTED.0));
        match txn.commit() {
            Ok(at) => self.committed(work, &asked, Some(at), None),
            Err(error) => self.not_committed(work, &asked, error),
        }
    }
}
