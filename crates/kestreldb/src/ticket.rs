//! Commits on their way to the disk.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use kestrel_txn::Timestamp;

use crate::{Error, Result};

/// A commit on its way to the disk, from [`WriteTxn::commit_async`](crate::WriteTxn::commit_async) or
/// [`Database::write_async`](crate::Database::write_async).
///
/// It is resolved once the commit and all before it are on disk and visible to read transactions; or, with an error, if the
/// log cannot be written: then opening the database again tells whether the commit is there. Wait for that with
/// [`wait`](CommitTicket::wait), or `.await` it: it is a future that needs no particular runtime and never blocks. The result
/// is the commit's place in the order of commits.
///
/// With [background threads](crate::Builder::background) it is resolved as soon as the disk allows, whether anybody waits or
/// not. Without them somebody has to flush: `wait` does, [`Database::flush`](crate::Database::flush), any commit that is not
/// asynchronous, and closing the database.
///
/// Dropping it changes nothing about the commit. It can be kept for as long as one likes, also when the database is closed.
pub struct CommitTicket {
    ticket: kestrel_txn::CommitTicket,
}

impl CommitTicket {
    pub(crate) fn new(ticket: kestrel_txn::CommitTicket) -> CommitTicket {
        CommitTicket { ticket }
    }

    /// The commit's place in the order of commits, which it has from the beginning.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.ticket.timestamp()
    }

    /// Whether it is resolved, to a success or an error.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ticket.is_done()
    }

    /// Blocks until it is resolved. Writes and syncs the log itself if nobody is at it, for everybody who waits.
    pub fn wait(&self) -> Result<Timestamp> {
        Ok(self.ticket.wait()?)
    }
}

impl Future for CommitTicket {
    type Output = Result<Timestamp>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.ticket).poll(context).map_err(Error::from)
    }
}

impl fmt::Debug for CommitTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitTicket").field("timestamp", &self.timestamp()).finish_non_exhaustive()
    }
}
