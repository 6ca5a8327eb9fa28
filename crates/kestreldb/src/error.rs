//! What a call can fail with.

use std::fmt;
use std::io;
use std::sync::Arc;

use kestrel_txn::Conflict;

/// A result whose error is an [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: one word wide, cheap to clone, and with a message that says what to do.
///
/// After any error the state is that of before the call, unless the call says otherwise. Programs decide by
/// [`kind`](Error::kind), people read the message.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

enum Inner {
    Engine(kestrel_txn::Error),
    Facade { kind: ErrorKind, message: String, source: Option<io::Error> },
}

/// What sort of error it is.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The storage failed a request; the message names the request.
    Io,
    /// What was read is not what was written; the message names the place.
    Corrupted,
    /// Somebody has the database open; the message names the process.
    Locked,
    /// The path, or the file in it, holds something else.
    NotADatabase,
    /// A newer version of this library wrote the database.
    NewerFormat,
    /// There is no database, and [`create`](crate::Builder::create) is off.
    NotFound,
    /// A key exceeds the limit, which follows from the page size.
    KeyTooLong,
    /// A value exceeds the limit.
    ValueTooLong,
    /// The disk has no room. Reads go on; free some space and try again.
    DiskFull,
    /// An earlier write or sync failed, so nothing is written any more until the database is opened anew.
    ReadOnly,
    /// Another transaction committed something that this one read or wrote. Run it again.
    Conflict,
    /// What the call needs does not fit the memory budget beside what is held already.
    OverBudget,
    /// A tree of that name exists.
    TreeExists,
    /// No tree of that name exists, or the tree behind a handle was dropped.
    TreeNotFound,
    /// The savepoint was released, rolled back over, or belongs to another transaction.
    SavepointGone,
    /// Keys to append did not ascend.
    Unsorted,
    /// An argument makes no sense; the message names it.
    InvalidArgument,
    /// The database was closed.
    Closed,
    /// Something that this version has no kind for.
    Other,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner::Facade { kind, message: message.into(), source: None }))
    }

    pub(crate) fn io(kind: ErrorKind, message: impl Into<String>, source: io::Error) -> Error {
        Error(Arc::new(Inner::Facade { kind, message: message.into(), source: Some(source) }))
    }

    /// What sort of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Inner::Engine(error) => ErrorKind::from(error.kind()),
            Inner::Facade { kind, .. } => *kind,
        }
    }

    /// Whether running the transaction again may succeed, because another one came between.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind() == ErrorKind::Conflict
    }

    /// What the two transactions collided over, for programs that want to know more than that it was a
    /// [conflict](Error::is_conflict): to find keys that everybody writes, say. The message tells the same to people. `None`
    /// for other errors, and where a tree is newer than the transaction that used it.
    ///
    /// ```
    /// use kestreldb::{Access, ConflictPlace, Database, Error};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let db = Database::in_memory()?;
    /// let stock = db.tree("stock")?;
    /// let tx = db.begin_write()?;
    /// let apples = tx.get(&stock, "apples")?;
    /// stock.put("apples", "7")?;
    /// tx.put(&stock, "report", apples.map_or("none", |_| "some"))?;
    /// let error = tx.commit().unwrap_err();
    /// let conflict = error.conflict().expect("somebody changed what was read");
    /// assert_eq!(conflict.tree_name.as_deref(), Some("stock"));
    /// assert_eq!(conflict.place, ConflictPlace::Key(b"apples".into()));
    /// assert_eq!(conflict.access, Access::Read);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        match &*self.0 {
            Inner::Engine(error) => error.conflict(),
            Inner::Facade { .. } => None,
        }
    }
}

impl From<&Error> for kestrel_txn::Damage {
    fn from(error: &Error) -> kestrel_txn::Damage {
        match &*error.0 {
            Inner::Engine(error) => error.into(),
            Inner::Facade { message, .. } => {
                let mut damage = kestrel_txn::Damage::default();
                damage.detail.clone_from(message);
                damage
            }
        }
    }
}

impl From<kestrel_txn::Error> for Error {
    fn from(error: kestrel_txn::Error) -> Error {
        Error(Arc::new(Inner::Engine(error)))
    }
}

impl From<kestrel_txn::ErrorKind> for ErrorKind {
    fn from(kind: kestrel_txn::ErrorKind) -> ErrorKind {
        use kestrel_txn::ErrorKind as Engine;
        match kind {
            Engine::Io => ErrorKind::Io,
            Engine::Corrupted => ErrorKind::Corrupted,
            Engine::Locked => ErrorKind::Locked,
            Engine::NotADatabase => ErrorKind::NotADatabase,
            Engine::NewerFormat => ErrorKind::NewerFormat,
            Engine::NotFound => ErrorKind::NotFound,
            Engine::KeyTooLong => ErrorKind::KeyTooLong,
            Engine::ValueTooLong => ErrorKind::ValueTooLong,
            Engine::DiskFull => ErrorKind::DiskFull,
            Engine::ReadOnly => ErrorKind::ReadOnly,
            Engine::Conflict => ErrorKind::Conflict,
            Engine::OverBudget => ErrorKind::OverBudget,
            Engine::TreeExists => ErrorKind::TreeExists,
            Engine::TreeNotFound => ErrorKind::TreeNotFound,
            Engine::SavepointGone => ErrorKind::SavepointGone,
            Engine::InvalidArgument => ErrorKind::InvalidArgument,
            Engine::Closed => ErrorKind::Closed,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Inner::Engine(error) => error.fmt(f),
            Inner::Facade { message, source: None, .. } => f.write_str(message),
            Inner::Facade { message, source: Some(source), .. } => write!(f, "{message}: {source}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Inner::Engine(error) => error.source(),
            Inner::Facade { source, .. } => source.as_ref().map(|source| source as _),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn an_error_is_one_word_and_can_go_anywhere() {
        fn anywhere<T: Send + Sync + 'static>() {}
        anywhere::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn the_cause_is_told_and_kept() {
        let error = Error::io(ErrorKind::Io, "opening /x", io::Error::other("no such luck"));
        assert_eq!(error.to_string(), "opening /x: no such luck");
        assert_eq!(format!("{error:?}"), "Io: opening /x: no such luck");
        assert!(error.source().is_some());
        assert!(!error.is_conflict() && Error::new(ErrorKind::Conflict, "").is_conflict());
    }
}
