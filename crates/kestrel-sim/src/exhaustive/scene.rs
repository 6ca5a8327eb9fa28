//! A database on which a workload runs, and what may be in it at each moment.

use std::sync::Arc;

use kestrel_io::Storage;
use kestreldb::{Builder, Database, Durability, Error, ErrorKind, WriteOptions};
use parking_lot::Mutex;

use super::workload::{Op, Step, TREES, Wait, apply};
use crate::model::Contents;

/// The options of all modes: the smallest log segments, and memory for few pages.
pub(super) fn builder() -> Builder {
    Database::builder()
        .memory_budget(1 << 20)
        .log_segment_size(64 << 10)
        .checkpoint_log_bytes(96 << 10)
        .background(false)
}

/// The states that the database had, in commit order.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The last is that of the commit that is going on, if there is one.
    pub(super) states: Vec<Contents>,
    /// The newest that somebody was told is durable.
    pub(super) durable: usize,
    /// Of a commit that failed: it may be there after opening again, and at no other time.
    pub(super) uncertain: Option<Contents>,
}

impl Record {
    pub(super) fn new() -> Record {
        Record { states: vec![Contents::new()], durable: 0, uncertain: None }
    }

    pub(super) fn newest(&self) -> &Contents {
        &self.states[self.states.len() - 1]
    }

    fn all_durable(&mut self) {
        self.durable = self.states.len() - 1;
    }

    /// The states that a crash may leave.
    pub(super) fn possible(&self) -> impl Iterator<Item = &Contents> {
        self.uncertain.iter().chain(self.states[self.durable..].iter().rev())
    }

    /// After an opening found this, which was possible.
    pub(super) fn reopened(&mut self, found: Contents) {
        *self = Record { states: vec![found], durable: 0, uncertain: None };
    }
}

/// Runs steps, and keeps the record right at every moment, so that others can look at it in the middle of a call.
pub(super) struct Scene {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) record: Arc<Mutex<Record>>,
    pub(super) db: Option<Database>,
}

impl Scene {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Scene {
        Scene { storage, record: Arc::new(Mutex::new(Record::new())), db: None }
    }

    pub(super) fn database(&mut self) -> Result<Database, Error> {
        if self.db.is_none() {
            self.db = Some(builder().open_with_storage(Arc::clone(&self.storage))?);
        }
        self.db.clone().ok_or_else(|| unreachable!("it was just opened"))
    }

    pub(super) fn run(&mut self, steps: &[Step]) -> Result<(), Error> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// After an error the record says what may be there.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), Error> {
        let db = self.database()?;
        match step {
            Step::Commit(ops, wait) => return self.commit(&db, ops, *wait),
            Step::Checkpoint => db.checkpoint()?,
            Step::Flush => db.flush()?,
            Step::Maintain => {
                while db.maintain()? {}
                return Ok(());
            }
            Step::Reopen => {
                self.db = None;
                db.close()?;
            }
        }
        self.record.lock().all_durable();
        Ok(())
    }

    fn commit(&self, db: &Database, ops: &[Op], wait: Wait) -> Result<(), Error> {
        let durability = if wait == Wait::Nothing { Durability::Eventual } else { Durability::Immediate };
        let tx = db.begin_write_with(WriteOptions::new().durability(durability))?;
        for op in ops {
            run_op(&tx, op)?;
        }
        let next = apply(self.record.lock().newest(), ops);
        self.record.lock().states.push(next);
        let committed = match wait {
            Wait::Ticket => tx.commit_async().map(drop),
            Wait::Disk | Wait::Nothing => tx.commit().map(drop),
        };
        let mut record = self.record.lock();
        match committed {
            Ok(()) => {
                record.uncertain = None;
                // A commit of nothing promises nothing of those before it.
                let [.., before, after] = &record.states[..] else { return Ok(()) };
                if wait == Wait::Disk && before != after {
                    record.all_durable();
                }
                Ok(())
            }
            Err(error) => {
                let failed = record.states.pop();
                // Nothing is begun any more by a database that cannot write.
                if error.kind() != ErrorKind::ReadOnly {
                    record.uncertain = failed;
                }
                Err(error)
            }
        }
    }
}

fn run_op(tx: &kestreldb::WriteTxn, op: &Op) -> Result<(), Error> {
    let tree = |tree: &usize| tx.existing_tree(TREES[*tree]);
    match op {
        Op::Put(at, key, value) => match tree(at)? {
            Some(tree) => tx.put(&tree, key, value),
            None => Ok(()),
        },
        Op::Delete(at, key) => match tree(at)? {
            Some(tree) => tx.delete(&tree, key).map(drop),
            None => Ok(()),
        },
        Op::RemoveRange(at, low, high) => match tree(at)? {
            Some(tree) => tx.remove_range(&tree, low.clone()..high.clone()).map(drop),
            None => Ok(()),
        },
        Op::Create(at) => tx.tree(TREES[*at]).map(drop),
        Op::Drop(at) => match tree(at)? {
            Some(_) => tx.drop_tree(TREES[*at]),
            None => Ok(()),
        },
        Op::Rename(from, to) => match (tree(from)?, tree(to)?) {
            (Some(_), None) => tx.rename_tree(TREES[*from], TREES[*to]),
            _ => Ok(()),
        },
    }
}
