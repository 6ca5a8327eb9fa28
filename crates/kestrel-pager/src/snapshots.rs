//! The snapshot registry: which states somebody may still look at.
//!
//! A slot per live snapshot, each a cache line of its own, in blocks that are never freed. Registering at a counter
//! (`visible` for readers, `applied` for writers):
//! 1. read the counter as S;
//! 2. store S in a free slot;
//! 3. fence;
//! 4. read `visible`: if it is greater than S, read the counter again as S, store S in the slot, and go to 3.
//!
//! A reclaimer reads `visible` as V, fences, then reads the slots. Both fences are sequentially consistent, so either
//! the reclaimer sees the slot, or the registrant sees a `visible` of at least V: then its S ends up at V or
//! later. Hence nothing that lies wholly below V and contains no slot's value can be asked for any more, and a
//! [`LiveSet`] stays a safe bound however old it gets. (A slot may hold a value for an instant that its owner then gives up:
//! a reclaimer that meets it keeps too much, not too little.)
//!
//! Beginning and ending write to nothing that threads share: a thread looks for a free slot from a place on that is its own, as
//! long as there are no more threads than slots. How many snapshots live is counted when somebody asks.
//!
//! **The last one out.** What must not go before the last snapshot is [entrusted](Snapshots::entrust) to the registry when
//! nobody may begin any more. Whoever entrusts it sets a flag, fences, and then looks at the slots; a snapshot that ends
//! frees its slot, fences, and then looks at the flag, and if that is set, fences again and looks at the slots. Of the last snapshot to end and the one
//! who entrusts, at least one sees the other; of several that end at once, the one whose last fence comes last sees all others'
//! slots free. So somebody finds no slot taken and lets go. Whoever begins looks, *after* registering, whether it still
//! may: if it is told yes, its slot was taken before the flag was set, so nobody lets go before it ends; if no, it
//! ends at once, by the same steps as any other.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::modelled::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, fence};
use std::any::Any;
use std::sync::Arc;
use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use crate::{Timestamp, thread_number};

const SLOTS: usize = if cfg!(any(kestrel_loom, kestrel_shuttle)) { 2 } else { 64 };
const FREE: u64 = 0;
/// The slot of a [`Stay`]: greater than the value of any snapshot.
const STAYS: u64 = u64::MAX;

/// The place of one snapshot.
struct Slot {
    /// [`FREE`], or the snapshot's timestamp and one, or [`STAYS`].
    value: AtomicU64,
    /// How many clones the snapshot has, itself included. One while the slot is free.
    shares: AtomicU32,
}

struct Block {
    slots: [CachePadded<Slot>; SLOTS],
    next: OnceLock<Box<Block>>,
}

impl Block {
    fn new() -> Block {
        let slot = |_| CachePadded::new(Slot { value: AtomicU64::new(FREE), shares: AtomicU32::new(1) });
        Block { slots: std::array::from_fn(slot), next: OnceLock::new() }
    }
}

/// The live snapshots, and the two counters that they begin at.
pub struct Snapshots {
    applied: CachePadded<AtomicU64>,
    visible: CachePadded<AtomicU64>,
    first: Block,
    /// Set once, together with `trust`.
    is_entrusted: AtomicBool,
    /// What goes when no snapshot is left.
    trust: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots")
            .field("applied", &self.applied())
            .field("visible", &self.visible())
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}

impl AsRef<Snapshots> for Snapshots {
    fn as_ref(&self) -> &Snapshots {
        self
    }
}

impl Snapshots {
    /// A registry whose counters both stand at `start`.
    pub fn new(start: Timestamp) -> Arc<Snapshots> {
        Arc::new(Snapshots {
            applied: CachePadded::new(AtomicU64::new(start.0)),
            visible: CachePadded::new(AtomicU64::new(start.0)),
            first: Block::new(),
            is_entrusted: AtomicBool::new(false),
            trust: Mutex::new(None),
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
        Snapshot::visible(Arc::clone(self))
    }

    /// A snapshot of the newest published state, durable or not.
    pub fn begin_applied(self: &Arc<Self>) -> Snapshot {
        Snapshot::applied(Arc::clone(self))
    }

    #[inline]
    fn register(&self, counter: &AtomicU64) -> (usize, Timestamp) {
        let mut at = counter.load(Ordering::SeqCst);
        let index = self.claim(at + 1);
        loop {
            fence(Ordering::SeqCst);
            if self.visible.load(Ordering::SeqCst) <= at {
                return (index, Timestamp(at));
            }
            at = counter.load(Ordering::SeqCst);
            self.slot(index).value.store(at + 1, Ordering::SeqCst);
        }
    }

    /// Stores a value in a free slot.
    fn claim(&self, value: u64) -> usize {
        // Seven apart, so that threads that hold several snapshots do not soon meet.
        let first = thread_number() * 7;
        let mut block = &self.first;
        let mut base = 0;
        loop {
            for step in 0..SLOTS {
                let index = (first + step) % SLOTS;
                let slot = &block.slots[index].value;
                if slot.load(Ordering::Relaxed) == FREE
                    && slot.compare_exchange(FREE, value, Ordering::SeqCst, Ordering::Relaxed).is_ok()
                {
                    return base + index;
                }
            }
            block = block.next.get_or_init(|| Box::new(Block::new()));
            base += SLOTS;
        }
    }

    #[inline]
    fn slot(&self, index: usize) -> &Slot {
        let mut block = &self.first;
        for _ in 0..index / SLOTS {
            block = block.next.get().expect("the block of a claimed slot exists");
        }
        &block.slots[index % SLOTS]
    }

    fn values(&self) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(&self.first), |block| block.next.get().map(|next| &**next))
            .flat_map(|block| &block.slots)
            .map(|slot| slot.value.load(Ordering::SeqCst))
            .filter(|&value| value != FREE)
    }

    /// How many snapshots are live, clones not counted. Costs a look at every slot.
    pub fn live(&self) -> usize {
        self.snapshots().count()
    }

    fn snapshots(&self) -> impl Iterator<Item = u64> {
        self.values().filter(|&value| value != STAYS)
    }

    /// Which states may still be looked at. Costs a look at every slot.
    pub fn live_set(&self) -> LiveSet {
        let visible = self.visible.load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut slots: Vec<Timestamp> = self.snapshots().map(|value| Timestamp(value - 1)).collect();
        slots.sort_unstable();
        slots.dedup();
        if is_planted(Bug::VersionFreedTooEarly) && slots.len() > 1 {
            slots.remove(0);
        }
        LiveSet { slots, visible: Timestamp(visible) }
    }

    /// Keeps `thing` until no snapshot is live and nobody [stays](Stay), then drops it: at once, or when the last one ends. Snapshots that begin
    /// later may delay that, and do not count on it.
    pub fn entrust(&self, thing: Box<dyn Any + Send>) {
        let before = self.trust.lock().replace(thing);
        debug_assert!(before.is_none(), "one thing is entrusted, once");
        self.is_entrusted.store(true, Ordering::Release);
        self.let_go_if_last();
    }

    /// Frees a slot, and sees whether it was the last that somebody waits for.
    #[inline]
    fn free(&self, slot: &Slot) {
        slot.value.store(FREE, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.is_entrusted.load(Ordering::Relaxed) {
            self.let_go_if_last();
        }
    }

    /// The flag is set, and this thread knows it.
    #[cold]
    fn let_go_if_last(&self) {
        // For whoever set the flag: either it sees the slot free, or its owner sees the flag. For whoever has just freed a
        // slot: a second fence, as its first may have come before somebody began who was told that he may, long before
        // the flag was set; only from here on are all their slots seen.
        fence(Ordering::SeqCst);
        if self.values().next().is_none() {
            let thing = self.trust.lock().take();
            drop(thing);
        }
    }
}

/// One state of the database, kept readable until it and its clones are dropped. `R` keeps the registry alive, and is
/// whatever its owner has at hand: so a snapshot need not count a reference that others count as well.
pub struct Snapshot<R: AsRef<Snapshots> = Arc<Snapshots>> {
    registry: R,
    index: usize,
    at: Timestamp,
}

impl<R: AsRef<Snapshots>> Snapshot<R> {
    /// A snapshot of the newest visible state.
    #[inline]
    pub fn visible(registry: R) -> Snapshot<R> {
        let snapshots = registry.as_ref();
        let (index, at) = snapshots.register(&snapshots.visible);
        Snapshot { registry, index, at }
    }

    /// A snapshot of the newest published state, durable or not.
    pub fn applied(registry: R) -> Snapshot<R> {
        let snapshots = registry.as_ref();
        let (index, at) = snapshots.register(&snapshots.applied);
        Snapshot { registry, index, at }
    }

    /// The newest commit it contains.
    #[inline]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What it was begun with.
    #[inline]
    pub fn registry(&self) -> &R {
        &self.registry
    }

    /// Ends the snapshot, but stays. (If it has clones, these go on, and this one goes on with them.)
    #[must_use]
    pub fn into_stay(self) -> Stay<R> {
        let slot = self.registry.as_ref().slot(self.index);
        // As in `drop`.
        if slot.shares.load(Ordering::Acquire) == 1 {
            slot.value.store(STAYS, Ordering::Release);
        }
        Stay { _slot: self }
    }
}

/// Keeps what is [entrusted](Snapshots::entrust) to the registry, as a snapshot does, but no state of any page. For calls that may
/// write to files after everybody else has ended; who begins looks, after this, whether it still may.
pub struct Stay<R: AsRef<Snapshots> = Arc<Snapshots>> {
    /// What it would show is gone.
    _slot: Snapshot<R>,
}

impl<R: AsRef<Snapshots>> Stay<R> {
    /// From here on.
    pub fn begin(registry: R) -> Stay<R> {
        let index = registry.as_ref().claim(STAYS);
        fence(Ordering::SeqCst);
        Stay { _slot: Snapshot { registry, index, at: Timestamp(STAYS - 1) } }
    }
}

impl<R: AsRef<Snapshots> + Clone> Clone for Snapshot<R> {
    /// The same snapshot, in the same slot: a second slot could be missed by a reclaimer that has passed it when it is
    /// taken, and meets the first when that is free already.
    fn clone(&self) -> Snapshot<R> {
        let registry = self.registry.clone();
        let before = registry.as_ref().slot(self.index).shares.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "more than two billion clones of a snapshot");
        Snapshot { registry, index: self.index, at: self.at }
    }
}

impl<R: AsRef<Snapshots>> Drop for Snapshot<R> {
    fn drop(&mut self) {
        let registry = self.registry.as_ref();
        let slot = registry.slot(self.index);
        // If this is the only one, nobody is left who could make a clone of it. Acquire, here as below: what was done with
        // clones that are gone comes before the end of the slot.
        if slot.shares.load(Ordering::Acquire) != 1 {
            if slot.shares.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            slot.shares.store(1, Ordering::Relaxed);
        }
        registry.free(slot);
    }
}

impl<R: AsRef<Snapshots>> std::fmt::Debug for Snapshot<R> {
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

#[cfg(all(test, kestrel_loom))]
mod models;

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

    #[test]
    fn clones_are_one_snapshot_until_the_last_is_gone() {
        let registry = Snapshots::new(ts(7));
        let one = registry.begin_visible();
        let two = one.clone();
        registry.set_applied(ts(9));
        registry.raise_visible(ts(9));
        assert_eq!((registry.live(), two.at()), (1, ts(7)));
        drop(one);
        assert_eq!(registry.live_set().oldest(), ts(7));
        let three = two.clone();
        drop(two);
        drop(three);
        assert_eq!(registry.live(), 0);
        drop(registry.begin_visible());
        assert_eq!(registry.live(), 0, "a slot is as good as new");
    }

    #[test]
    fn a_thread_comes_back_to_its_slots_and_meets_no_other_thread_there() {
        let registry = Snapshots::new(ts(1));
        let slots = || {
            let outer = registry.begin_visible();
            (outer.index, registry.begin_applied().index)
        };
        let mine = slots();
        for _ in 0..10 {
            assert_eq!(slots(), mine);
        }
        let other = std::thread::scope(|scope| scope.spawn(slots).join());
        assert!(other.is_ok_and(|other| other != mine && other.0 != mine.1 && other.1 != mine.0));
    }

    #[test]
    fn a_borrowed_snapshot_counts_no_reference() {
        let registry = Snapshots::new(ts(3));
        let snapshot = Snapshot::visible(&*registry);
        assert_eq!((snapshot.at(), registry.live(), Arc::strong_count(&registry)), (ts(3), 1, 1));
        drop(snapshot);
        assert_eq!(registry.live(), 0);
    }

    #[test]
    fn what_was_entrusted_goes_with_the_last_snapshot() {
        let thing = Arc::new(());
        let is_gone = || Arc::strong_count(&thing) == 1;
        let registry = Snapshots::new(ts(1));
        registry.entrust(Box::new(Arc::clone(&thing)));
        assert!(is_gone(), "nobody was there");

        let registry = Snapshots::new(ts(1));
        let (one, two) = (registry.begin_visible(), registry.begin_applied());
        let three = one.clone();
        registry.entrust(Box::new(Arc::clone(&thing)));
        for snapshot in [one, two] {
            drop(snapshot);
            assert!(!is_gone());
        }
        drop(three);
        assert!(is_gone());
        drop(registry.begin_visible());
    }

    #[test]
    fn of_threads_that_end_at_once_one_is_the_last() {
        for _ in 0..if cfg!(miri) { 5 } else { 500 } {
            let thing = Arc::new(());
            let registry = Snapshots::new(ts(1));
            let barrier = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let snapshot = registry.begin_visible();
                    let (registry, barrier, thing) = (&registry, &barrier, &thing);
                    scope.spawn(move || {
                        barrier.wait();
                        assert_eq!(Arc::strong_count(thing), 2, "not while this one lives");
                        drop(snapshot);
                        drop(registry.begin_visible());
                    });
                }
                registry_entrusts(&registry, &barrier, &thing);
            });
            assert_eq!(Arc::strong_count(&thing), 1, "somebody let go");
        }
    }

    #[test]
    fn who_stays_keeps_what_was_entrusted_and_no_state() {
        let thing = Arc::new(());
        let registry = Snapshots::new(ts(5));
        let snapshot = registry.begin_visible();
        let second = Stay::begin(&*registry);
        assert_eq!((registry.live(), registry.live_set().oldest()), (1, ts(5)));
        registry.set_applied(ts(9));
        registry.raise_visible(ts(9));
        let first = snapshot.into_stay();
        assert_eq!((registry.live(), registry.live_set().oldest()), (0, ts(9)));
        assert_eq!(registry.live_set().need(ts(5), ts(9)), Need::Nobody);
        registry.entrust(Box::new(Arc::clone(&thing)));
        drop(first);
        assert_eq!(Arc::strong_count(&thing), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&thing), 1);
    }

    fn registry_entrusts(registry: &Snapshots, barrier: &std::sync::Barrier, thing: &Arc<()>) {
        let share = Arc::clone(thing);
        barrier.wait();
        registry.entrust(Box::new(share));
    }
}
