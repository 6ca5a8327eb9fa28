//! Which lists there are: each has a slot, and gives it to another list when it is long enough.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::RngExt;
use rand::rngs::StdRng;

use crate::Key;

/// Lists that everybody uses.
const HOT: usize = 12;
/// Lists that are used now and then.
const COLD: usize = 1200;
/// How many operations of a hundred are on hot lists.
const HOT_PERCENT: u32 = 50;
/// How long lists get. The longest do not fit a page's share for one value.
const LENGTHS: [u32; 4] = [32, 64, 96, 160];

/// See the module's description.
pub(super) struct Keys {
    slots: Vec<AtomicU32>,
    next: AtomicU32,
    retired: Mutex<Retired>,
}

#[derive(Default)]
struct Retired {
    /// All that have left their slot. Known before anybody can see the list removed.
    all: HashSet<Key>,
    /// Those that are still to be removed.
    waiting: Vec<Key>,
}

/// A list in its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chosen {
    slot: usize,
    pub(super) key: Key,
}

impl Keys {
    pub(super) fn new() -> Keys {
        let count = (HOT + COLD) as u32;
        let slots = (0..count).map(AtomicU32::new).collect();
        Keys { slots, next: AtomicU32::new(count), retired: Mutex::default() }
    }

    pub(super) fn choose(&self, dice: &mut StdRng) -> Chosen {
        let hot = dice.random_ratio(HOT_PERCENT, 100);
        let slot = if hot { dice.random_range(..HOT) } else { dice.random_range(HOT..HOT + COLD) };
        Chosen { slot, key: Key(self.slots[slot].load(Ordering::SeqCst)) }
    }

    /// A list was seen with so many elements.
    pub(super) fn seen(&self, Chosen { slot, key }: Chosen, len: u32) {
        // Spread by a multiplication (Knuth), so that neighbours differ.
        let length = LENGTHS[(key.0.wrapping_mul(0x9E37_79B1) >> 30) as usize];
        if len < length || self.slots[slot].load(Ordering::SeqCst) != key.0 {
            return;
        }
        let mut retired = self.retired();
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        if self.slots[slot].compare_exchange(key.0, next, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            retired.all.insert(key);
            retired.waiting.push(key);
        }
    }

    /// Whether a list is being removed, or was.
    pub(super) fn is_retired(&self, key: Key) -> bool {
        self.retired().all.contains(&key)
    }

    /// Up to `count` lists that are to be removed.
    pub(super) fn take_retired(&self, count: usize) -> Vec<Key> {
        let mut retired = self.retired();
        let keep = retired.waiting.len().saturating_sub(count);
        retired.waiting.split_off(keep)
    }

    /// Their removal failed.
    pub(super) fn give_back(&self, keys: &[Key]) {
        self.retired().waiting.extend(keys);
    }

    /// All that were not removed.
    pub(super) fn all(&self) -> Vec<Key> {
        let slots = self.slots.iter().map(|slot| Key(slot.load(Ordering::SeqCst)));
        slots.chain(self.retired().waiting.iter().copied()).collect()
    }

    fn retired(&self) -> MutexGuard<'_, Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_gives_way_to_another_once() {
        let keys = Keys::new();
        let chosen = Chosen { slot: 3, key: Key(3) };
        keys.seen(chosen, 31);
        assert!(!keys.is_retired(Key(3)));
        keys.seen(chosen, 160);
        keys.seen(chosen, 160);
        assert!(keys.is_retired(Key(3)) && !keys.is_retired(Key((HOT + COLD) as u32)));
        assert_eq!(keys.take_retired(5), [Key(3)]);
        assert_eq!((keys.take_retired(5), keys.all().len()), (vec![], HOT + COLD));
        keys.give_back(&[Key(3)]);
        assert!(keys.all().contains(&Key(3)));
    }
}
