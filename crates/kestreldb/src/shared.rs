//! What all handles of an open database share.

use std::sync::Arc;

use kestrel_txn::Engine;

use crate::background::Background;
use crate::backoff::Backoff;
use crate::upkeep::Upkeep;
use crate::{Error, Result, WriteOptions, WriteTxn};

/// An open database. The end of the last handle stops the threads and closes it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) defaults: WriteOptions,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) background: Background,
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
        self.run(options, body, WriteTxn::commit).map(|(value, _)| value)
    }

    /// The same with another way to commit, whose result is returned as well.
    pub(crate) fn run<T, C, E: From<Error>>(
        self: &Arc<Self>,
        options: WriteOptions,
        mut body: impl FnMut(&WriteTxn) -> Result<T, E>,
        commit: impl Fn(WriteTxn) -> Result<C>,
    ) -> Result<(T, C), E> {
        let mut backoff = Backoff::new(options.retries);
        loop {
            let txn = self.begin_write(options)?;
            let error: E = match body(&txn) {
                Ok(value) => match commit(txn) {
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
