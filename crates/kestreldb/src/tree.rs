//! The handle of a tree, and calls that are a transaction each.

use std::fmt;
use std::sync::Arc;

use kestrel_txn::{Isolation, Timestamp, TreeId};

use crate::binding::Binding;
use crate::read_txn::{contains_in, get_in, or_empty, range_of};
use crate::shared::Shared;
use crate::{CasMismatch, Error, ErrorKind, IntoKeyRange, Key, KeyRange, Range, Result, Value, WriteTxn};

/// A tree: an ordered map from keys to values, both bytes, under a name.
///
/// The handle is cheap to clone and can be kept and used from any thread. Transactions take it to say which tree is
/// meant. Its own calls are transactions of their own: reads see the newest state, writes commit as durably as
/// the database's default says, and run again by themselves after a conflict.
///
/// Renaming the tree does not trouble its handles. When it was dropped, they give
/// [`TreeNotFound`](ErrorKind::TreeNotFound), also if a new tree has the name.
///
/// ```
/// use kestreldb::{Database, Error};
///
/// # fn main() -> Result<(), Error> {
/// let db = Database::in_memory()?;
/// let users = db.tree("users")?;
/// users.put("user:1", "Ada")?;
/// users.put("user:2", "Grace")?;
/// assert_eq!(users.get("user:1")?.unwrap(), "Ada");
///
/// for entry in users.prefix("user:")?.rev() {
///     let (key, value) = entry?;
///     println!("{key:?}: {value:?}");
/// }
/// assert_eq!(users.range("user:2"..)?.count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tree {
    shared: Arc<Shared>,
    binding: Arc<Binding>,
}

impl Tree {
    pub(crate) fn new(shared: Arc<Shared>, binding: Arc<Binding>) -> Tree {
        Tree { shared, binding }
    }

    #[inline]
    pub(crate) fn id(&self) -> TreeId {
        self.binding.id
    }

    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ids mean something in their own database only.
    #[inline]
    pub(crate) fn check(&self, shared: &Shared) -> Result<()> {
        if std::ptr::eq(&*self.shared, shared) { Ok(()) } else { Err(self.foreign()) }
    }

    #[cold]
    fn foreign(&self) -> Error {
        let message = format!("the tree {:?} belongs to another database than the transaction", self.name());
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn is_newer_than(&self, at: Timestamp) -> bool {
        self.binding.is_newer_than(at)
    }

    /// The name that the tree had when this handle was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.binding.name
    }

    /// A change of one key. Snapshot isolation is as strong as any there: what is read is written as well, or nothing is.
    fn write_key<T>(&self, body: impl FnMut(&WriteTxn) -> Result<T>) -> Result<T> {
        self.shared.write(self.shared.defaults.isolation(Isolation::Snapshot), body)
    }

    /// A change that depends on more than one key.
    fn write_range<T>(&self, body: impl FnMut(&WriteTxn) -> Result<T>) -> Result<T> {
        self.shared.write(self.shared.defaults.isolation(Isolation::Serializable), body)
    }

    /// The value of a key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let value = match self.binding.known() {
            Some(tree) => self.shared.engine.get(tree, key.as_ref())?,
            None => get_in(self, &self.shared.engine.begin_read()?, key.as_ref())?,
        };
        Ok(value.map(Value::new))
    }

    /// Whether a key is there.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        match self.binding.known() {
            Some(tree) => Ok(self.shared.engine.contains(tree, key.as_ref())?),
            None => contains_in(self, &self.shared.engine.begin_read()?, key.as_ref()),
        }
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Result<Option<(Key, Value)>> {
        self.range(..)?.next().transpose()
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Result<Option<(Key, Value)>> {
        self.range(..)?.next_back().transpose()
    }

    /// The entries of a range, in the order of their keys, from both ends, as they are now.
    pub fn range(&self, range: impl IntoKeyRange) -> Result<Range> {
        range_of(self, &self.shared.engine.begin_read()?, &range.into_key_range())
    }

    /// The entries whose keys begin with `prefix`, as they are now.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Range> {
        self.range(KeyRange::prefix(prefix))
    }

    /// How many entries there are: exact, and not counted for the purpose.
    pub fn len(&self) -> Result<u64> {
        let txn = self.shared.engine.begin_read()?;
        or_empty(self, &txn, txn.len(self.id()), || 0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes a value, without looking at the old one: the cheapest write.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.write_key(|tx| tx.put(self, key, value))
    }

    /// Writes a value; returns the old one.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.write_key(|tx| tx.insert(self, key, value))
    }

    /// Removes a key; returns its value.
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = key.as_ref();
        self.write_key(|tx| tx.remove(self, key))
    }

    /// Removes a key; whether it was there. Cheaper than [`remove`](Tree::remove) where values are large.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref();
        self.write_key(|tx| tx.delete(self, key))
    }

    /// Writes `new` (`None`: removes the key) if the key has the value `expected` (`None`: is not there). Otherwise
    /// nothing happens, and the mismatch says what is there.
    ///
    /// ```
    /// # use kestreldb::{Database, Error};
    /// # fn main() -> Result<(), Error> {
    /// # let db = Database::in_memory()?;
    /// let leases = db.tree("leases")?;
    /// leases.compare_and_swap("printer", None, Some(b"me"))?.expect("it was free");
    /// let refused = leases.compare_and_swap("printer", None, Some(b"you"))?.unwrap_err();
    /// assert_eq!(refused.current.unwrap(), "me");
    /// # Ok(())
    /// # }
    /// ```
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<Result<(), CasMismatch>> {
        let key = key.as_ref();
        self.write_key(|tx| tx.compare_and_swap(self, key, expected, new))
    }

    /// Writes what `change` makes of the value (`None`: the key is not there, or is to be removed), and returns the old
    /// value. After a conflict `change` is called again, with the newer value.
    ///
    /// ```
    /// # use kestreldb::{Database, Error};
    /// # fn main() -> Result<(), Error> {
    /// # let db = Database::in_memory()?;
    /// let hits = db.tree("hits")?;
    /// let increment = |old: Option<&[u8]>| {
    ///     let old = old.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    ///     Some((old + 1).to_le_bytes().to_vec())
    /// };
    /// hits.update("/index.html", increment)?;
    /// hits.update("/index.html", increment)?;
    /// assert_eq!(hits.get("/index.html")?.unwrap(), 2_u64.to_le_bytes());
    /// # Ok(())
    /// # }
    /// ```
    pub fn update(
        &self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Value>> {
        let key = key.as_ref();
        self.write_key(|tx| tx.update(self, key, &mut change))
    }

    /// Removes the entry with the smallest key, and returns it.
    pub fn pop_first(&self) -> Result<Option<(Key, Value)>> {
        self.write_range(|tx| tx.pop_first(self))
    }

    /// Removes the entry with the greatest key, and returns it.
    pub fn pop_last(&self) -> Result<Option<(Key, Value)>> {
        self.write_range(|tx| tx.pop_last(self))
    }

    /// Removes all entries of a range without looking at each; returns how many.
    pub fn remove_range(&self, range: impl IntoKeyRange) -> Result<u64> {
        let range = range.into_key_range();
        self.write_range(|tx| tx.remove_range(self, &range))
    }

    /// Removes all entries; returns how many.
    pub fn clear(&self) -> Result<u64> {
        self.remove_range(..)
    }

    /// Removes all entries for which `keep` is false, in one transaction; returns how many.
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<u64> {
        self.write_range(|tx| tx.retain(self, &mut keep))
    }

    /// Removes those entries of a range for which `condition` is true, in one transaction, and returns them.
    pub fn extract_if(
        &self,
        range: impl IntoKeyRange,
        mut condition: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Vec<(Key, Value)>> {
        let range = range.into_key_range();
        self.write_range(|tx| tx.extract_if(self, &range, &mut condition)?.collect())
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("name", &self.name()).field("id", &self.id().0).finish_non_exhaustive()
    }
}
