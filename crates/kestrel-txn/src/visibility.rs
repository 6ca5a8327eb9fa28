//! Which commits new snapshots may see: all up to the newest such that it and all before it are as durable as their
//! committers asked.

use std::collections::VecDeque;

use kestrel_check::sync::Mutex;
use kestrel_pager::{Snapshots, Timestamp};
use kestrel_wal::{Lsn, Wal};

use crate::Error;

#[derive(Clone, Copy, Debug)]
struct Pending {
    ts: Timestamp,
    /// Where its log record ends.
    end: Lsn,
    must_be_durable: bool,
}

/// Commits that were published and are not visible yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Visibility {
    pending: Mutex<VecDeque<Pending>>,
}

impl Visibility {
    /// Notes a commit. Under the commit gate, before `applied` reaches it.
    pub(crate) fn add(&self, ts: Timestamp, end: Lsn, must_be_durable: bool) {
        self.pending.lock().push_back(Pending { ts, end, must_be_durable });
    }

    /// Raises `visible` as far as the durable part of the log allows. Returns up to where the log has to become durable
    /// before it can go on, if it stopped.
    pub(crate) fn advance(&self, wal: &Wal, snapshots: &Snapshots) -> Option<Lsn> {
        let mut pending = self.pending.lock();
        let durable = wal.durable();
        let mut reached = None;
        let blocked = loop {
            match pending.front() {
                Some(first) if first.must_be_durable && durable < first.end => break Some(first.end),
                // Not before it is published: another thread may be between noting and publishing.
                Some(first) if first.ts > snapshots.applied() => break None,
                Some(first) => reached = Some(first.ts),
                None => break None,
            }
            pending.pop_front();
        };
        if let Some(reached) = reached {
            snapshots.raise_visible(reached);
        }
        blocked
    }

    /// Returns once `visible` has reached a published timestamp, making durable what stands in the way.
    pub(crate) fn reach(&self, ts: Timestamp, wal: &Wal, snapshots: &Snapshots) -> Result<(), Error> {
        loop {
            let blocked = self.advance(wal, snapshots);
            if snapshots.visible() >= ts {
                return Ok(());
            }
            match blocked {
                Some(end) => wal.flush(end)?,
                None => kestrel_check::sync::yield_now(),
            }
        }
    }
}
