//! Running transactions.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use kestreldb::{
    CommitTicket, Database, Durability, Error, ErrorKind, Isolation, Timestamp, Tree, WriteOptions, WriteTxn,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::plan::{Place, Plan, Step};

/// How often a transaction is tried before that is an error.
const TRIES_MAX: u32 = 10_000;
/// How many tickets a writer holds at most.
const TICKETS_MAX: usize = 20;
/// So many steps are a long transaction.
const LONG: usize = 150;
/// The key of the number of links.
pub(crate) const HEAD: &[u8] = b"head";

/// Is told what writers do, and what they were told. The calls come from the writers' threads.
pub trait Witness: Sync {
    /// The transaction may be there from now on.
    fn tried(&self, writer: u8, number: u64);
    /// It was committed, at this place of the order.
    fn committed(&self, writer: u8, number: u64, timestamp: Timestamp);
    /// It and all of the writer before it are durable, says the database.
    fn promised(&self, writer: u8, number: u64);
}

/// The trees that all writers share.
#[derive(Clone, Debug)]
pub struct Trees {
    pub(crate) writers: Tree,
    pub(crate) head: Tree,
    pub(crate) chain: Tree,
    pub(crate) mixed: Tree,
    pub(crate) runs: Tree,
    pub(crate) large: Tree,
}

/// Names of the shared trees, in the order of [`Trees`].
pub(crate) const NAMES: [&str; 6] = ["writers", "head", "chain", "mixed", "runs", "large"];

/// A tree with which others may do as they like.
pub const OTHER: &str = "other";

impl Trees {
    /// Creates those that are not there.
    pub fn create(db: &Database) -> Result<Trees, Error> {
        let [writers, head, chain, mixed, runs, large] = NAMES;
        Ok(Trees {
            writers: db.tree(writers)?,
            head: db.tree(head)?,
            chain: db.tree(chain)?,
            mixed: db.tree(mixed)?,
            runs: db.tree(runs)?,
            large: db.tree(large)?,
        })
    }
}

/// The name of a writer's own tree: its first, or its second.
pub(crate) fn own_name(writer: u8, second: bool) -> String {
    format!("{} of {writer}", if second { "second" } else { "first" })
}

/// One writer at work.
#[derive(Debug)]
pub struct Work<'w> {
    /// Which one.
    pub writer: u8,
    /// Of how many.
    pub writers: u8,
    /// What transactions do.
    pub plan: Plan,
    /// How many of them are there already.
    pub done: u64,
    /// How many more to do at most.
    pub count: u64,
    /// Of 16 commits, how many do not wait for the disk.
    pub eager: u32,
    /// Decides how each transaction is committed.
    pub seed: u64,
    /// Ends it.
    pub stop: &'w AtomicBool,
}

impl Work<'_> {
    /// Runs transactions until told to stop, or until enough of them are done; then waits for all tickets.
    pub fn run(self, db: &Database, trees: &Trees, witness: &dyn Witness) -> Result<(), Error> {
        let mut random = SmallRng::seed_from_u64(self.seed);
        let mut tickets: VecDeque<(u64, CommitTicket)> = VecDeque::new();
        let mut number = self.done;
        while number < self.done + self.count && !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let eager = random.random_range(0..16) < self.eager;
            let manner = Manner {
                durability: if eager { Durability::Eventual } else { Durability::Immediate },
                ticket: eager && random.random_range(0..2_u32) == 0,
                serializable: random.random(),
            };
            witness.tried(self.writer, number);
            let (timestamp, ticket) = self.transaction(db, trees, number, manner)?;
            witness.committed(self.writer, number, timestamp);
            if !eager {
                witness.promised(self.writer, number);
            }
            // A ticket that is dropped changes nothing.
            if let Some(ticket) = ticket.filter(|_| random.random_range(0..8_u32) > 0) {
                tickets.push_back((number, ticket));
            }
            // What is said to be durable is, whether anybody waits or not.
            while let Some((number, _)) = tickets.front().filter(|(_, ticket)| ticket.is_done()) {
                witness.promised(self.writer, *number);
                tickets.pop_front();
            }
            let wait = random.random_range(0..8_u32) == 0;
            while tickets.len() > TICKETS_MAX || (wait && !tickets.is_empty()) {
                let Some((number, ticket)) = tickets.pop_front() else { break };
                ticket.wait()?;
                witness.promised(self.writer, number);
            }
            if random.random_range(0..200_u32) == 0 {
                db.flush()?;
                witness.promised(self.writer, number);
            }
        }
        for (number, ticket) in tickets {
            ticket.wait()?;
            witness.promised(self.writer, number);
        }
        Ok(())
    }

    /// Runs one transaction until it commits.
    fn transaction(
        &self,
        db: &Database,
        trees: &Trees,
        number: u64,
        manner: Manner,
    ) -> Result<(Timestamp, Option<CommitTicket>), Error> {
        let steps = self.plan.steps(self.writer, number);
        // All that a link reads may be changed by others meanwhile, but for the number of links.
        let serializable = manner.serializable && !steps.contains(&Step::Link);
        let isolation = if serializable { Isolation::Serializable } else { Isolation::Snapshot };
        let options = WriteOptions::new().durability(manner.durability).isolation(isolation);
        let mut tries = 0;
        loop {
            let outcome = self.once(db, trees, number, &steps, (options, manner.ticket));
            let again = |kind| matches!(kind, ErrorKind::Conflict | ErrorKind::OverBudget);
            match outcome {
                Err(error) if again(error.kind()) && tries < TRIES_MAX && !self.stopped_for_good(tries) => {
                    tries += 1;
                    std::thread::yield_now();
                }
                outcome => return outcome,
            }
        }
    }

    fn stopped_for_good(&self, tries: u32) -> bool {
        tries > 1_000 && self.stop.load(Ordering::Relaxed)
    }

    fn once(
        &self,
        db: &Database,
        trees: &Trees,
        number: u64,
        steps: &[Step],
        (options, with_ticket): (WriteOptions, bool),
    ) -> Result<(Timestamp, Option<CommitTicket>), Error> {
        let tx = db.begin_write_with(options)?;
        let mut doing = Doing { work: self, tx: &tx, trees, number, own: None, buffer: Vec::new() };
        if steps.len() > LONG && number.is_multiple_of(2) {
            // Its journal has been streamed to the log by then, and lies before the checkpoint.
            let (first, rest) = steps.split_at(steps.len() / 2);
            doing.steps(first)?;
            db.checkpoint()?;
            doing.steps(rest)?;
        } else {
            doing.steps(steps)?;
        }
        tx.put(&trees.writers, [self.writer], number.to_le_bytes())?;
        if with_ticket {
            let ticket = tx.commit_async()?;
            return Ok((ticket.timestamp(), Some(ticket)));
        }
        Ok((tx.commit()?, None))
    }
}

/// How a transaction is committed.
#[derive(Clone, Copy)]
struct Manner {
    durability: Durability,
    ticket: bool,
    serializable: bool,
}

/// One try of a transaction.
struct Doing<'d> {
    work: &'d Work<'d>,
    tx: &'d WriteTxn,
    trees: &'d Trees,
    number: u64,
    own: Option<Tree>,
    buffer: Vec<u8>,
}

impl Doing<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), Error> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<(), Error> {
        let tx = self.tx;
        let own = |second| own_name(self.work.writer, second);
        match step {
            Step::Put(place, key, filling) => {
                let tree = self.tree(*place)?;
                filling.write(&mut self.buffer);
                tx.put(&tree, key, &self.buffer)
            }
            Step::Delete(place, key) => tx.delete(&self.tree(*place)?, key).map(drop),
            Step::RemoveRange(low, high) => tx.remove_range(&self.trees.runs, &low[..]..&high[..]).map(drop),
            Step::CreateOwn => tx.create_tree(own(false)).map(|tree| self.own = Some(tree)),
            Step::RenameOwn => tx.rename_tree(own(false), own(true)),
            Step::DropOwn(second) => tx.drop_tree(own(*second)),
            Step::CreateScratch => {
                let tree = tx.create_tree(format!("scratch of {}", self.work.writer))?;
                tx.put(&tree, "key", "value")
            }
            Step::Link => self.link(),
            Step::Undone(steps) => {
                let savepoint = tx.savepoint()?;
                self.steps(steps)?;
                tx.rollback_to(savepoint)?;
                tx.release(savepoint)
            }
        }
    }

    fn tree(&mut self, place: Place) -> Result<Tree, Error> {
        Ok(match place {
            Place::Mixed => self.trees.mixed.clone(),
            Place::Runs => self.trees.runs.clone(),
            Place::Large => self.trees.large.clone(),
            Place::Own => match &self.own {
                Some(tree) => tree.clone(),
                None => {
                    let second = own_name(self.work.writer, true);
                    let tree = self.tx.existing_tree(second)?;
                    let tree = tree.map_or_else(|| self.tx.tree(own_name(self.work.writer, false)), Ok)?;
                    self.own.insert(tree).clone()
                }
            },
        })
    }

    /// A link: who forged it, its transaction, and how many transactions of each writer it saw.
    fn link(&self) -> Result<(), Error> {
        let Trees { writers, head, chain, .. } = self.trees;
        let links = number_of(self.tx.get(head, HEAD)?.as_deref()) + 1;
        let mut link = vec![self.work.writer];
        link.extend_from_slice(&self.number.to_le_bytes());
        for writer in 0..self.work.writers {
            let seen = number_of(self.tx.get(writers, [writer])?.as_deref());
            link.extend_from_slice(&seen.to_le_bytes());
        }
        self.tx.put(chain, links.to_be_bytes(), &link)?;
        self.tx.put(head, HEAD, links.to_le_bytes())
    }
}

/// A stored number; zero where there is none.
pub(crate) fn number_of(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}
