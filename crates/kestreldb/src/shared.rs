//! What all handles of an open database share.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use kestrel_txn::Engine;

use crate::background::Background;
use crate::backoff::Backoff;
use crate::turn::Turn;
use crate::upkeep::Upkeep;
use crate::{CommitTicket, Error, Result, WriteOptions, WriteTxn};

/// An open database. The end of the last handle stops the threads and closes it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Every get of a [`Tree`](crate::Tree) reads it, so it is kept off the cache lines of what changes, the count of
    /// references to all this among them.
    pub(crate) engine: CachePadded<Engine>,
    pub(crate) defaults: WriteOptions,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) background: Background,
    pub(crate) turn: Turn,
    /// Where it lies, for messages.
    pub(crate) location: String,
}

impl Shared {
    /// Stops the threads and closes the engine. What failed in the background and was never made good is an error here.
    pub(crate) fn close(&self) -> Result<()> {
        self.background.stop();
        self.engine.close()?;
        match self.background.error() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(crate) fn begin_write(self: &Arc<Self>, options: WriteOptions) -> Result<WriteTxn> {
        let txn = self.engine.begin_write(options.isolation)?;
        Ok(WriteTxn::new(txn, Arc::clone(self), options.durability))
    }

    /// Runs a transaction until it commits, fails, or has met too many conflicts.
    pub(crate) fn write<T, E: From<Error>>(
        self: &Arc<Self>,
        options: WriteOptions,
        body: impl FnMut(&WriteTxn) -> Result<T, E>,
    ) -> Result<T, E> {
        let commit = |txn: WriteTxn, backoff: &mut Backoff<'_>| {
            if backoff.has_turn() {
                // The disk makes nobody lose: others need not wait for it as well.
                txn.commit_in_two(|| backoff.end_turn())
            } else {
                txn.commit()
            }
        };
        self.run(options, body, commit).map(|(value, _)| value)
    }

    /// The same, but leaves the waiting for the disk to a ticket.
    pub(crate) fn write_async<T, E: From<Error>>(
        self: &Arc<Self>,
        options: WriteOptions,
        body: impl FnMut(&WriteTxn) -> Result<T, E>,
    ) -> Result<(T, CommitTicket), E> {
        self.run(options, body, |txn, _| txn.commit_async())
    }

    fn run<T, C, E: From<Error>>(
        self: &Arc<Self>,
        options: WriteOptions,
        mut body: impl FnMut(&WriteTxn) -> Result<T, E>,
        commit: impl Fn(WriteTxn, &mut Backoff<'_>) -> Result<C>,
    ) -> Result<(T, C), E> {
        let mut backoff = Backoff::new(options.retries, &self.turn);
        loop {
            let txn = self.begin_write(options)?;
            let error: E = match body(&txn) {
                Ok(value) => match commit(txn, &mut backoff) {
                    Ok(committed) => return Ok((value, committed)),
                    Err(error) if error.is_conflict() => error.into(),
                    Err(error) => return Err(error.into()),
                },
                // The caller's type may hide the conflict that it was made of.
                Err(error) if txn.met_conflict() => error,
                Err(error) => return Err(error),
            };
            if !backoff.again() {
                return Err(error);
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody is left to be told: whoever wants to know calls `close`.
        let _ = self.close();
    }
}
