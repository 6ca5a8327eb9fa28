//! A transaction's journal: its operations as bytes, in memory up to a bound and beyond that streamed to the log; and
//! which keys they wrote.

use kestrel_pager::{Timestamp, TreeId};
use kestrel_wal::{Appended, Lsn, Wal};

use crate::key_range::KeyRange;
use crate::key_set::KeySet;
use crate::operation::{Operation, operations};
use crate::record::{COMMIT, FRAGMENT, RecordHeader};
use crate::scan_claim::{existence_key, identity_key};
use crate::{Error, record};

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Operations that were not streamed.
    buffer: Vec<u8>,
    limit: usize,
    /// The first and the last record that operations were streamed to.
    first_fragment: Option<Lsn>,
    last_fragment: Option<Lsn>,
    /// What streamed operations wrote.
    streamed: KeySet,
    operations: u64,
    /// Where in `buffer` the operations begin that the draft does not know yet, and how many they are.
    waiting_from: usize,
    waiting: usize,
    /// Some operation refers to a large value in the data file, which has to be durable before the commit.
    pub(crate) refers_to_blobs: bool,
}

impl Journal {
    pub(crate) fn new(limit: usize) -> Journal {
        Journal {
            buffer: Vec::new(),
            limit,
            first_fragment: None,
            last_fragment: None,
            streamed: KeySet::new(limit),
            operations: 0,
            waiting_from: 0,
            waiting: 0,
            refers_to_blobs: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.operations == 0
    }

    pub(crate) fn add(&mut self, operation: &Operation<'_>) {
        operation.encode(&mut self.buffer);
        self.operations += 1;
    }

    /// Adds an operation that the draft is to be told of later. Returns how many wait.
    pub(crate) fn add_waiting(&mut self, operation: &Operation<'_>) -> usize {
        if self.waiting == 0 {
            self.waiting_from = self.buffer.len();
        }
        self.add(operation);
        self.waiting += 1;
        self.waiting
    }

    /// The operations that the draft does not know, which counts as told.
    pub(crate) fn take_waiting(&mut self) -> impl Iterator<Item = Result<Operation<'_>, Error>> {
        self.waiting = 0;
        operations(&self.buffer[self.waiting_from..])
    }

    /// Whether there are operations that the draft does not know.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whether it is time to stream.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() > self.limit
    }

    pub(crate) fn first_fragment(&self) -> Option<Lsn> {
        self.first_fragment
    }

    /// Moves the operations to the log. Returns where the fragment begins. An error means that nothing changed.
    pub(crate) fn stream(&mut self, wal: &Wal) -> Result<Lsn, Error> {
        debug_assert!(!self.is_waiting(), "what was streamed is not read again for the draft");
        let header = RecordHeader { timestamp: Timestamp(0), previous: self.last_fragment }.encode();
        let Appended { start, .. } = wal.append(FRAGMENT, &[&header, &self.buffer])?;
        self.first_fragment.get_or_insert(start);
        self.last_fragment = Some(start);
        for operation in operations(&self.buffer).flatten() {
            add_written(&operation, &mut self.streamed);
        }
        self.buffer.clear();
        Ok(start)
    }

    /// Appends the commit record. An error means that nothing changed.
    pub(crate) fn commit(&self, wal: &Wal, timestamp: Timestamp) -> Result<Appended, Error> {
        let header = RecordHeader { timestamp, previous: self.last_fragment }.encode();
        Ok(wal.append(COMMIT, &[&header, &self.buffer])?)
    }

    /// Calls `each` with every operation, in order, those that were streamed included.
    pub(crate) fn replay(
        &self,
        wal: &Wal,
        mut each: impl FnMut(&Operation<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let read = |lsn| Ok(wal.read(lsn)?.payload);
        for lsn in record::fragments(self.last_fragment, read)? {
            let payload = read(lsn)?;
            let (_, bytes) = RecordHeader::decode(&payload)?;
            for operation in operations(bytes) {
                each(&operation?)?;
            }
        }
        for operation in operations(&self.buffer) {
            each(&operation?)?;
        }
        Ok(())
    }

    /// The keys and ranges that were written. Names are keys of the catalogue.
    pub(crate) fn written(&self) -> KeySet {
        // Not more is added than the journal's bound allows; what was streamed is bounded itself.
        let mut written = self.streamed.clone().unbounded();
        for operation in operations(&self.buffer).flatten() {
            add_written(&operation, &mut written);
        }
        written
    }
}

fn add_written(operation: &Operation<'_>, set: &mut KeySet) {
    match *operation {
        Operation::Put { tree, key, .. }
        | Operation::PutBlob { tree, key, .. }
        | Operation::Delete { tree, key } => set.add(tree, key),
        Operation::DeleteRange { tree, low, high } => set.add_range(KeyRange::new(tree, low, high)),
        // Whoever used the tree conflicts.
        Operation::DropTree { tree } => {
            set.add_range(KeyRange::whole(tree));
            set.add(TreeId::CATALOGUE, &identity_key(tree));
            set.add(TreeId::CATALOGUE, &existence_key(tree));
        }
        Operation::CreateTree { tree, name }
        | Operation::RenameTree { tree, name }
        | Operation::RestoreTree { tree, name } => {
            set.add(TreeId::CATALOGUE, name.as_bytes());
            set.add(TreeId::CATALOGUE, &identity_key(tree));
        }
    }
}
