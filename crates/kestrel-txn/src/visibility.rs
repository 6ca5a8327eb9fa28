//! Which commits new snapshots may see: all up to the newest such that it and all before it are as durable as their
//! committers asked. And who is to be woken when that happens.
//!
//! `visible` is raised under the room's lock, and the wakers that it passes are taken out in the same critical section. Whoever
//! wants to be woken looks at `visible` under that lock, and leaves its waker if it has to wait. So of the two, whichever
//! comes second sees what the first one did: no waker is left behind a `visible` that has passed it. For the same reason none
//! is left behind a failure of the log.
//!
//! That somebody raises `visible` after the log has become durable is the rule for those who make it so: everybody who
//! flushes the log, or publishes a commit, [advances](Visibility::advance) afterwards.
//!
//! Wakers are foreign code: they are cloned, called and dropped without the lock, nor any other that they may want. Who holds
//! such a lock only [raises](Visibility::raise) `visible`, and advances when it is free again; until then wakers are left behind a
//! `visible` that has passed them, and whoever advances next takes them out.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

use kestrel_check::planted::{Bug, is_planted};
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

/// Commits that were published and are not visible yet, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Visibility {
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    /// In order.
    pending: VecDeque<Pending>,
    /// By the timestamp that `visible` has to reach; the second number tells those apart that wait for the same.
    wakers: BTreeMap<(Timestamp, u64), Waker>,
    wakers_made: u64,
    /// Why `visible` will never reach what is pending.
    failure: Option<Error>,
}

/// Where a waker lies in the room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakerId(u64);

impl Visibility {
    /// Notes a commit. Under the commit gate, before `applied` reaches it.
    pub(crate) fn add(&self, ts: Timestamp, end: Lsn, must_be_durable: bool) {
        self.room.lock().pending.push_back(Pending { ts, end, must_be_durable });
    }

    /// Raises `visible` as far as the durable part of the log allows, and wakes whom it passes. Returns up to where the log
    /// has to become durable before it can go on, if it stopped. `None` if it reached everything that is published.
    pub(crate) fn advance(&self, wal: &Wal, snapshots: &Snapshots) -> Option<Lsn> {
        let (blocked, woken) = self.room.lock().advance(wal, snapshots);
        wake(woken);
        blocked
    }

    /// Raises `visible` as [`advance`](Visibility::advance) does, but wakes nobody. The caller advances when it has let go of
    /// its locks.
    pub(crate) fn raise(&self, wal: &Wal, snapshots: &Snapshots) {
        self.room.lock().raise(wal, snapshots);
    }

    /// After the log has failed for good: wakes everybody, as what is not visible by now never will be.
    pub(crate) fn fail(&self, error: &Error, wal: &Wal, snapshots: &Snapshots) {
        let woken = {
            let mut room = self.room.lock();
            // What became durable before the failure still is.
            let (_, mut woken) = room.advance(wal, snapshots);
            room.failure.get_or_insert_with(|| error.clone());
            woken.extend(mem::take(&mut room.wakers).into_values());
            woken
        };
        wake(woken);
    }

    /// Whether `visible` has reached a published timestamp, or never will.
    pub(crate) fn outcome(&self, ts: Timestamp, snapshots: &Snapshots) -> Option<Result<(), Error>> {
        // Without the lock for those who come late, as most do.
        if snapshots.visible() >= ts { Some(Ok(())) } else { self.room.lock().outcome(ts, snapshots) }
    }

    /// As [`outcome`](Visibility::outcome); if there is none yet, keeps the waker in the place of the one before.
    pub(crate) fn poll(
        &self,
        ts: Timestamp,
        id: &mut Option<WakerId>,
        waker: &Waker,
        snapshots: &Snapshots,
    ) -> Poll<Result<(), Error>> {
        if snapshots.visible() >= ts {
            return Poll::Ready(Ok(()));
        }
        let waker = waker.clone();
        // Dropped behind the lock.
        let _replaced;
        let mut room = self.room.lock();
        if let Some(outcome) = room.outcome(ts, snapshots) {
            _replaced = Some(waker);
            return Poll::Ready(outcome);
        }
        let WakerId(number) = *id.get_or_insert_with(|| {
            room.wakers_made += 1;
            WakerId(room.wakers_made)
        });
        _replaced = room.wakers.insert((ts, number), waker);
        Poll::Pending
    }

    /// Lets go of a waker, if it still is there.
    pub(crate) fn forget(&self, ts: Timestamp, WakerId(number): WakerId) {
        let waker = self.room.lock().wakers.remove(&(ts, number));
        // The lock is free again.
        drop(waker);
    }
}

impl Room {
    fn advance(&mut self, wal: &Wal, snapshots: &Snapshots) -> (Option<Lsn>, Vec<Waker>) {
        let blocked = self.raise(wal, snapshots);
        let mut woken = Vec::new();
        if !self.wakers.is_empty() {
            let visible = snapshots.visible();
            while let Some(first) = self.wakers.first_entry()
                && first.key().0 <= visible
            {
                woken.push(first.remove());
            }
        }
        (blocked, woken)
    }

    fn raise(&mut self, wal: &Wal, snapshots: &Snapshots) -> Option<Lsn> {
        let durable = if is_planted(Bug::VisibleBeforeDurable) { wal.end() } else { wal.durable() };
        let mut reached = None;
        let blocked = loop {
            match self.pending.front() {
                Some(first) if first.must_be_durable && durable < first.end => break Some(first.end),
                // Not before it is published: another thread is between noting and publishing, and will advance itself.
                Some(first) if first.ts > snapshots.applied() => break None,
                Some(first) => reached = Some(first.ts),
                None => break None,
            }
            self.pending.pop_front();
        };
        if let Some(reached) = reached {
            snapshots.raise_visible(reached);
        }
        blocked
    }

    fn outcome(&self, ts: Timestamp, snapshots: &Snapshots) -> Option<Result<(), Error>> {
        if snapshots.visible() >= ts || is_planted(Bug::TicketResolvedTooEarly) {
            return Some(Ok(()));
        }
        self.failure.clone().map(Err)
    }
}

/// Calls wakers. A panic of one is its own affair, which the panic hook has told of: the others are called all the same, and
/// whoever calls them, for others than itself, goes on.
fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use kestrel_io::MemoryStorage;
    use kestrel_wal::LogOptions;

    use super::*;
    use crate::ErrorKind;

    const ONE: Timestamp = Timestamp(1);
    const TWO: Timestamp = Timestamp(2);

    fn rooms() -> (Visibility, Wal, Arc<Snapshots>) {
        let options = LogOptions { segment_size: 1 << 20, database: 1 };
        let wal = Wal::create(Arc::new(MemoryStorage::new()), &options, Lsn(0)).unwrap();
        (Visibility::default(), wal, Snapshots::new(ONE))
    }

    /// Between its first look at `visible` and the lock, a poll can be overtaken by whatever takes wakers out.
    #[test]
    fn a_poll_that_was_overtaken_leaves_no_waker() {
        for fails in [false, true] {
            let (visibility, wal, snapshots) = rooms();
            visibility.add(TWO, wal.end(), true);
            snapshots.set_applied(TWO);
            thread::scope(|scope| {
                let mut room = visibility.room.lock();
                let poller = scope
                    .spawn(|| visibility.poll(TWO, &mut None, Waker::noop(), &snapshots).map(|o| o.is_ok()));
                // Time to get to the lock. If it takes longer, the test proves nothing, and fails nobody.
                thread::sleep(Duration::from_millis(50));
                if fails {
                    room.failure = Some(Error::new(ErrorKind::Io, "the disk is gone"));
                } else {
                    assert!(room.advance(&wal, &snapshots).1.is_empty());
                }
                drop(room);
                assert_eq!(poller.join().unwrap(), Poll::Ready(!fails));
            });
        }
    }

    #[test]
    fn whom_raising_left_behind_the_next_advance_wakes() {
        let (visibility, wal, snapshots) = rooms();
        visibility.add(TWO, wal.append(1, &[b"commit"]).unwrap().end, true);
        snapshots.set_applied(TWO);
        assert!(visibility.poll(TWO, &mut None, Waker::noop(), &snapshots).is_pending());
        wal.flush(wal.end()).unwrap();
        visibility.raise(&wal, &snapshots);
        assert_eq!((snapshots.visible(), visibility.room.lock().wakers.len()), (TWO, 1));
        assert_eq!(visibility.advance(&wal, &snapshots), None);
        assert!(visibility.room.lock().wakers.is_empty());
    }

    #[test]
    fn a_commit_that_is_noted_and_not_published_is_not_passed() {
        let (visibility, wal, snapshots) = rooms();
        visibility.add(TWO, wal.end(), true);
        assert_eq!(visibility.advance(&wal, &snapshots), None);
        assert_eq!(snapshots.visible(), ONE);
        assert!(visibility.outcome(TWO, &snapshots).is_none());
        snapshots.set_applied(TWO);
        assert_eq!(visibility.advance(&wal, &snapshots), None);
        assert_eq!(snapshots.visible(), TWO);
        assert!(matches!(visibility.outcome(TWO, &snapshots), Some(Ok(()))));
    }

    #[test]
    fn what_is_not_durable_holds_up_what_need_not_be() {
        let (visibility, wal, snapshots) = rooms();
        let end = wal.append(1, &[b"commit"]).unwrap().end;
        visibility.add(TWO, end, true);
        visibility.add(Timestamp(3), end, false);
        snapshots.set_applied(Timestamp(3));
        assert_eq!(visibility.advance(&wal, &snapshots), Some(end));
        assert_eq!(snapshots.visible(), ONE);
        wal.flush(end).unwrap();
        assert_eq!(visibility.advance(&wal, &snapshots), None);
        assert_eq!(snapshots.visible(), Timestamp(3));
    }
}
