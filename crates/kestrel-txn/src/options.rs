//! What is decided when a database is opened or a transaction begun.

use kestrel_pager::PagerOptions;
use kestrel_wal::Wal;

use crate::{Error, ErrorKind};

/// The fewest frames: enough for some threads' splits at once. (Under shuttle, fewer than the few pages of a small model.)
const FRAMES_MIN: u64 = if cfg!(kestrel_shuttle) { 12 } else { 40 };

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Bytes of a page: a power of two from 4096 to 65536. Counts when the database is created; later it is what it is.
    pub page_size: u32,
    /// Bytes of memory that the engine may take: pages, deltas, log buffers and the state of transactions. A small
    /// database-size-dependent rest comes on top: about 16 bytes a page of the data file.
    pub memory_budget: u64,
    /// Bytes of a log segment, at least four pages. Counts when the database is created.
    pub log_segment_size: u64,
    /// A checkpoint is due when the log has grown by so many bytes since the last.
    pub checkpoint_log_bytes: u64,
    /// Whether to create the database if there is none.
    pub create: bool,
    /// For simulations, which have to do the same again.
    pub simulated: Option<Simulated>,
}

/// How an engine is opened that does the same each time: by one thread, which alone works with it, and without anything random.
#[derive(Clone, Copy, Debug)]
pub struct Simulated {
    /// The id of a database that is created.
    pub database: u128,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            page_size: 4096,
            memory_budget: 256 << 20,
            log_segment_size: 16 << 20,
            checkpoint_log_bytes: 256 << 20,
            create: true,
            simulated: None,
        }
    }
}

impl EngineOptions {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        if !self.page_size.is_power_of_two() || !(4096..=65536).contains(&self.page_size) {
            return refuse(format!("page size {}: give a power of two from 4096 to 65536", self.page_size));
        }
        self.check_budget(self.page_size)?;
        if self.log_segment_size < 64 << 10 || self.log_segment_size > 1 << 30 {
            return refuse(format!("log segment size {}: give 64 KiB to 1 GiB", self.log_segment_size));
        }
        Ok(())
    }

    /// Whether the budget suffices for pages of this size.
    pub(crate) fn check_budget(&self, page_size: u32) -> Result<(), Error> {
        let least = FRAMES_MIN * u64::from(page_size) * 10 / 7;
        if self.memory_budget >= least {
            return Ok(());
        }
        let message = format!(
            "memory budget {}: give at least {least} bytes, as pages have {page_size}",
            self.memory_budget
        );
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// How the budget is divided: most for pages, some for deltas, the rest for logs and transactions.
    pub(crate) fn pager(&self, page_size: u32) -> PagerOptions {
        let frames = (self.memory_budget / 10 * 7 / u64::from(page_size)).max(FRAMES_MIN);
        PagerOptions {
            frames: usize::try_from(frames).unwrap_or(usize::MAX),
            delta_bytes: usize::try_from(self.memory_budget / 20 * 3).unwrap_or(usize::MAX),
            alone: self.simulated.is_some(),
        }
    }

    /// Bytes of a log segment: at least so many that the largest operation on a page of this size fits a record.
    pub(crate) fn segment_size(&self, page_size: u32) -> u64 {
        self.log_segment_size.max(u64::from(page_size) * 4)
    }

    /// Log segments that are filled between two checkpoints, up to a bound.
    pub(crate) fn log_spares(&self, wal: &Wal) -> usize {
        usize::try_from(self.checkpoint_log_bytes / wal.segment_size()).unwrap_or(usize::MAX).clamp(2, 32)
    }

    /// Bytes of operations that a transaction keeps before it streams them to the log.
    pub(crate) fn operation_buffer(&self, max_payload: usize) -> usize {
        usize::try_from(self.memory_budget / 64).unwrap_or(usize::MAX).min(max_payload / 3).min(1 << 20)
    }

    /// Bytes of log records that nobody waits for; beyond, they are handed to the system. So many that a writer seldom meets a
    /// flush that is still going on.
    pub(crate) fn log_buffer(&self) -> usize {
        usize::try_from(self.memory_budget / 32).unwrap_or(usize::MAX).min(16 << 20)
    }

    /// Bytes of old values that the savepoints of a transaction may keep, large ones not counted. At least enough for some
    /// thousand small ones, however small the budget.
    pub(crate) fn undo_bytes(&self) -> usize {
        usize::try_from((self.memory_budget / 4).max(1 << 20)).unwrap_or(usize::MAX)
    }

    /// Bytes of commits that are remembered for the validation of open transactions.
    pub(crate) fn window_bytes(&self) -> usize {
        usize::try_from(self.memory_budget / 32).unwrap_or(usize::MAX)
    }
}

/// Which anomalies a write transaction is kept from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// All: the outcome is that of some order of transactions, one after the other.
    #[default]
    Serializable,
    /// Lost updates, but not write skew: only keys that two transactions both write are conflicts.
    Snapshot,
}

/// When a commit returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Once it survives a power cut.
    #[default]
    Immediate,
    /// At once. A crash takes back the last such commits, in reverse order.
    Eventual,
}
