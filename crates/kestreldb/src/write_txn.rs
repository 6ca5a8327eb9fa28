//! Write transactions.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use kestrel_txn::{Durability, Timestamp, TreeInfo};

use crate::background::Flush;
use crate::binding::{Binding, Created};
use crate::shared::Shared;
use crate::{
    CasMismatch, CommitTicket, Error, ErrorKind, IntoKeyRange, Key, KeyRange, Range, Result, Tree, Value,
};

/// A write transaction: it sees one state of the database and its own writes, and all of them become visible and
/// durable at once with [`commit`](WriteTxn::commit). Dropped, it never was.
///
/// Any number of them run at once, also on the same trees, and none waits for another. Whoever commits second what cannot be
/// put in order gets a [conflict](Error::is_conflict) and runs again, which [`Database::write`](crate::Database::write)
/// does by itself. Transactions can be shared among threads and kept across await points.
///
/// A tree that was created by a transaction that is not in this one's state cannot be used in it: that is a conflict.
///
/// # What it relies on
/// A [serializable](kestrel_txn::Isolation::Serializable) transaction relies on what it has *seen*: the keys it asked for, there or not;
/// of a range what the iterator returned so far, and the gaps before each entry, to the end of the range only once it said that there
/// is nothing more; of [`len`](WriteTxn::len) the whole tree; of names the trees they led to. It also relies on what it writes,
/// which is all that counts under [snapshot isolation](kestrel_txn::Isolation::Snapshot). If a commit since it began changed any of
/// that, its own commit is a conflict, whose [message](Error) and [details](Error::conflict) name the tree and the key.
///
/// # Large transactions
/// Keys are remembered one by one up to a share of the memory budget: a 64th, or a megabyte, whatever is less. A transaction that
/// reads or writes more is remembered by a few ranges, which hold its keys and as little else as the memory
/// allows: for those who work in other trees or in other parts of the tree nothing changes, but who writes *between* its keys may
/// be told of a conflict that is none, and so may it. The same holds for what many small transactions
/// commit while a long one runs: the long one meets the older of them as ranges. Nothing is ever missed, so
/// the price is that it has to run again. To spare it that, give large transactions keys of their own, or a quiet time, or
/// [snapshot isolation](crate::WriteOptions::isolation), under which what they read does not count.
pub struct WriteTxn {
    // Before `shared`: the transaction ends before the database is closed.
    txn: kestrel_txn::WriteTxn,
    created: Created,
    durability: Durability,
    /// Whether a call returned a conflict, so that the transaction had better be run again.
    conflict: AtomicBool,
    /// Set with the first savepoint.
    pub(crate) owner: OnceLock<u64>,
    shared: Arc<Shared>,
}

impl WriteTxn {
    pub(crate) fn new(txn: kestrel_txn::WriteTxn, shared: Arc<Shared>, durability: Durability) -> WriteTxn {
        WriteTxn {
            txn,
            created: Created::default(),
            durability,
            conflict: AtomicBool::new(false),
            owner: OnceLock::new(),
            shared,
        }
    }

    pub(crate) fn txn(&self) -> &kestrel_txn::WriteTxn {
        &self.txn
    }

    pub(crate) fn met_conflict(&self) -> bool {
        self.conflict.load(Ordering::Relaxed)
    }

    /// Passes on what the engine said about a tree. A tree newer than this transaction's state is a conflict: its creator came
    /// between.
    pub(crate) fn judge<T>(&self, tree: &Tree, said: Result<T, kestrel_txn::Error>) -> Result<T> {
        said.map_err(|error| {
            let mut error = Error::from(error);
            if error.kind() == ErrorKind::TreeNotFound && tree.is_newer_than(self.txn.timestamp()) {
                let name = tree.name();
                let message =
                    format!("the tree {name:?} is newer than this transaction; run the transaction again");
                error = Error::new(ErrorKind::Conflict, message);
            }
            if error.is_conflict() {
                self.conflict.store(true, Ordering::Relaxed);
            }
            error
        })
    }

    /// The tree of this name, created if it does not exist.
    pub fn tree(&self, name: impl AsRef<str>) -> Result<Tree> {
        let name = name.as_ref();
        match self.existing_tree(name)? {
            Some(tree) => Ok(tree),
            None => self.create_tree(name),
        }
    }

    /// The tree of this name, if it exists.
    pub fn existing_tree(&self, name: impl AsRef<str>) -> Result<Option<Tree>> {
        let name = name.as_ref();
        let Some(id) = self.txn.tree(name)? else { return Ok(None) };
        let binding = match self.created.find(id) {
            Some(binding) => binding,
            None => Binding::committed(id, name, self.txn.timestamp()),
        };
        Ok(Some(Tree::new(Arc::clone(&self.shared), binding)))
    }

    /// Creates a tree; an error if one of this name exists. Others can use it once this transaction has committed.
    pub fn create_tree(&self, name: impl AsRef<str>) -> Result<Tree> {
        let name = name.as_ref();
        let id = self.txn.create_tree(name)?;
        Ok(Tree::new(Arc::clone(&self.shared), self.created.bind(id, name)))
    }

    /// Drops a tree and all that is in it.
    pub fn drop_tree(&self, name: impl AsRef<str>) -> Result<()> {
        Ok(self.txn.drop_tree(name.as_ref())?)
    }

    /// Gives a tree another name, which must be free. Handles of the tree go on working.
    pub fn rename_tree(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        Ok(self.txn.rename_tree(from.as_ref(), to.as_ref())?)
    }

    /// All trees, sorted by name.
    pub fn trees(&self) -> Result<Vec<TreeInfo>> {
        Ok(self.txn.trees()?)
    }

    /// The value of a key.
    pub fn get(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        tree.check(&self.shared)?;
        Ok(self.judge(tree, self.txn.get(tree.id(), key.as_ref()))?.map(Value::new))
    }

    /// Whether a key is there.
    pub fn contains(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<bool> {
        tree.check(&self.shared)?;
        self.judge(tree, self.txn.contains(tree.id(), key.as_ref()))
    }

    /// The entry with the smallest key.
    pub fn first(&self, tree: &Tree) -> Result<Option<(Key, Value)>> {
        self.range(tree, ..)?.next().transpose()
    }

    /// The entry with the greatest key.
    pub fn last(&self, tree: &Tree) -> Result<Option<(Key, Value)>> {
        self.range(tree, ..)?.next_back().transpose()
    }

    /// The entries of a range, in the order of their keys, from both ends. Writes to the range show as the iterator
    /// comes by.
    pub fn range(&self, tree: &Tree, range: impl IntoKeyRange) -> Result<Range> {
        tree.check(&self.shared)?;
        let range = range.into_key_range();
        if range.is_empty() {
            return Ok(Range::empty());
        }
        let cursor = self.txn.range(tree.id(), range.low(), range.high());
        Ok(Range::new(self.judge(tree, cursor)?))
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix(&self, tree: &Tree, prefix: impl AsRef<[u8]>) -> Result<Range> {
        self.range(tree, KeyRange::prefix(prefix))
    }

    /// How many entries there are: exact, and not counted for the purpose.
    pub fn len(&self, tree: &Tree) -> Result<u64> {
        tree.check(&self.shared)?;
        self.judge(tree, self.txn.len(tree.id()))
    }

    /// Whether there are none.
    pub fn is_empty(&self, tree: &Tree) -> Result<bool> {
        Ok(self.len(tree)? == 0)
    }

    /// Writes a value, without looking at the old one: the cheapest write.
    pub fn put(&self, tree: &Tree, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        tree.check(&self.shared)?;
        self.judge(tree, self.txn.put(tree.id(), key.as_ref(), value.as_ref()))
    }

    /// Writes a value; returns the old one.
    pub fn insert(
        &self,
        tree: &Tree,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Option<Value>> {
        tree.check(&self.shared)?;
        let old = self.txn.insert(tree.id(), key.as_ref(), value.as_ref());
        Ok(self.judge(tree, old)?.map(Value::new))
    }

    /// Removes a key; returns its value.
    pub fn remove(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        tree.check(&self.shared)?;
        Ok(self.judge(tree, self.txn.remove(tree.id(), key.as_ref()))?.map(Value::new))
    }

    /// Removes a key; whether it was there. Cheaper than [`remove`](WriteTxn::remove) where values are large.
    pub fn delete(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<bool> {
        tree.check(&self.shared)?;
        self.judge(tree, self.txn.delete(tree.id(), key.as_ref()))
    }

    /// Writes `new` (`None`: removes the key) if the key has the value `expected` (`None`: is not there). Otherwise
    /// nothing happens, and the mismatch says what is there.
    pub fn compare_and_swap(
        &self,
        tree: &Tree,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<Result<(), CasMismatch>> {
        let key = key.as_ref();
        let current = self.get(tree, key)?;
        if current.as_deref() != expected {
            return Ok(Err(CasMismatch { current }));
        }
        self.replace(tree, key, current.is_some(), new)?;
        Ok(Ok(()))
    }

    /// Writes what `change` makes of the value (`None`: the key is not there, or is to be removed). Returns the old value.
    pub fn update(
        &self,
        tree: &Tree,
        key: impl AsRef<[u8]>,
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Value>> {
        let key = key.as_ref();
        let old = self.get(tree, key)?;
        self.replace(tree, key, old.is_some(), change(old.as_deref()).as_deref())?;
        Ok(old)
    }

    fn replace(&self, tree: &Tree, key: &[u8], exists: bool, new: Option<&[u8]>) -> Result<()> {
        match new {
            Some(new) => self.put(tree, key, new),
            None if exists => self.delete(tree, key).map(drop),
            None => Ok(()),
        }
    }

    /// Removes the entry with the smallest key, and returns it.
    pub fn pop_first(&self, tree: &Tree) -> Result<Option<(Key, Value)>> {
        let first = self.first(tree)?;
        if let Some((key, _)) = &first {
            self.delete(tree, key)?;
        }
        Ok(first)
    }

    /// Removes the entry with the greatest key, and returns it.
    pub fn pop_last(&self, tree: &Tree) -> Result<Option<(Key, Value)>> {
        let last = self.last(tree)?;
        if let Some((key, _)) = &last {
            self.delete(tree, key)?;
        }
        Ok(last)
    }

    /// Removes all entries of a range without looking at each; returns how many.
    pub fn remove_range(&self, tree: &Tree, range: impl IntoKeyRange) -> Result<u64> {
        tree.check(&self.shared)?;
        let range = range.into_key_range();
        if range.is_empty() {
            return Ok(0);
        }
        self.judge(tree, self.txn.remove_range(tree.id(), range.low(), range.high()))
    }

    /// Removes all entries; returns how many.
    pub fn clear(&self, tree: &Tree) -> Result<u64> {
        self.remove_range(tree, ..)
    }

    /// The commit that this transaction's state begins with.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.txn.timestamp()
    }

    /// Makes everything that was written visible to others, at once, and as durable as was asked for. Returns its place in
    /// the order of commits. After an error, nothing of it is visible.
    ///
    /// [`ErrorKind::Conflict`] means that another transaction came between: run it again.
    pub fn commit(self) -> Result<Timestamp> {
        self.shared.turn.respect();
        let WriteTxn { txn, mut created, durability, shared, .. } = self;
        let timestamp = txn.commit(durability)?;
        created.commit(timestamp);
        shared.background.committed(match durability {
            Durability::Immediate => Flush::Done,
            Durability::Eventual => Flush::Soon,
        });
        Ok(timestamp)
    }

    /// Commits without waiting for the disk. When the call returns, the commit has its place: later write transactions build
    /// on it. The ticket resolves once the commit and all before it are durable, and only then do readers see it.
    /// The transaction's [durability](crate::WriteOptions::durability) does not matter.
    ///
    /// Conflicts, and everything else that keeps the transaction from being committed, are errors of the call, and nothing
    /// of it is left then. The call waits for the disk only if a value of more than 64 KiB was written, or if very much is on
    /// its way to the disk already (4 MiB of log, or less with a small [budget](crate::Builder::memory_budget)). As any commit, it
    /// waits for a transaction that [has its turn](crate::Database::write), 5 seconds at the longest.
    ///
    /// ```
    /// use kestreldb::{Database, Error};
    ///
    /// # async fn example() -> Result<(), Error> {
    /// let db = Database::in_memory()?;
    /// let stock = db.tree("stock")?;
    /// let tx = db.begin_write()?;
    /// tx.put(&stock, "apple", "3")?;
    /// let ticket = tx.commit_async()?;
    /// // Time to do something else.
    /// ticket.await?;
    /// assert_eq!(stock.get("apple")?.unwrap(), "3");
    /// # Ok(())
    /// # }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(example()).unwrap();
    /// ```
    pub fn commit_async(self) -> Result<CommitTicket> {
        self.shared.turn.respect();
        let WriteTxn { txn, mut created, shared, .. } = self;
        let ticket = txn.commit_async()?;
        created.commit(ticket.timestamp());
        shared.background.committed(Flush::Now);
        Ok(CommitTicket::new(ticket))
    }

    /// As [`commit`](WriteTxn::commit); `published` is called when the commit has its place, and before the wait for the disk.
    pub(crate) fn commit_in_two(self, published: impl FnOnce()) -> Result<Timestamp> {
        if self.durability == Durability::Eventual {
            return self.commit();
        }
        let WriteTxn { txn, mut created, shared, .. } = self;
        let ticket = txn.commit_async()?;
        created.commit(ticket.timestamp());
        published();
        ticket.wait()?;
        shared.background.committed(Flush::Done);
        Ok(ticket.timestamp())
    }

    /// Forgets everything that was written. Dropping the transaction does the same.
    pub fn abort(self) {
        self.txn.abort();
    }
}

impl fmt::Debug for WriteTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTxn")
            .field("timestamp", &self.timestamp())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
