//! What can go wrong with pages.

use std::fmt;
use std::io;

use crate::PageId;

/// Why a call on the pager failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The storage failed.
    Io {
        /// What was attempted, for example `syncing the data file`.
        what: String,
        /// The storage's error.
        source: io::Error,
    },
    /// The data file does not hold what it is known to have held.
    Corrupted {
        /// The page it belongs to; `None` for what belongs to all of them.
        page: Option<PageId>,
        /// Where in the data file, in bytes.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A newer version of the program wrote the data file.
    NewerFormat {
        /// The file's format version.
        found: u32,
        /// The newest version this program knows.
        supported: u32,
    },
    /// The data file is something else.
    NotADatabase {
        /// What was found instead.
        detail: String,
    },
    /// Both superblocks are gone, so nothing says where the pages lie.
    NoSuperblock {
        /// What is wrong with them.
        detail: String,
    },
    /// An earlier write or sync failed, so nothing is written any more until the file is opened anew.
    ReadOnly {
        /// What failed.
        failure: String,
    },
    /// The disk (or the user's share of it) is full. Nothing was changed.
    DiskFull {
        /// How many bytes were asked for.
        needed: u64,
    },
    /// The memory budget is used up by what cannot be evicted. Nothing was changed.
    BudgetExhausted {
        /// How many bytes were asked for.
        needed: u64,
        /// Which part of the budget.
        what: &'static str,
    },
    /// Every page id is in use.
    PageIdsExhausted,
}

impl Error {
    /// An error of the storage that is not a lack of room.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Error {
        Error::Io { what: what.into(), source }
    }

    /// An error of the storage in an attempt to store `needed` bytes; a lack of room is told apart.
    pub(crate) fn storing(what: impl Into<String>, needed: u64, source: io::Error) -> Error {
        if is_full(&source) { Error::DiskFull { needed } } else { Error::io(what, source) }
    }

    /// Damage that does not belong to one page if `page` is `None`.
    pub(crate) fn corrupted(page: Option<PageId>, offset: u64, detail: impl Into<String>) -> Error {
        Error::Corrupted { page, offset, detail: detail.into() }
    }
}

/// Whether the storage ran out of room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { what, source } => write!(f, "{what} failed: {source}"),
            Error::Corrupted { page, offset, detail } => {
                match page {
                    Some(page) => write!(f, "{page} is damaged at byte {offset} of the data file")?,
                    None => write!(f, "the data file is damaged at byte {offset}")?,
                }
                write!(f, ": {detail}; restore the file from a backup")
            }
            Error::NewerFormat { found, supported } => write!(
                f,
                "the data file has format version {found}, this program knows versions up to {supported}; use a \
                 newer program"
            ),
            Error::NotADatabase { detail } => {
                write!(f, "the data file is not a database: {detail}; check the path")
            }
            Error::NoSuperblock { detail } => {
                write!(f, "the data file has no intact superblock: {detail}; restore it from a backup")
            }
            Error::ReadOnly { failure } => {
                write!(
                    f,
                    "nothing is written any more since {failure}; check the disk and open the database again"
                )
            }
            Error::DiskFull { needed } => {
                write!(f, "the disk has no room for {needed} more bytes; free some space and try again")
            }
            Error::BudgetExhausted { needed, what } => write!(
                f,
                "the memory budget for {what} has no room for {needed} more bytes; end old snapshots, drop values \
                 that are held, or raise the budget"
            ),
            Error::PageIdsExhausted => {
                write!(f, "every page id is in use; delete data, or move to a database with larger pages")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = |kind: io::ErrorKind| Error::storing("writing", 7, kind.into());
        assert!(matches!(full(io::ErrorKind::StorageFull), Error::DiskFull { needed: 7 }));
        assert!(matches!(full(io::ErrorKind::QuotaExceeded), Error::DiskFull { needed: 7 }));
        assert!(matches!(full(io::ErrorKind::TimedOut), Error::Io { .. }));
    }

    #[test]
    fn damage_is_named_by_page_and_offset() {
        let error = Error::corrupted(Some(PageId(7)), 4096, "the checksum is wrong");
        assert_eq!(
            error.to_string(),
            "page 7 is damaged at byte 4096 of the data file: the checksum is wrong; restore the file from a backup"
        );
        assert!(
            Error::corrupted(None, 1, "x").to_string().starts_with("the data file is damaged at byte 1: x")
        );
    }
}
