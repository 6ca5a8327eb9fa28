//! What can go wrong with a log.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::lsn::Lsn;

/// Why a call on the log failed.
#[derive(Clone, Debug)]
pub enum Error {
    /// The storage failed.
    Io {
        /// What was attempted, for example `syncing the log`.
        what: String,
        /// The storage's error.
        source: Arc<io::Error>,
    },
    /// There is no room for another segment. Nothing was changed.
    Full {
        /// What was attempted.
        what: String,
        /// The storage's error.
        source: Arc<io::Error>,
    },
    /// The log does not hold what it is known to have held.
    Damaged {
        /// Where the first damage lies.
        lsn: Lsn,
        /// The file it lies in.
        segment: String,
        /// What is wrong there.
        detail: String,
    },
    /// A newer version of the program wrote the log.
    NewerFormat {
        /// The log's format version.
        found: u32,
        /// The newest version this program knows.
        supported: u32,
    },
    /// An earlier write or sync of the log failed, so what it holds on disk is unknown until it is opened again.
    Poisoned,
    /// A record's payload is larger than [`Wal::max_payload`](crate::Wal::max_payload).
    TooLarge {
        /// The payload's bytes.
        len: usize,
        /// The most there may be.
        max: usize,
    },
}

impl Error {
    /// An error of the storage; a lack of room is told apart.
    pub(crate) fn storage(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::Full { what, source: Arc::new(source) }
            }
            _ => Error::Io { what, source: Arc::new(source) },
        }
    }

    /// An error of the storage after which the log takes nothing any more, whatever the reason.
    pub(crate) fn lasting(what: impl Into<String>, source: io::Error) -> Self {
        Error::Io { what: what.into(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(lsn: u64, segment: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::Damaged { lsn: Lsn(lsn), segment: segment.into(), detail: detail.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { what, source } => write!(f, "{what} failed: {source}"),
            Error::Full { what, source } => {
                write!(f, "no room while {what}: {source}; free some space and try again")
            }
            Error::Damaged { lsn, segment, detail } => write!(
                f,
                "the log is damaged at position {lsn} in {segment}: {detail}; restore that file from a backup"
            ),
            Error::NewerFormat { found, supported } => write!(
                f,
                "the log has format version {found}, this program knows versions up to {supported}; use a newer program"
            ),
            Error::Poisoned => {
                write!(f, "an earlier write or sync of the log failed; open the database again")
            }
            Error::TooLarge { len, max } => {
                write!(f, "a log record of {len} bytes is larger than the limit of {max}; split it")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::Full { source, .. } => Some(&**source),
            _ => None,
        }
    }
}
