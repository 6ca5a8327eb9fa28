//! What one write transaction knows: its draft, its journal, what it read, and how to take back what it did.

use kestrel_btree::{MergedLeaf, Seek};
use kestrel_pager::{Snapshot, TreeId};

use crate::core::Core;
use crate::draft::Draft;
use crate::journal::Journal;
use crate::key_range::KeyRange;
use crate::operation::Operation;
use crate::scan_claim::{Reads, existence_key, identity_key};
use crate::undo::{Compensation, OldValue, Undo};
use crate::{Error, ErrorKind};

/// Values up to this size go to the log whole; larger ones are referred to, in the data file.
const LOGGED_MAX: usize = 64 << 10;

/// See the module's description.
pub(crate) struct State {
    pub(crate) draft: Draft,
    pub(crate) journal: Journal,
    /// What it read, if that counts.
    pub(crate) reads: Option<Reads>,
    pub(crate) undo: Undo,
    /// The error after which it can only be aborted.
    pub(crate) broken: Option<Error>,
    /// Dropped last: after the end of the last snapshot of a closed database, others may open the files.
    pub(crate) snapshot: Snapshot,
}

impl State {
    /// Tells the draft of the puts that wait. Their arguments were checked, so an error is one of the surroundings.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        if !self.journal.is_waiting() {
            return Ok(());
        }
        let told = self.draft.apply_together(self.journal.take_waiting());
        told.inspect_err(|error| self.broken = Some(error.clone()))
    }

    /// The transaction has ended.
    pub(crate) fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    pub(crate) fn note_read(&mut self, tree: TreeId, key: &[u8]) {
        if let Some(reads) = &mut self.reads {
            // Longer keys are never found, and never written. But that the tree is there was seen.
            if key.len() <= usize::from(u16::MAX) {
                reads.keys.add(tree, key);
            } else {
                reads.keys.add(TreeId::CATALOGUE, &existence_key(tree));
            }
        }
    }

    /// Some tree was found not to be there, which is told to the user, who may go on. That it comes to be is a conflict then; it is
    /// rare, so that any other tree does is one as well.
    pub(crate) fn note_absence(&mut self) {
        if let Some(reads) = &mut self.reads {
            reads.keys.add_range(KeyRange::whole(TreeId::CATALOGUE));
        }
    }

    /// The tree of a name; that it was looked for counts as read.
    pub(crate) fn find_tree(&mut self, name: &str) -> Option<TreeId> {
        let found = self.draft.find_tree(name);
        if let Some(reads) = self.reads.as_mut().filter(|_| name.len() <= usize::from(u16::MAX)) {
            reads.keys.add(TreeId::CATALOGUE, name.as_bytes());
            if let Some(id) = found {
                reads.keys.add(TreeId::CATALOGUE, &identity_key(id));
            }
        }
        found
    }

    pub(crate) fn note_undo(&mut self, compensation: Compensation) {
        if self.undo.is_on() {
            self.undo.note(compensation);
        }
    }

    /// Notes how to take back a change of a key.
    pub(crate) fn note_old(&mut self, tree: TreeId, key: &[u8]) -> Result<(), Error> {
        if self.undo.is_on() {
            let value = self.draft.get_old(tree, key)?;
            self.undo.note(Compensation::Key { tree, key: key.to_vec(), value });
            self.undo.check_room()?;
        }
        Ok(())
    }

    /// Notes how to take back the removal of a range.
    pub(crate) fn note_old_range(
        &mut self,
        tree: TreeId,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<(), Error> {
        if !self.undo.is_on() {
            return Ok(());
        }
        let mut from = low.to_vec();
        loop {
            let leaf = self.draft.leaf(tree, Seek::At(&from))?;
            let merged = MergedLeaf::new(&leaf)?;
            let end = high.map_or(merged.len(), |high| merged.lower_bound(&leaf, high));
            for index in merged.lower_bound(&leaf, &from)..end {
                let mut key = Vec::new();
                merged.key_into(index, &leaf, &mut key);
                self.note_old(tree, &key)?;
            }
            match merged.high_fence(&leaf) {
                Some(fence) if high.is_none_or(|high| fence < high) => from = fence.to_vec(),
                _ => return Ok(()),
            }
        }
    }

    pub(crate) fn put(&mut self, core: &Core, tree: TreeId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.draft.check_key(key)?;
        if value.len() > u32::MAX as usize {
            let message = format!("a value of {} bytes: values have at most {}", value.len(), u32::MAX);
            return Err(Error::new(ErrorKind::ValueTooLong, message));
        }
        self.note_old(tree, key)?;
        self.put_unnoted(core, tree, key, value)
    }

    fn put_unnoted(&mut self, core: &Core, tree: TreeId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (_, blob) = self.draft.put(tree, key, value)?;
        let logged_max = LOGGED_MAX.min(core.wal.max_payload() / 4);
        match blob.filter(|_| value.len() > logged_max) {
            Some((blob, location)) => {
                self.journal.refers_to_blobs = true;
                let (len, checksum) = (blob.len, blob.checksum);
                self.journal.add(&Operation::PutBlob { tree, key, location, len, checksum });
            }
            None => self.journal.add(&Operation::Put { tree, key, value }),
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        self.note_old(tree, key)?;
        let existed = self.draft.delete(tree, key)?;
        if existed {
            self.journal.add(&Operation::Delete { tree, key });
        }
        Ok(existed)
    }

    pub(crate) fn compensate(&mut self, core: &Core, compensation: Compensation) -> Result<(), Error> {
        match compensation {
            Compensation::Key { tree, key, value: Some(OldValue::Small(value)) } => {
                self.put_unnoted(core, tree, &key, &value)?;
            }
            Compensation::Key { tree, key, value: Some(OldValue::Large(blob)) } => {
                let value = self.draft.overlay.read_blob(blob)?;
                self.put_unnoted(core, tree, &key, &value)?;
            }
            Compensation::Key { tree, key, value: None } => {
                if self.draft.delete(tree, &key)? {
                    self.journal.add(&Operation::Delete { tree, key: &key });
                }
            }
            Compensation::Drop(tree) => {
                self.draft.drop_tree(tree)?;
                self.journal.add(&Operation::DropTree { tree });
            }
            Compensation::Restore { tree, name } => {
                self.draft.restore_tree(tree);
                self.journal.add(&Operation::RestoreTree { tree, name: &name });
            }
            Compensation::Rename { tree, name } => {
                self.draft.rename_tree(tree, &name)?;
                self.journal.add(&Operation::RenameTree { tree, name: &name });
            }
        }
        Ok(())
    }

    pub(crate) fn stream_if_full(&mut self, core: &Core) -> Result<(), Error> {
        if !self.journal.is_full() {
            return Ok(());
        }
        {
            // Together, so that a checkpoint that looks in between does not let the log forget the fragment.
            let mut fragments = core.fragments.lock();
            let start = self.journal.stream(&core.wal)?;
            if self.journal.first_fragment() == Some(start) {
                fragments.insert(start, 1);
            }
        }
        core.bound_log_buffer()
    }
}
