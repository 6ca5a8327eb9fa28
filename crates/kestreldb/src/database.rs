//! The handle of a database.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use kestrel_io::Storage;
use kestrel_txn::{SalvageOptions, SalvageReport, Shares, Statistics, VerifyReport};

use crate::shared::Shared;
use crate::{Builder, CommitTicket, Error, ReadTxn, Result, Tree, TreeInfo, WriteOptions, WriteTxn};

/// An open database: a directory of files that one process at a time has open.
///
/// Clones are the same database; they, the trees and the transactions can be kept, sent and used from any thread. The
/// database is closed with [`close`](Database::close), or when the last of them is dropped, which cannot
/// report an error.
///
/// ```
/// use kestreldb::{Database, Error};
///
/// # fn main() -> Result<(), Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("shop");
/// let db = Database::open(path)?;
/// let stock = db.tree("stock")?;
/// stock.put("apple", "3")?;
///
/// // Several steps, all or nothing, run again if another thread came between.
/// db.write(|tx| {
///     tx.update(&stock, "apple", |_| Some(b"2".to_vec()))?;
///     tx.put(&stock, "basket", "1 apple")
/// })?;
///
/// // One state of the database, whatever is written meanwhile.
/// let snapshot = db.begin_read()?;
/// stock.clear()?;
/// assert_eq!(snapshot.get(&stock, "apple")?.unwrap(), "2");
/// # drop(snapshot);
/// db.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
    /// For snapshots, which begin and end often.
    shares: Shares<Shared>,
}

impl Database {
    /// Opens the database in the directory `path`, or creates both, with the defaults of [`Builder`].
    pub fn open(path: impl AsRef<Path>) -> Result<Database> {
        Builder::new().open(path)
    }

    /// A new database that lives and dies with the process.
    pub fn in_memory() -> Result<Database> {
        Builder::new().in_memory()
    }

    /// Opens or creates the database in a [`Storage`], for storages other than a directory.
    pub fn open_with_storage(storage: Arc<dyn Storage>) -> Result<Database> {
        Builder::new().open_with_storage(storage)
    }

    /// To open a database with other options.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(shared: Shared) -> Database {
        let shared = Arc::new(shared);
        Database { shares: Shares::new(&shared), shared }
    }

    /// The tree of this name, created if it does not exist. Any text of 1 to 1024 bytes is a name.
    pub fn tree(&self, name: impl AsRef<str>) -> Result<Tree> {
        let name = name.as_ref();
        match self.existing_tree(name)? {
            Some(tree) => Ok(tree),
            None => self.write(|tx| tx.tree(name)),
        }
    }

    /// The tree of this name, if it exists.
    pub fn existing_tree(&self, name: impl AsRef<str>) -> Result<Option<Tree>> {
        self.begin_read()?.existing_tree(name)
    }

    /// Creates a tree; an error if one of this name exists.
    pub fn create_tree(&self, name: impl AsRef<str>) -> Result<Tree> {
        let name = name.as_ref();
        self.write(|tx| tx.create_tree(name))
    }

    /// Drops a tree and all that is in it. Snapshots still see it; its space comes back in the background.
    pub fn drop_tree(&self, name: impl AsRef<str>) -> Result<()> {
        let name = name.as_ref();
        self.write(|tx| tx.drop_tree(name))
    }

    /// Gives a tree another name, which must be free. Handles of the tree go on working.
    pub fn rename_tree(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.write(|tx| tx.rename_tree(from, to))
    }

    /// All trees, sorted by name.
    pub fn trees(&self) -> Result<Vec<TreeInfo>> {
        self.begin_read()?.trees()
    }

    /// Begins a snapshot: the state of all trees now, for as long as it is kept.
    pub fn begin_read(&self) -> Result<ReadTxn> {
        Ok(ReadTxn::new(self.shared.engine.begin_read()?, self.shares.take()))
    }

    /// Begins a write transaction with the database's defaults. Any number run at once; who commits what another one
    /// relies on makes that one fail with a [conflict](Error::is_conflict).
    pub fn begin_write(&self) -> Result<WriteTxn> {
        self.begin_write_with(self.write_options())
    }

    /// Begins a write transaction with options of its own.
    pub fn begin_write_with(&self, options: WriteOptions) -> Result<WriteTxn> {
        self.shared.begin_write(options)
    }

    /// Runs `body` on a snapshot.
    pub fn read<T, E: From<Error>>(&self, body: impl FnOnce(&ReadTxn) -> Result<T, E>) -> Result<T, E> {
        body(&self.begin_read()?)
    }

    /// Runs `body` in a write transaction with the database's defaults: commits if it returns `Ok`, drops what it did if
    /// it returns an error or panics.
    ///
    /// After a conflict it is run again on a newer state, after a wait that grows and is partly random, up to
    /// [`retries`](WriteOptions::retries) times. So it should have no effect outside the transaction that cannot
    /// be repeated.
    ///
    /// After eight conflicts it gets its turn: commits of other threads then wait until this one has got through, however long it
    /// is and however busy they are. So the retries of the default hardly ever run out. They wait for a few times as long
    /// as `body` took so far, and never more than 5 seconds: a `body` that waits for a commit of another thread is delayed by
    /// that, and no deadlock. What `body` commits besides, on its own thread, does not wait.
    pub fn write<T, E: From<Error>>(&self, body: impl FnMut(&WriteTxn) -> Result<T, E>) -> Result<T, E> {
        self.shared.write(self.shared.defaults, body)
    }

    /// As [`write`](Database::write), with options of its own.
    pub fn write_with<T, E: From<Error>>(
        &self,
        options: WriteOptions,
        body: impl FnMut(&WriteTxn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shared.write(options, body)
    }

    /// As [`write`](Database::write), but does not wait for the disk: see
    /// [`commit_async`](WriteTxn::commit_async). The closure runs before this returns, and again after conflicts; what is left
    /// to the ticket is that the commit becomes durable and visible.
    ///
    /// ```
    /// use kestreldb::{Database, Error};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let db = Database::in_memory()?;
    /// let orders = db.tree("orders")?;
    /// let (number, ticket) = db.write_async(|tx| {
    ///     let number = tx.len(&orders)? + 1;
    ///     tx.put(&orders, number.to_be_bytes(), "1 apple")?;
    ///     Ok::<_, Error>(number)
    /// })?;
    /// assert_eq!(number, 1);
    /// ticket.wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_async<T, E: From<Error>>(
        &self,
        body: impl FnMut(&WriteTxn) -> Result<T, E>,
    ) -> Result<(T, CommitTicket), E> {
        self.write_async_with(self.shared.defaults, body)
    }

    /// As [`write_async`](Database::write_async), with options of its own, of which the durability does not matter.
    pub fn write_async_with<T, E: From<Error>>(
        &self,
        options: WriteOptions,
        body: impl FnMut(&WriteTxn) -> Result<T, E>,
    ) -> Result<(T, CommitTicket), E> {
        self.shared.write_async(options, body)
    }

    /// The options that write transactions have unless told otherwise.
    #[must_use]
    pub fn write_options(&self) -> WriteOptions {
        self.shared.defaults
    }

    /// Makes all commits so far durable, those with `Eventual` durability too, and resolves the tickets of the asynchronous
    /// ones.
    pub fn flush(&self) -> Result<()> {
        Ok(self.shared.engine.flush_log()?)
    }

    /// Writes what changed since the last checkpoint to the data file, and lets go of the log up to here. Happens by itself;
    /// on demand it makes the next opening faster. Nobody waits for it but the caller.
    pub fn checkpoint(&self) -> Result<()> {
        Ok(self.shared.engine.checkpoint()?)
    }

    /// Does one bounded step of the background's work, a due checkpoint included; whether there is more. Only needed
    /// without [background threads](Builder::background).
    pub fn maintain(&self) -> Result<bool> {
        Ok(self.shared.upkeep.step()?)
    }

    /// Reads the whole database and checks it: checksums, order and structure of every tree, counts, space. Others go on
    /// working. Damage is in the report; an error means that the check could not be made.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(|_, _| {})
    }

    /// As [`verify`](Database::verify); tells how many pages of how many are done.
    pub fn verify_with(&self, mut progress: impl FnMut(u64, u64)) -> Result<VerifyReport> {
        Ok(self.shared.engine.verify(&mut progress)?)
    }

    pub(crate) fn salvage_from(
        &self,
        source: &Arc<dyn Storage>,
        options: SalvageOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<SalvageReport> {
        Ok(kestrel_txn::salvage(source, &self.shared.engine, options, progress)?)
    }

    /// Figures about the database, since it was opened.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.engine.statistics()
    }

    /// What went wrong in the background and was not made good since, for example a checkpoint on a full disk.
    #[must_use]
    pub fn background_error(&self) -> Option<Error> {
        self.shared.background.error()
    }

    /// The page size of this database, in bytes.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.shared.engine.page_size()
    }

    /// The longest key that this database takes, in bytes.
    #[must_use]
    pub fn max_key_len(&self) -> usize {
        self.shared.engine.max_key_len()
    }

    /// The longest value, in bytes.
    #[must_use]
    pub fn max_value_len(&self) -> u64 {
        self.shared.engine.max_value_len()
    }

    /// Makes everything durable, checkpoints, stops the threads and closes, for all handles: their calls then fail with
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// Snapshots, iterators and values that are still held go on working. Once the transactions and iterators among them
    /// have ended, and the calls that are under way in other threads, the directory can be opened again.
    pub fn close(self) -> Result<()> {
        self.shared.close()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("location", &self.shared.location).finish_non_exhaustive()
    }
}
