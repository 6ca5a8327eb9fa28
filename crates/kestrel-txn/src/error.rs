//! The one error type of the engine's surface.

use std::fmt;
use std::sync::Arc;

use kestrel_btree::Corruption;

use crate::Conflict;

/// What kind of thing went wrong; decides what a program can do about it.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The storage failed.
    Io,
    /// A file does not hold what it is known to have held.
    Corrupted,
    /// Another process has the database open.
    Locked,
    /// The directory holds something else.
    NotADatabase,
    /// A newer version of the program wrote the files.
    NewerFormat,
    /// There is no database, and it was not to be created.
    NotFound,
    /// The key is longer than the database's pages allow.
    KeyTooLong,
    /// The value is longer than 4 GiB less one byte.
    ValueTooLong,
    /// The disk is full.
    DiskFull,
    /// An earlier write or sync failed: what is there can be read, until the database is opened again.
    ReadOnly,
    /// Another transaction changed what this one relied on.
    Conflict,
    /// The memory budget is used up.
    OverBudget,
    /// There is a tree of that name.
    TreeExists,
    /// There is no such tree in this state.
    TreeNotFound,
    /// The savepoint was rolled back or released.
    SavepointGone,
    /// An argument makes no sense.
    InvalidArgument,
    /// The database was closed, or the transaction ended.
    Closed,
}

/// Why a call failed. One word; [`Error::kind`] tells what can be done, the message says more.
#[derive(Clone)]
pub struct Error(Arc<Repr>);

struct Repr {
    kind: ErrorKind,
    message: String,
    conflict: Option<Conflict>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a message that says what is wrong and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Repr { kind, message: message.into(), conflict: None, source: None }))
    }

    fn wrap(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        let message = source.to_string();
        Error(Arc::new(Repr { kind, message, conflict: None, source: Some(Box::new(source)) }))
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The same error, of a failure after which the database takes no more writes.
    pub(crate) fn ending_writes(self) -> Error {
        if self.kind() == ErrorKind::ReadOnly {
            return self;
        }
        let message = format!("{self}; the database takes no more writes: check the disk and open it again");
        Error(Arc::new(Repr { kind: self.kind(), message, conflict: None, source: Some(Box::new(self)) }))
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the database was closed; open it again")
    }

    /// What two transactions collided over, if it is a conflict.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        self.0.conflict.as_ref()
    }
}

/// What is known of the place of damage that was met as an error.
impl From<&Error> for crate::Damage {
    fn from(error: &Error) -> crate::Damage {
        let source =
            error.0.source.as_deref().and_then(|source| source.downcast_ref::<kestrel_pager::Error>());
        match source {
            Some(kestrel_pager::Error::Corrupted { page, offset, detail }) => {
                let again =
                    kestrel_pager::Error::Corrupted { page: *page, offset: *offset, detail: detail.clone() };
                crate::Damage::from(again)
            }
            _ => crate::Damage::new(error.to_string()),
        }
    }
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Error {
        let message = conflict.to_string();
        Error(Arc::new(Repr { kind: ErrorKind::Conflict, message, conflict: Some(conflict), source: None }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(source.as_ref())
    }
}

impl From<Corruption> for Error {
    fn from(damage: Corruption) -> Error {
        Error::new(ErrorKind::Corrupted, format!("a tree is damaged: {damage}; restore it from a backup"))
    }
}

impl From<kestrel_pager::Error> for Error {
    fn from(error: kestrel_pager::Error) -> Error {
        use kestrel_pager::Error as Pager;
        let kind = match &error {
            Pager::Corrupted { .. } | Pager::NoSuperblock { .. } => ErrorKind::Corrupted,
            Pager::NewerFormat { .. } => ErrorKind::NewerFormat,
            Pager::NotADatabase { .. } => ErrorKind::NotADatabase,
            Pager::DiskFull { .. } | Pager::PageIdsExhausted => ErrorKind::DiskFull,
            Pager::BudgetExhausted { .. } => ErrorKind::OverBudget,
            Pager::ReadOnly { .. } => ErrorKind::ReadOnly,
            _ => ErrorKind::Io,
        };
        Error::wrap(kind, error)
    }
}

impl From<kestrel_wal::Error> for Error {
    fn from(error: kestrel_wal::Error) -> Error {
        use kestrel_wal::Error as Log;
        let kind = match &error {
            Log::Full { .. } => ErrorKind::DiskFull,
            Log::Damaged { .. } => ErrorKind::Corrupted,
            Log::NewerFormat { .. } => ErrorKind::NewerFormat,
            Log::Poisoned => ErrorKind::ReadOnly,
            Log::TooLarge { .. } => ErrorKind::ValueTooLong,
            Log::Io { .. } => ErrorKind::Io,
        };
        Error::wrap(kind, error)
    }
}
