//! Loading what is sorted already.

use kestrel_txn::{Durability, Isolation};

use crate::{Error, ErrorKind, Key, Result, Tree, WriteTxn};

/// A batch is committed once it holds so many bytes of keys and values,
const BATCH_BYTES: usize = 1 << 20;
/// or so many entries.
const BATCH_ENTRIES: usize = 8192;

impl WriteTxn {
    /// Puts entries behind all that the tree has; returns how many. Their keys must ascend, and begin behind the tree's
    /// last one: otherwise it is an [`Unsorted`](ErrorKind::Unsorted) error, and none of them is put.
    pub fn append<K, V>(&self, tree: &Tree, entries: impl IntoIterator<Item = (K, V)>) -> Result<u64>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut order = Order::behind(self.last(tree)?.map(|(key, _)| key));
        let mut first: Option<Vec<u8>> = None;
        for (key, value) in entries {
            let key = key.as_ref();
            if let Err(error) = order.check(key).and_then(|()| self.put(tree, key, value)) {
                // Nothing was there before them, so this takes back all there is to take back.
                if let Some(first) = first {
                    self.remove_range(tree, first..)?;
                }
                return Err(error);
            }
            first.get_or_insert_with(|| key.to_vec());
        }
        Ok(order.accepted)
    }
}

impl Tree {
    /// Puts entries behind all that the tree has; returns how many. For any number of them: they are committed in batches
    /// of about a megabyte, so others see them arrive, and memory does not grow with them.
    ///
    /// Their keys must ascend, and begin behind the tree's last one: otherwise it is an
    /// [`Unsorted`](ErrorKind::Unsorted) error that says which entry was out of order. The entries before it are stored,
    /// and as durable as the database's default is; so are whole batches before any other error.
    ///
    /// ```
    /// use kestreldb::{Database, Error, ErrorKind};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let db = Database::in_memory()?;
    /// let squares = db.tree("squares")?;
    /// let entries = (0..100_000_u64).map(|n| (n.to_be_bytes(), (n * n).to_be_bytes()));
    /// assert_eq!(squares.append(entries)?, 100_000);
    ///
    /// let again = squares.append([("\0", "too small")]).unwrap_err();
    /// assert_eq!(again.kind(), ErrorKind::Unsorted);
    /// # Ok(())
    /// # }
    /// ```
    pub fn append<K, V>(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<u64>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut entries = entries.into_iter().peekable();
        let mut order = Order::behind(self.last()?.map(|(key, _)| key));
        loop {
            let (batch, outcome) = gather(&mut entries, &mut order);
            // Later commits cannot survive a crash without the earlier ones, so the last one makes all durable.
            let is_last = outcome.is_err() || entries.peek().is_none();
            self.append_batch(&batch, is_last)?;
            outcome?;
            if is_last {
                return Ok(order.accepted);
            }
        }
    }

    fn append_batch<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, batch: &[(K, V)], is_last: bool) -> Result<()> {
        let Some((first, _)) = batch.first() else { return Ok(()) };
        let mut options = self.shared().defaults.isolation(Isolation::Serializable);
        if !is_last {
            options = options.durability(Durability::Eventual);
        }
        self.shared().write(options, |tx| {
            // Somebody else may write to the tree as well.
            Order::behind(tx.last(self)?.map(|(key, _)| key)).check(first.as_ref())?;
            batch.iter().try_for_each(|(key, value)| tx.put(self, key, value))
        })
    }
}

/// The next batch, and whether it was ended by an entry out of order.
fn gather<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    entries: &mut impl Iterator<Item = (K, V)>,
    order: &mut Order,
) -> (Vec<(K, V)>, Result<()>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES && batch.len() < BATCH_ENTRIES {
        let Some((key, value)) = entries.next() else { break };
        if let Err(error) = order.check(key.as_ref()) {
            return (batch, Err(error));
        }
        bytes += key.as_ref().len() + value.as_ref().len();
        batch.push((key, value));
    }
    (batch, Ok(()))
}

/// Watches that keys ascend.
struct Order {
    last: Option<Vec<u8>>,
    accepted: u64,
}

impl Order {
    fn behind(last: Option<Key>) -> Order {
        Order { last: last.map(Key::into_vec), accepted: 0 }
    }

    fn check(&mut self, key: &[u8]) -> Result<()> {
        match &mut self.last {
            Some(last) if key <= last.as_slice() => {
                let entry = self.accepted + 1;
                let before = if self.accepted == 0 { "the last one of the tree" } else { "the one before" };
                let message = format!(
                    "entry {entry} to append is out of order: its key b\"{}\" is not greater than {before}, b\"{}\"; \
                     sort the entries, or put them one by one",
                    key.escape_ascii(),
                    last.escape_ascii()
                );
                return Err(Error::new(ErrorKind::Unsorted, message));
            }
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            None => self.last = Some(key.to_vec()),
        }
        self.accepted += 1;
        Ok(())
    }
}
