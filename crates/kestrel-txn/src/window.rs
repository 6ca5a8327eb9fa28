//! The conflict window: what was committed while write transactions were open.
//!
//! A commit is remembered only if another write transaction is open, and forgotten when none is left that began before
//! it. Memory is bounded: beyond the bound the oldest commits are merged into one that holds fewer, wider ranges. So a
//! long transaction meets conflicts where there are none, but only near what others wrote.
//!
//! Invariant: for every open transaction, each later commit is part of an entry whose timestamp is not before it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kestrel_pager::Timestamp;

use crate::claim_set::ClaimSet;

/// What one commit wrote, or several whose newest is this one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) ts: Timestamp,
    pub(crate) written: Arc<ClaimSet>,
    bytes: usize,
}

impl Entry {
    fn new(ts: Timestamp, written: Arc<ClaimSet>) -> Entry {
        let bytes = written.bytes() + size_of::<Entry>();
        Entry { ts, written, bytes }
    }
}

/// The commits that an open write transaction may conflict with.
#[derive(Debug)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    /// Open write transactions by the snapshot they began at.
    open: BTreeMap<Timestamp, usize>,
    opened: usize,
    bytes: usize,
    limit: usize,
    /// How many entries were forgotten; how often some were merged.
    forgotten: u64,
    merges: u64,
    merging: bool,
}

/// The oldest entries, to be merged outside of the window's lock.
pub(crate) struct Merge {
    entries: Vec<Entry>,
    room: usize,
    forgotten: u64,
    merges: u64,
}

impl Window {
    pub(crate) fn new(limit: usize) -> Window {
        Window {
            entries: VecDeque::new(),
            open: BTreeMap::new(),
            opened: 0,
            bytes: 0,
            limit,
            forgotten: 0,
            merges: 0,
            merging: false,
        }
    }

    /// A write transaction begins at a snapshot.
    pub(crate) fn open(&mut self, at: Timestamp) {
        *self.open.entry(at).or_default() += 1;
        self.opened += 1;
    }

    /// A write transaction that began at a snapshot has ended. Returns what is forgotten with it, to be dropped outside
    /// of the window's lock.
    pub(crate) fn close(&mut self, at: Timestamp) -> Vec<Entry> {
        if let Some(count) = self.open.get_mut(&at) {
            *count -= 1;
            self.opened -= 1;
            if *count == 0 {
                self.open.remove(&at);
            }
        }
        let oldest = self.open.keys().next().copied().unwrap_or(Timestamp::MAX);
        let count = self.entries.partition_point(|entry| entry.ts <= oldest);
        self.forgotten += count as u64;
        self.take_oldest(count)
    }

    fn take_oldest(&mut self, count: usize) -> Vec<Entry> {
        let taken: Vec<Entry> = self.entries.drain(..count).collect();
        self.bytes -= taken.iter().map(|entry| entry.bytes).sum::<usize>();
        taken
    }

    /// Whether the commit of an open transaction has to be remembered: another one is open.
    pub(crate) fn is_watched(&self) -> bool {
        self.opened > 1
    }

    /// The oldest commits since a timestamp, at most so many.
    pub(crate) fn later(&self, since: Timestamp, most: usize) -> Vec<Entry> {
        // Usually there is none, or one.
        if self.entries.back().is_none_or(|entry| entry.ts <= since) {
            return Vec::new();
        }
        let from = self.entries.partition_point(|entry| entry.ts <= since);
        self.entries.range(from..).take(most).cloned().collect()
    }

    /// Remembers the newest commit. Takes constant time, but for when whoever is to merge does not keep up.
    /// Returns whether it is time to merge.
    pub(crate) fn add(&mut self, ts: Timestamp, written: Arc<ClaimSet>) -> bool {
        debug_assert!(self.entries.back().is_none_or(|entry| entry.ts < ts), "commits come in order");
        let entry = Entry::new(ts, written);
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        if self.bytes > self.limit {
            let merge = self.oldest();
            let merged = merge.run();
            self.put_back(merge.entries.len(), merged);
        }
        self.is_crowded()
    }

    fn is_crowded(&self) -> bool {
        self.bytes > self.limit / 4 * 3
    }

    /// What has to be merged, if nobody else is at it. Must be answered with [`Window::end_merge`].
    pub(crate) fn begin_merge(&mut self) -> Option<Merge> {
        if self.merging || !self.is_crowded() {
            return None;
        }
        self.merging = true;
        Some(self.oldest())
    }

    /// The oldest entries, up to those that leave half of the memory to the others.
    fn oldest(&self) -> Merge {
        let mut left = self.bytes;
        let too_old = |entry: &&Entry| {
            let old = left > self.limit / 2;
            left -= entry.bytes.min(left);
            old
        };
        let entries: Vec<Entry> = self.entries.iter().take_while(too_old).cloned().collect();
        Merge { entries, room: self.limit / 4, forgotten: self.forgotten, merges: self.merges }
    }

    /// Puts the outcome in the place of what was merged, if that is still there.
    pub(crate) fn end_merge(&mut self, merge: &Merge, merged: Option<Entry>) {
        self.merging = false;
        if merge.merges != self.merges {
            return;
        }
        let gone = usize::try_from(self.forgotten - merge.forgotten).unwrap_or(usize::MAX);
        self.put_back(merge.entries.len().saturating_sub(gone), merged);
    }

    fn put_back(&mut self, count: usize, merged: Option<Entry>) {
        let Some(merged) = merged.filter(|_| count > 0) else { return };
        debug_assert!(self.entries.get(count - 1).is_some_and(|entry| entry.ts == merged.ts));
        drop(self.take_oldest(count));
        self.bytes += merged.bytes;
        self.entries.push_front(merged);
        self.merges += 1;
    }
}

impl Merge {
    /// Does the work.
    pub(crate) fn run(&self) -> Option<Entry> {
        let newest = self.entries.last()?;
        let sets: Vec<Arc<ClaimSet>> = self.entries.iter().map(|entry| Arc::clone(&entry.written)).collect();
        Some(Entry::new(newest.ts, Arc::new(ClaimSet::merged(&sets, self.room))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_range::KeyRange;
    use crate::key_set::KeySet;
    use kestrel_pager::TreeId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const TREE: TreeId = TreeId(1);

    /// Keys of one byte and ranges of them, exactly.
    #[derive(Clone, Debug, Default)]
    struct Model {
        keys: BTreeSet<(u8, u8)>,
        ranges: Vec<(u8, u8, u8)>,
    }

    impl Model {
        fn set(&self) -> ClaimSet {
            let mut set = KeySet::new(usize::MAX);
            for (tree, key) in &self.keys {
                set.add(TreeId(u32::from(*tree)), &[*key]);
            }
            for (tree, low, high) in &self.ranges {
                set.add_range(KeyRange::new(TreeId(u32::from(*tree)), &[*low], Some(&[*high])));
            }
            set.into_claims()
        }

        fn holds(&self, tree: u8, key: u8) -> bool {
            let within = |range: &(u8, u8, u8)| range.0 == tree && range.1 <= key && key < range.2;
            self.keys.contains(&(tree, key)) || self.ranges.iter().any(within)
        }

        fn meets(&self, other: &Model) -> bool {
            (0..3).any(|tree| (0..=255).any(|key| self.holds(tree, key) && other.holds(tree, key)))
        }
    }

    fn model() -> impl Strategy<Value = Model> {
        let keys = proptest::collection::btree_set((0..3_u8, 0..100_u8), 0..6);
        let range = (0..3_u8, 0..100_u8, 1..9_u8).prop_map(|(tree, low, len)| (tree, low, low + len));
        let ranges = prop_oneof![4 => Just(Vec::new()), 1 => proptest::collection::vec(range, 0..3)];
        (keys, ranges).prop_map(|(keys, ranges)| Model { keys, ranges })
    }

    fn collides(window: &Window, since: u64, claims: &ClaimSet) -> bool {
        window.later(Timestamp(since), usize::MAX).iter().any(|entry| {
            claims.key_collision(&entry.written).is_some() || claims.range_collision(&entry.written).is_some()
        })
    }

    fn one_key(key: &[u8]) -> Arc<ClaimSet> {
        let mut set = KeySet::new(usize::MAX);
        set.add(TREE, key);
        Arc::new(set.into_claims())
    }

    #[test]
    fn only_later_commits_on_the_same_keys_conflict() {
        let mut window = Window::new(1 << 20);
        window.open(Timestamp(1));
        window.open(Timestamp(2));
        window.add(Timestamp(2), one_key(b"a"));
        window.add(Timestamp(3), one_key(b"m"));
        let meets = |since: u64, key: &[u8]| collides(&window, since, &one_key(key));
        assert!(meets(1, b"a") && !meets(2, b"a"));
        assert!(meets(2, b"m") && !meets(3, b"m") && !meets(1, b"x"));
    }

    #[test]
    fn what_no_open_transaction_can_meet_is_forgotten() {
        let mut window = Window::new(1 << 20);
        for at in [1, 1, 5] {
            window.open(Timestamp(at));
        }
        for ts in 2..=9 {
            window.add(Timestamp(ts), one_key(b"a"));
        }
        assert_eq!(window.close(Timestamp(1)).len(), 0);
        assert_eq!(window.close(Timestamp(1)).len(), 4);
        assert!(!window.is_watched());
        assert_eq!(window.close(Timestamp(5)).len(), 4);
        assert_eq!((window.entries.len(), window.bytes), (0, 0));
    }

    #[test]
    fn over_its_bound_the_window_knows_old_commits_coarsely() {
        let limit = 20_000;
        for outside in [false, true] {
            let mut window = Window::new(limit);
            window.open(Timestamp(1));
            window.open(Timestamp(1));
            for ts in 2..5000_u64 {
                let crowded = window.add(Timestamp(ts), one_key(&(ts % 2 * 1_000_000 + ts).to_be_bytes()));
                if crowded
                    && outside
                    && let Some(merge) = window.begin_merge()
                {
                    assert!(window.begin_merge().is_none(), "one at a time");
                    let merged = merge.run();
                    window.end_merge(&merge, merged);
                }
                assert!(window.bytes <= limit, "{} bytes", window.bytes);
            }
            let meets = |since, key: u64| collides(&window, since, &one_key(&key.to_be_bytes()));
            assert!((2..5000).all(|ts| meets(1, ts % 2 * 1_000_000 + ts)));
            assert!(!meets(1, 500_000) && !meets(1, 2_000_000) && !meets(4999, 4998));
            assert!(meets(4000, 1_004_999) && !meets(4990, 1_000_003), "the newest are known exactly");
            let bytes = window.entries.iter().map(|entry| entry.bytes).sum::<usize>();
            assert_eq!(window.bytes, bytes);
        }
    }

    #[test]
    fn what_changes_during_a_merge_is_not_lost() {
        // What of the merged entries is forgotten meanwhile, and whether somebody else merged.
        for (forgotten, full) in [(0, false), (3, false), (200, false), (0, true)] {
            let mut window = Window::new(20_000);
            window.open(Timestamp(1));
            window.open(Timestamp(1 + forgotten));
            window.open(Timestamp(1_000_000));
            let mut ts = 1;
            let mut add = |window: &mut Window| {
                ts += 1;
                window.add(Timestamp(ts), one_key(&ts.to_be_bytes()))
            };
            while !add(&mut window) {}
            let merge = window.begin_merge();
            window.close(Timestamp(1));
            for _ in 0..if full { 2000 } else { 10 } {
                add(&mut window);
            }
            if let Some(merge) = merge {
                let merged = merge.run();
                window.end_merge(&merge, merged);
            }
            assert_eq!(window.bytes, window.entries.iter().map(|entry| entry.bytes).sum::<usize>());
            for key in 2 + forgotten..=ts {
                assert!(collides(&window, 1 + forgotten, &one_key(&key.to_be_bytes())), "key {key}");
            }
            assert!(window.entries.iter().is_sorted_by(|a, b| a.ts < b.ts));
        }
    }

    proptest! {
        /// Against the list of all commits: no conflict is missed, and none is made up unless memory was short.
        #[test]
        fn the_window_finds_what_a_list_of_all_commits_finds(
            commits in proptest::collection::vec(model(), 1..60),
            mine in proptest::collection::vec((0..60_u64, model()), 1..20),
            limit in prop_oneof![Just(1 << 20), 2000..8000_usize],
        ) {
            let mut window = Window::new(limit);
            window.open(Timestamp(0));
            window.open(Timestamp(0));
            for (ts, commit) in (1..).zip(&commits) {
                window.add(Timestamp(ts), Arc::new(commit.set()));
            }
            prop_assert!(window.bytes <= limit);
            for (since, mine) in mine {
                let met = commits.iter().skip(since as usize).any(|commit| commit.meets(&mine));
                let found = collides(&window, since, &mine.set());
                prop_assert!(found || !met, "missed");
                prop_assert!(met || !found || window.merges > 0, "made up");
            }
        }
    }
}
