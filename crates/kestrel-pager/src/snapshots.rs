//! The snapshot registry: which states somebody may still look at.
//!
//! A slot per live snapshot, in blocks that are never freed. Registering at a counter (`visible` for readers,
//! `applied` for writers):
//! 1. claim a free slot;
//! 2. read the counter as S;
//! 3. store S in the slot;
//! 4. fence;
//! 5. read `visible`: if it is greater than S, go to 2.
//!
//! A reclaimer reads `visible` as V, fences, then reads the slots. Both fences are sequentially consistent, so either
//! the reclaimer sees the slot, or the registrant sees a `visible` of at least V: then its S ends up at V or
//! later. Hence nothing that lies wholly below V and contains no slot's value can be asked for any more, and a
//! [`LiveSet`] stays a safe bound however old it gets.

use kestrel_check::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::Arc;
use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use crate::Timestamp;

const SLOTS: usize = 64;
const FREE: u64 = 0;
/// Claimed, but without a snapshot yet. Reclaimers pass over it: its owner will look at `visible` again.
const CLAIMED: u64 = u64::MAX;

struct Block {
    slots: [CachePadded<AtomicU64>; SLOTS],
    next: OnceLock<Box<Block>>,
}

impl Block {
    fn new() -> Block {
        Block {
            slots: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(FREE))),
            next: OnceLock::new(),
        }
    }
}

/// The live snapshots, and the two counters that they begin at.
pub struct Snapshots {
    applied: CachePadded<AtomicU64>,
    visible: CachePadded<AtomicU64>,
    first: Block,
    live: AtomicUsize,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots")
            .field("applied", &self.applied())
            .field("visible", &self.visible())
            .field("live", &self.live.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl Snapshots {
    /// A registry whose counters both stand at `start`.
    pub fn new(start: Timestamp) -> Arc<Snapshots> {
        Arc::new(Snapshots {
            applied: CachePadded::new(AtomicU64::new(start.0)),
            visible: CachePadded::new(AtomicU64::new(start.0)),
            first: Block::new(),
            live: AtomicUsize::new(0),
        })
    }

    /// The newest published timestamp.
    pub fn applied(&self) -> Timestamp {
        Timestamp(self.applied.load(Ordering::SeqCst))
    }

    /// The newest timestamp that a read transaction may begin at.
    pub fn visible(&self) -> Timestamp {
        Timestamp(self.visible.load(Ordering::SeqCst))
    }

    /// Sets the newest published timestamp. Under the commit gate only.
    pub fn set_applied(&self, to: Timestamp) {
        debug_assert!(to >= self.applied(), "timestamps grow");
        self.applied.store(to.0, Ordering::SeqCst);
    }

    /// Raises the newest visible timestamp; a lower value changes nothing.
    pub fn raise_visible(&self, to: Timestamp) {
        debug_assert!(to <= self.applied(), "only what is published can be seen");
        self.visible.fetch_max(to.0, Ordering::SeqCst);
    }

    /// A snapshot of the newest visible state.
    pub fn begin_visible(self: &Arc<Self>) -> Snapshot {
        self.register(&self.visible)
    }

    /// A snapshot of the newest published state, durable or not.
    pub fn begin_applied(self: &Arc<Self>) -> Snapshot {
        self.register(&self.applied)
    }

    fn register(self: &Arc<Self>, counter: &AtomicU64) -> Snapshot {
        let index = self.claim();
        let slot = self.slot(index);
        loop {
            let at = counter.load(Ordering::SeqCst);
            slot.store(at + 1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if self.visible.load(Ordering::SeqCst) <= at {
                self.live.fetch_add(1, Ordering::Relaxed);
                return Snapshot { registry: Arc::clone(self), index, at: Timestamp(at) };
            }
        }
    }

    fn claim(&self) -> usize {
        // Threads start at different slots, so that they do not fight over one cache line.
        let hint = thread_hint();
        let mut block = &self.first;
        let mut base = 0;
        loop {
            for step in 0..SLOTS {
                let index = (hint + step) % SLOTS;
                let slot = &block.slots[index];
                if slot.load(Ordering::Relaxed) == FREE
                    && slot.compare_exchange(FREE, CLAIMED, Ordering::SeqCst, Ordering::Relaxed).is_ok()
                {
                    return base + index;
                }
            }
            block = block.next.get_or_init(|| Box::new(Block::new()));
            base += SLOTS;
        }
    }

    fn slot(&self, index: usize) -> &AtomicU64 {
        let mut block = &self.first;
        for _ in 0..index / SLOTS {
            block = block.next.get().expect("the block of a claimed slot exists");
        }
        &block.slots[index % SLOTS]
    }

    /// How many snapshots are live.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Which states may still be looked at. Costs a look at every slot.
    pub fn live_set(&self) -> LiveSet {
        let visible = self.visible.load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut slots = Vec::new();
        let mut block = Some(&self.first);
        while let Some(current) = block {
            for slot in &current.slots {
                let value = slot.load(Ordering::SeqCst);
                if value != FREE && value != CLAIMED {
                    slots.push(Timestamp(value - 1));
                }
            }
            block = current.next.get().map(|next| &**next);
        }
        slots.sort_unstable();
        slots.dedup();
        LiveSet { slots, visible: Timestamp(visible) }
    }
}

/// A number that differs between threads, as far as it can.
pub(crate) fn thread_hint() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HINT: usize = NEXT.fetch_add(7, Ordering::Relaxed);
    }
    HINT.try_with(|hint| *hint).unwrap_or(0)
}

/// One state of the database, kept readable until dropped.
pub struct Snapshot {
    registry: Arc<Snapshots>,
    index: usize,
    at: Timestamp,
}

impl Snapshot {
    /// The newest commit it contains.
    #[inline]
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.registry.live.fetch_sub(1, Ordering::Relaxed);
        self.registry.slot(self.index).store(FREE, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "snapshot at {}", self.at)
    }
}

/// Who, if anybody, may still ask for something valid in an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nobody, for ever.
    Nobody,
    /// The snapshot at this timestamp (the newest such).
    Witness(Timestamp),
    /// Snapshots that may yet begin.
    Future,
}

/// The live snapshots at one moment, and `visible` at that moment.
#[derive(Clone, Debug)]
pub struct LiveSet {
    slots: Vec<Timestamp>,
    visible: Timestamp,
}

impl LiveSet {
    /// Who needs what is valid in [from, until).
    pub(crate) fn need(&self, from: Timestamp, until: Timestamp) -> Need {
        if until > self.visible {
            return Need::Future;
        }
        match self.slots[..self.slots.partition_point(|&slot| slot < until)].last() {
            Some(&slot) if slot >= from => Need::Witness(slot),
            _ => Need::Nobody,
        }
    }

    /// Whether a snapshot lives exactly there.
    pub(crate) fn contains(&self, at: Timestamp) -> bool {
        self.slots.binary_search(&at).is_ok()
    }

    /// The oldest state that anybody may look at.
    pub fn oldest(&self) -> Timestamp {
        self.slots.first().map_or(self.visible, |&slot| slot.min(self.visible))
    }

    /// `visible` at that moment.
    pub fn visible(&self) -> Timestamp {
        self.visible
    }

    /// Whether anybody may look at a state in [from, until); `until` beyond `visible` counts as yes.
    pub fn is_needed(&self, from: Timestamp, until: Timestamp) -> bool {
        self.need(from, until) != Need::Nobody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(value: u64) -> Timestamp {
        Timestamp(value)
    }

    #[test]
    fn need_is_exact_for_every_interval() {
        let registry = Snapshots::new(ts(5));
        let early = registry.begin_visible();
        registry.set_applied(ts(20));
        registry.raise_visible(ts(10));
        let late = registry.begin_applied();
        let set = registry.live_set();
        assert_eq!(set.need(ts(5), ts(6)), Need::Witness(ts(5)));
        assert_eq!(set.need(ts(6), ts(10)), Need::Nobody);
        assert_eq!(set.need(ts(0), ts(5)), Need::Nobody);
        assert_eq!(set.need(ts(6), ts(11)), Need::Future);
        assert_eq!((early.at(), late.at(), set.oldest()), (ts(5), ts(20), ts(5)));
        drop(early);
        assert_eq!(registry.live_set().oldest(), ts(10));
        drop(late);
        assert_eq!(registry.live(), 0);
    }

    #[test]
    fn more_snapshots_than_a_block_holds() {
        let registry = Snapshots::new(ts(1));
        let all: Vec<_> = (0..3 * SLOTS).map(|_| registry.begin_visible()).collect();
        assert_eq!(registry.live(), all.len());
        drop(all);
        assert_eq!(registry.live_set().oldest(), ts(1));
        assert!(registry.live_set().slots.is_empty());
    }
}
