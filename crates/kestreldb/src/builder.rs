//! Opening a database.

use std::io;
use std::path::Path;
use std::sync::Arc;

use kestrel_io::{Clock, FileStorage, MemoryStorage, Storage, SystemClock};
use kestrel_txn::{Durability, Engine, EngineOptions, Isolation, Simulated};

use crate::background::Background;
use crate::shared::Shared;
use crate::turn::Turn;
use crate::upkeep::Upkeep;
use crate::{Database, Error, ErrorKind, Result, WriteOptions};

/// In memory the log is only a copy, so it is kept short.
const MEMORY_LOG_SEGMENT_SIZE: u64 = 1 << 20;
const MEMORY_CHECKPOINT_LOG_BYTES: u64 = 16 << 20;

/// Options to open a database with.
///
/// ```
/// use kestreldb::{Database, Durability, Error};
///
/// # fn main() -> Result<(), Error> {
/// let db = Database::builder()
///     .page_size(16 * 1024)
///     .memory_budget(64 << 20)
///     .durability(Durability::Eventual)
///     .in_memory()?;
/// assert_eq!(db.page_size(), 16 * 1024);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a database"]
pub struct Builder {
    pub(crate) page_size: Option<u32>,
    memory_budget: Option<u64>,
    log_segment_size: Option<u64>,
    checkpoint_log_bytes: Option<u64>,
    create: bool,
    background: bool,
    write: WriteOptions,
    simulated: Option<(Arc<dyn Clock>, Simulated)>,
}

impl Builder {
    /// The defaults.
    pub fn new() -> Builder {
        Builder {
            page_size: None,
            memory_budget: None,
            log_segment_size: None,
            checkpoint_log_bytes: None,
            create: true,
            background: true,
            write: WriteOptions::new(),
            simulated: None,
        }
    }

    /// The page size of a database that is created: a power of two from 4096 to 65536 bytes. Larger pages take longer
    /// keys, and make scans faster and single changes slower. An existing database keeps its own. Default: 4096.
    pub fn page_size(self, bytes: u32) -> Builder {
        Builder { page_size: Some(bytes), ..self }
    }

    /// How much memory the database may take, for pages, changes and old versions together: a hard bound. Default: 256 MiB.
    pub fn memory_budget(self, bytes: u64) -> Builder {
        Builder { memory_budget: Some(bytes), ..self }
    }

    /// How durable a commit is on return, unless its transaction says otherwise. Default: [`Durability::Immediate`].
    pub fn durability(self, durability: Durability) -> Builder {
        Builder { write: self.write.durability(durability), ..self }
    }

    /// How well write transactions are kept apart, unless they say otherwise. Default: [`Isolation::Serializable`].
    pub fn isolation(self, isolation: Isolation) -> Builder {
        Builder { write: self.write.isolation(isolation), ..self }
    }

    /// How often a transaction is run again after conflicts. Default: 100.
    pub fn conflict_retries(self, retries: u32) -> Builder {
        Builder { write: self.write.retries(retries), ..self }
    }

    /// Whether a database that does not exist is created, or an error. Default: created.
    pub fn create(self, create: bool) -> Builder {
        Builder { create, ..self }
    }

    /// The size of the log's files, which are allocated in advance. Default: 16 MiB, in memory 1 MiB.
    pub fn log_segment_size(self, bytes: u64) -> Builder {
        Builder { log_segment_size: Some(bytes), ..self }
    }

    /// After how much more log, or data, a checkpoint is made: about as much log is read again after a crash. Default:
    /// 256 MiB, in memory 16 MiB.
    pub fn checkpoint_log_bytes(self, bytes: u64) -> Builder {
        Builder { checkpoint_log_bytes: Some(bytes), ..self }
    }

    /// Whether two threads flush, checkpoint and tidy up in the background. Without them `Eventual` and asynchronous commits
    /// become durable with the next `Immediate` one, [`CommitTicket::wait`](crate::CommitTicket::wait) or
    /// [`Database::flush`], and [`Database::maintain`] has to be called now and then.
    /// Default: they do.
    pub fn background(self, background: bool) -> Builder {
        Builder { background, ..self }
    }

    /// For simulations: what time it is tells this clock, and a database that is created has this id. One thread alone works with
    /// the database, so nothing waits for others, and without [background](Builder::background) threads everything happens the
    /// same way each time.
    #[doc(hidden)]
    pub fn simulated(self, clock: Arc<dyn Clock>, database: u128) -> Builder {
        Builder { simulated: Some((clock, Simulated { database })), ..self }
    }

    /// Opens the database in the directory `path`. Unless [`create`](Builder::create) is off, the directory and missing
    /// ones above it are created, readable by their owner only.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> {
        let path = path.as_ref();
        let storage = if self.create { FileStorage::open_or_create(path) } else { FileStorage::open(path) };
        let storage = storage.map_err(|error| opening(path, error))?;
        self.open_with_storage(Arc::new(storage))
    }

    /// A new database that lives and dies with the process. Its files take memory beside the
    /// [budget](Builder::memory_budget).
    pub fn in_memory(mut self) -> Result<Database> {
        self.log_segment_size.get_or_insert(MEMORY_LOG_SEGMENT_SIZE);
        self.checkpoint_log_bytes.get_or_insert(MEMORY_CHECKPOINT_LOG_BYTES);
        self.create = true;
        self.open_with_storage(Arc::new(MemoryStorage::new()))
    }

    /// Opens the database in a [`Storage`].
    pub fn open_with_storage(self, storage: Arc<dyn Storage>) -> Result<Database> {
        let options = self.engine_options()?;
        let location = storage.describe();
        let engine = Engine::open(storage, &options)?;
        let clock: Arc<dyn Clock> = match self.simulated {
            Some((clock, _)) => clock,
            None => Arc::new(SystemClock::new()),
        };
        let upkeep = Arc::new(Upkeep::new(engine.clone(), options.checkpoint_log_bytes, Arc::clone(&clock)));
        let background =
            if self.background { Background::start(&engine, &upkeep) } else { Ok(Background::none()) };
        let background = background.map_err(|error| {
            // That no thread can be had is the error to report; the next opening recovers in any case.
            let _ = engine.close();
            Error::io(ErrorKind::Io, format!("starting the background threads of {location}"), error)
        })?;
        Ok(Database::new(Shared {
            engine: engine.into(),
            defaults: self.write,
            upkeep,
            background,
            turn: Turn::new(clock),
            location,
        }))
    }

    fn engine_options(&self) -> Result<EngineOptions> {
        let mut options = EngineOptions { create: self.create, ..EngineOptions::default() };
        options.simulated = self.simulated.as_ref().map(|(_, simulated)| *simulated);
        if let Some(bytes) = self.page_size {
            if !bytes.is_power_of_two() || !(4096..=65536).contains(&bytes) {
                let message =
                    format!("{bytes} is no page size; choose 4096, 8192, 16384, 32768 or 65536 bytes");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            options.page_size = bytes;
        }
        if let Some(bytes) = self.memory_budget {
            options.memory_budget = bytes;
        }
        if let Some(bytes) = self.log_segment_size {
            options.log_segment_size = bytes;
        }
        if let Some(bytes) = self.checkpoint_log_bytes {
            options.checkpoint_log_bytes = bytes;
        }
        Ok(options)
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

fn opening(path: &Path, error: io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::io(ErrorKind::NotFound, format!("there is no database at {path}"), error)
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            let message = format!("{path} is not a directory, and a database is one; check the path");
            Error::io(ErrorKind::NotADatabase, message, error)
        }
        _ => Error::io(ErrorKind::Io, format!("opening {path}"), error),
    }
}
