//! Tickets: commits that nobody waits for, yet.
//!
//! A ticket's commit was validated, appended to the log and published: later write transactions build on it, and its place in
//! the order of commits is fixed. It counts as a commit that has to be durable before it is visible. What is left is the
//! sync, which a ticket need not ask for: it is resolved by whoever flushes the log up to it.
//!
//! A ticket keeps the open engine alive, but not its files: after closing, which flushes, it is resolved in any case.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use kestrel_pager::Timestamp;

use crate::Error;
use crate::core::Core;
use crate::visibility::WakerId;

/// A commit on its way to the disk. It resolves to the commit's timestamp once it and all before it are durable and
/// visible, or to an error if the log fails before.
///
/// It is a future of no particular runtime. Dropping it changes nothing about the commit.
pub struct CommitTicket {
    core: Arc<Core>,
    ts: Timestamp,
    /// Set with the first poll that had to wait.
    waker: Option<WakerId>,
}

impl CommitTicket {
    /// Of a commit that is published.
    pub(crate) fn new(core: Arc<Core>, ts: Timestamp) -> CommitTicket {
        debug_assert!(core.snapshots().applied() >= ts, "a ticket is for what is published");
        CommitTicket { core, ts, waker: None }
    }

    /// The commit's place in the order of commits; of a transaction that wrote nothing, the newest commit that it saw.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.ts
    }

    /// Whether it is resolved, to a success or an error.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.core.visibility.outcome(self.ts, self.core.snapshots()).is_some()
    }

    /// Returns once it is resolved. Flushes the log if that is not under way, together with whoever else wants to.
    ///
    /// # Errors
    /// The log could not be written or synced; whether the commit survives is known when the database is opened again.
    pub fn wait(&self) -> Result<Timestamp, Error> {
        self.resolve(self.core.reach(self.ts))
    }

    fn resolve(&self, outcome: Result<(), Error>) -> Result<Timestamp, Error> {
        outcome.map(|()| self.ts).map_err(|error| {
            let message = format!(
                "it is not known whether the commit survives, as the log failed ({error}); open the database again to see"
            );
            Error::new(error.kind(), message)
        })
    }
}

impl Future for CommitTicket {
    type Output = Result<Timestamp, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let CommitTicket { core, ts, waker } = &mut *self;
        let polled = core.visibility.poll(*ts, waker, context.waker(), core.snapshots());
        polled.map(|outcome| self.resolve(outcome))
    }
}

impl Drop for CommitTicket {
    fn drop(&mut self) {
        if let Some(waker) = self.waker {
            self.core.visibility.forget(self.ts, waker);
        }
    }
}

impl fmt::Debug for CommitTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitTicket").field("timestamp", &self.ts).finish_non_exhaustive()
    }
}
