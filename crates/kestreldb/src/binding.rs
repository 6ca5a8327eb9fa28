//! What a tree's handle is bound to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kestrel_txn::{ReadTxn, Timestamp, TreeId, TreeRef};
use parking_lot::Mutex;

/// `since` of a tree whose creation is not committed yet.
const UNCOMMITTED: u64 = u64::MAX;
/// `since` of a tree whose creation never will be.
const ABORTED: u64 = 0;

/// A tree's id, and since when it is there. An id means the same tree for ever, so a snapshot that does not know it is either
/// older than the tree, or newer than its end; `since` tells which.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) id: TreeId,
    /// When the handle was made.
    pub(crate) name: Box<str>,
    since: AtomicU64,
    /// The tree itself, once it was read through this handle: from then on reading takes no lock.
    tree: OnceLock<TreeRef>,
}

impl Binding {
    /// A tree that was there at `since`.
    pub(crate) fn committed(id: TreeId, name: &str, since: Timestamp) -> Arc<Binding> {
        Arc::new(Binding { id, name: name.into(), since: AtomicU64::new(since.0), tree: OnceLock::new() })
    }

    /// The tree, if it was looked up before.
    #[inline]
    pub(crate) fn known(&self) -> Option<&TreeRef> {
        self.tree.get()
    }

    /// The tree, looked up in a snapshot if it was not before.
    #[inline]
    pub(crate) fn find(&self, txn: &ReadTxn) -> std::result::Result<&TreeRef, kestrel_txn::Error> {
        match self.tree.get() {
            Some(tree) => Ok(tree),
            None => {
                let tree = txn.tree_ref(self.id)?;
                Ok(self.tree.get_or_init(|| tree))
            }
        }
    }

    /// Whether a snapshot at `at` that does not know the tree is too old for it.
    pub(crate) fn is_newer_than(&self, at: Timestamp) -> bool {
        self.since.load(Ordering::Acquire) > at.0
    }
}

/// The trees that a write transaction created. Dropped without [`commit`](Created::commit), they never were.
#[derive(Debug, Default)]
pub(crate) struct Created {
    bindings: Mutex<Vec<Arc<Binding>>>,
}

impl Created {
    /// Binds a tree of an uncommitted transaction.
    pub(crate) fn bind(&self, id: TreeId, name: &str) -> Arc<Binding> {
        let binding = Binding::committed(id, name, Timestamp(UNCOMMITTED));
        self.bindings.lock().push(Arc::clone(&binding));
        binding
    }

    /// The binding of a tree that this transaction created.
    pub(crate) fn find(&self, id: TreeId) -> Option<Arc<Binding>> {
        self.bindings.lock().iter().find(|binding| binding.id == id).cloned()
    }

    pub(crate) fn commit(&mut self, at: Timestamp) {
        self.settle(at.0);
    }

    fn settle(&mut self, since: u64) {
        for binding in self.bindings.get_mut().drain(..) {
            binding.since.store(since, Ordering::Release);
        }
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        self.settle(ABORTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_tree_is_newer_than_everything_until_its_transaction_ends() {
        let mut created = Created::default();
        let binding = created.bind(TreeId(7), "seven");
        assert!(created.find(TreeId(7)).is_some() && created.find(TreeId(8)).is_none());
        assert!(binding.is_newer_than(Timestamp(1 << 60)));
        created.commit(Timestamp(5));
        drop(created);
        assert!(binding.is_newer_than(Timestamp(4)) && !binding.is_newer_than(Timestamp(5)));

        let created = Created::default();
        let binding = created.bind(TreeId(8), "eight");
        drop(created);
        assert!(!binding.is_newer_than(Timestamp(0)));
    }
}
