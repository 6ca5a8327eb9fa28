//! A transaction's journal: its operations as bytes, in memory up to a bound and beyond that streamed to the log; and
//! which keys they wrote.

use kestrel_pager::{Timestamp, TreeId};
use kestrel_wal::{Appended, Lsn, Wal};

use crate::key_range::{KeyRange, KeySet, successor};
use crate::operation::{Operation, operations};
use crate::record::{COMMIT, FRAGMENT, RecordHeader};
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

    /// Whether it is time to stream.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() > self.limit
    }

    pub(crate) fn first_fragment(&self) -> Option<Lsn> {
        self.first_fragment
    }

    /// Moves the operations to the log. Returns where the fragment begins. An error means that nothing changed.
    pub(crate) fn stream(&mut self, wal: &Wal) -> Result<Lsn, Error> {
        let header = RecordHeader { timestamp: Timestamp(0), previous: self.last_fragment }.encode();
        let Appended { start, .. } = wal.append(FRAGMENT, &[&header, &self.buffer])?;
        self.first_fragment.get_or_insert(start);
        self.last_fragment = Some(start);
        for operation in operations(&self.buffer).flatten() {
            written(&operation, &mut |written| match written {
                Written::Key(tree, key) => self.streamed.add(tree, key),
                Written::Range(range) => self.streamed.add_range(range),
            });
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

    /// The keys that were written one by one, as far as they are known that exactly. Names are keys of the catalogue.
    pub(crate) fn written_keys(&self) -> Vec<(TreeId, &[u8])> {
        let mut keys: Vec<(TreeId, &[u8])> = self.streamed.points().collect();
        for operation in operations(&self.buffer).flatten() {
            if let Some(key) = written_key(&operation) {
                keys.push(key);
            }
        }
        keys
    }

    /// The ranges that were written.
    pub(crate) fn written_ranges(&self) -> Vec<KeyRange> {
        let mut ranges = self.streamed.ranges().to_vec();
        for operation in operations(&self.buffer).flatten() {
            ranges.extend(written_ranges(&operation));
        }
        ranges
    }
}

enum Written<'a> {
    Key(TreeId, &'a [u8]),
    Range(KeyRange),
}

fn written(operation: &Operation<'_>, each: &mut impl FnMut(Written<'_>)) {
    if let Some((tree, key)) = written_key(operation) {
        each(Written::Key(tree, key));
    }
    for range in written_ranges(operation) {
        each(Written::Range(range));
    }
}

fn written_key<'a>(operation: &Operation<'a>) -> Option<(TreeId, &'a [u8])> {
    match *operation {
        Operation::Put { tree, key, .. }
        | Operation::PutBlob { tree, key, .. }
        | Operation::Delete { tree, key } => Some((tree, key)),
        Operation::CreateTree { name, .. }
        | Operation::RenameTree { name, .. }
        | Operation::RestoreTree { name, .. } => Some((TreeId::CATALOGUE, name.as_bytes())),
        Operation::DeleteRange { .. } | Operation::DropTree { .. } => None,
    }
}

fn written_ranges(operation: &Operation<'_>) -> Vec<KeyRange> {
    match *operation {
        Operation::DeleteRange { tree, low, high } => {
            vec![KeyRange { tree, low: low.to_vec(), high: high.map(<[u8]>::to_vec) }]
        }
        // Whoever writes to a tree that is dropped conflicts.
        Operation::DropTree { tree } => vec![KeyRange::whole(tree), identity(tree)],
        Operation::CreateTree { tree, .. }
        | Operation::RenameTree { tree, .. }
        | Operation::RestoreTree { tree, .. } => vec![identity(tree)],
        Operation::Put { .. } | Operation::PutBlob { .. } | Operation::Delete { .. } => Vec::new(),
    }
}

/// The key of the catalogue by which transactions that change a tree's name or existence meet. No name begins so.
pub(crate) fn identity_key(tree: TreeId) -> [u8; 5] {
    let [a, b, c, d] = tree.0.to_le_bytes();
    [0, a, b, c, d]
}

fn identity(tree: TreeId) -> KeyRange {
    let key = identity_key(tree);
    KeyRange { tree: TreeId::CATALOGUE, low: key.to_vec(), high: Some(successor(&key)) }
}
