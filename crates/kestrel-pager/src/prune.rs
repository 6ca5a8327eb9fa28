//! Pruning: letting go of versions that nobody can see any more.
//!
//! Each superseded segment is queued once, by its page and the timestamp of its base. When it is looked at, its
//! interval ends at the base above it. Nobody needs it: it is unlinked. A snapshot needs it: the entry waits under that
//! *witness* and is looked at again when the witness is gone. So an entry costs one look per witness, and a snapshot
//! that lives long costs at most one segment a page, however long writers go on.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crossbeam_epoch::Guard;
use kestrel_check::sync::atomic::Ordering;

use crate::chain::{self, Segment, Stripe};
use crate::link::Word;
use crate::snapshots::{LiveSet, Need};
use crate::version::Kind;
use crate::{PageId, Pager, Timestamp};

/// So many superseded segments are worth a look.
const WORTH: usize = 16;

/// A segment below a newer base; or, with `from` at its maximum, a stub that may become a raw location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Superseded {
    pub(crate) page: PageId,
    /// The timestamp of its base.
    pub(crate) from: Timestamp,
}

impl Superseded {
    /// A stub at the top of its chain, to be replaced by a raw location once every snapshot may see it.
    pub(crate) fn stub(page: PageId) -> Superseded {
        Superseded { page, from: Timestamp::MAX }
    }

    fn is_stub(self) -> bool {
        self.from == Timestamp::MAX
    }
}

/// Segments that are to be unlinked one day.
#[derive(Default)]
pub(crate) struct Retired {
    ready: VecDeque<Superseded>,
    /// Needed by snapshots that may yet begin.
    later: VecDeque<Superseded>,
    /// By the snapshot that needs them.
    waiting: BTreeMap<Timestamp, Vec<Superseded>>,
    /// Stubs in any of these: each is queued once.
    stubs: HashSet<PageId>,
    /// `visible` when `later` was last looked at.
    looked_at: Timestamp,
}

impl Retired {
    pub(crate) fn add(&mut self, entries: impl IntoIterator<Item = Superseded>) {
        let stubs = &mut self.stubs;
        self.ready.extend(entries.into_iter().filter(|entry| !entry.is_stub() || stubs.insert(entry.page)));
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.later.len() + self.waiting.values().map(Vec::len).sum::<usize>()
    }

    /// Those that wait for no snapshot that lives.
    pub(crate) fn unsettled(&self) -> usize {
        self.ready.len() + self.later.len()
    }

    /// Up to `limit` entries to be looked at.
    fn take(&mut self, live: &LiveSet, limit: usize) -> Vec<Superseded> {
        if live.visible() > self.looked_at {
            self.looked_at = live.visible();
            self.ready.append(&mut self.later);
        }
        let gone: Vec<Timestamp> =
            self.waiting.keys().copied().filter(|&witness| !live.contains(witness)).collect();
        for witness in gone {
            self.ready.extend(self.waiting.remove(&witness).unwrap_or_default());
        }
        let count = self.ready.len().min(limit);
        let taken: Vec<Superseded> = self.ready.drain(..count).collect();
        for stub in taken.iter().filter(|entry| entry.is_stub()) {
            self.stubs.remove(&stub.page);
        }
        taken
    }
}

enum Outcome {
    /// Nothing is left to do for the entry.
    Done,
    Wait(Superseded, Need),
}

impl Pager {
    /// Queues segments to be looked at.
    pub(crate) fn supersede(&self, entries: impl IntoIterator<Item = Superseded>) {
        let mut retired = self.retired.lock();
        retired.add(entries);
        self.superseded.store(retired.unsettled(), Ordering::Relaxed);
    }

    /// As [`prune`](Pager::prune), if that is worth a look at the snapshots: for commits, which do not add much each.
    pub fn prune_some(&self, limit: usize) {
        if self.superseded.load(Ordering::Relaxed) >= WORTH {
            self.prune(limit);
        }
    }

    /// Looks at up to `limit` superseded segments and unlinks those that nobody needs. Returns whether there are more to
    /// be looked at now.
    pub fn prune(&self, limit: usize) -> bool {
        // A bound however old it gets: see `Snapshots`.
        let live = self.snapshots.live_set();
        let entries = self.retired.lock().take(&live, limit);
        let full = entries.len() == limit;
        if entries.is_empty() {
            // What was cut off before becomes free when the epoch moves on, for which somebody has to move.
            self.pin().flush();
        }
        let mut freed = Vec::new();
        let mut kept = Vec::new();
        for chunk in entries.chunks(32) {
            let guard = self.pin();
            for &entry in chunk {
                if let Outcome::Wait(entry, need) = self.prune_one(entry, &live, &mut freed, &guard) {
                    kept.push((entry, need));
                }
            }
            // Frames must not wait in this thread's bag while others look for one.
            guard.flush();
        }
        let mut retired = self.retired.lock();
        for (entry, need) in kept {
            if entry.is_stub() && !retired.stubs.insert(entry.page) {
                continue;
            }
            match need {
                Need::Witness(witness) => retired.waiting.entry(witness).or_default().push(entry),
                Need::Future | Need::Nobody => retired.later.push_back(entry),
            }
        }
        self.superseded.store(retired.unsettled(), Ordering::Relaxed);
        drop(retired);
        if freed.is_empty() {
            return full;
        }
        let mut ids = self.ids.lock();
        for page in freed {
            ids.release(page);
        }
        full
    }

    fn prune_one(
        &self,
        entry: Superseded,
        live: &LiveSet,
        freed: &mut Vec<PageId>,
        guard: &Guard,
    ) -> Outcome {
        let link = self.link(entry.page);
        let stripe = self.stripe(entry.page);
        if !entry.is_stub() {
            let Some(segment) = chain::segments(link, guard).find(|segment| segment.base.ts <= entry.from)
            else {
                return Outcome::Done;
            };
            let (true, Some(until)) = (segment.base.ts == entry.from, segment.until) else {
                return Outcome::Done;
            };
            match live.need(entry.from, until) {
                Need::Nobody => {
                    let older = segment.base.header().next.load(guard);
                    stripe.cut(segment.link, (segment.head, segment.len(guard)), older, guard);
                }
                need => return Outcome::Wait(entry, need),
            }
        }
        self.settle(entry.page, &stripe, live, freed, guard)
    }

    /// What becomes of the last version of a chain: a tombstone goes, a stub gives way to a raw location.
    fn settle(
        &self,
        page: PageId,
        stripe: &Stripe<'_>,
        live: &LiveSet,
        freed: &mut Vec<PageId>,
        guard: &Guard,
    ) -> Outcome {
        let link = self.link(page);
        let Some(top) = Segment::at(link, None, guard) else { return Outcome::Done };
        let alone = top.head == top.base && top.base.header().next.load(guard) == Word::Empty;
        match top.base.kind {
            // Whoever is older than it finds nothing below it either.
            Kind::Tombstone if alone => {
                stripe.cut(link, (top.base, 1), Word::Empty, guard);
                freed.push(page);
            }
            Kind::Stub if alone && top.base.blob_len().is_none() => {
                let oldest = live.oldest();
                if top.base.ts > oldest {
                    let need = if live.contains(oldest) { Need::Witness(oldest) } else { Need::Future };
                    return Outcome::Wait(Superseded::stub(page), need);
                }
                if let Some(location) = top.base.take_location() {
                    stripe.cut(link, (top.base, 1), Word::OnDisk(location), guard);
                }
            }
            _ => {}
        }
        Outcome::Done
    }
}
