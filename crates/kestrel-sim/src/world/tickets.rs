//! Commits that nobody waits for, yet.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use kestreldb::CommitTicket;

use super::{World, pick};
use crate::ground::Disk;
use crate::work::Trouble;

/// A ticket, and the commit that it is for.
pub(super) struct Pending {
    ticket: CommitTicket,
    index: usize,
    /// Otherwise it is of a transaction that wrote nothing, and says only that what it saw is visible.
    wrote: bool,
    /// What it was given to wake, when it was last polled.
    bell: Option<Arc<Bell>>,
}

#[derive(Default)]
struct Bell {
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.rung.store(true, Ordering::Relaxed);
    }
}

impl Pending {
    pub(super) fn new(ticket: CommitTicket, index: usize, wrote: bool) -> Pending {
        Pending { ticket, index, wrote, bell: None }
    }

    /// What has come of it. Whoever was told to wait has been woken then.
    fn poll(&mut self) -> Result<Option<Result<(), kestreldb::Error>>, String> {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        match Pin::new(&mut self.ticket).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                self.bell = Some(bell);
                Ok(None)
            }
            Poll::Ready(outcome) => match &self.bell {
                Some(bell) if !bell.rung.load(Ordering::Relaxed) => {
                    Err("a ticket was resolved and woke nobody".to_owned())
                }
                _ => Ok(Some(outcome.map(drop))),
            },
        }
    }
}

impl<D: Disk> World<D> {
    pub(super) fn poll(&mut self, ticket: u8) -> Result<(), Trouble> {
        let Some(at) = pick(ticket, &self.tickets) else { return Ok(()) };
        let outcome = self.tickets[at].poll()?;
        self.trace.note(outcome.is_some());
        if let Some(outcome) = outcome {
            let pending = self.tickets.remove(at);
            outcome?;
            self.resolved(&pending);
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, ticket: u8) -> Result<(), Trouble> {
        let Some(at) = pick(ticket, &self.tickets) else { return Ok(()) };
        let pending = self.tickets.remove(at);
        let at = pending.ticket.wait()?;
        self.trace.note(at.0);
        self.resolved(&pending);
        Ok(())
    }

    fn resolved(&mut self, pending: &Pending) {
        if pending.wrote {
            self.history.kept(pending.index);
        } else {
            self.history.reached(pending.index);
        }
    }

    /// After the database has ended all are resolved, and those that say so are durable.
    pub(super) fn resolve_all(&mut self) -> Result<(), Trouble> {
        for mut pending in std::mem::take(&mut self.tickets) {
            match pending.poll()? {
                None => return Err("the database has ended, and a ticket waits".to_owned().into()),
                Some(Ok(())) => self.resolved(&pending),
                Some(Err(_)) => {}
            }
        }
        Ok(())
    }
}
