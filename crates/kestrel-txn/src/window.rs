//! The conflict window: what was committed while write transactions were open.
//!
//! A commit is remembered only if another write transaction is open, and forgotten when none is left that began before
//! it. A transaction conflicts with a later commit that wrote what it read or wrote. Memory is bounded: beyond the
//! bound the oldest commits go, and transactions older than those conflict.

use std::collections::{BTreeMap, HashSet, VecDeque};

use kestrel_pager::{Timestamp, TreeId};

use crate::Error;
use crate::key_range::{KeyRange, key_hash};

/// What one commit wrote.
#[derive(Debug)]
pub(crate) struct CommitEntry {
    ts: Timestamp,
    hashes: HashSet<u64>,
    keys: Vec<(TreeId, Box<[u8]>)>,
    ranges: Vec<KeyRange>,
    bytes: usize,
}

impl CommitEntry {
    pub(crate) fn new<'k>(
        ts: Timestamp,
        points: impl Iterator<Item = (TreeId, &'k [u8])>,
        ranges: Vec<KeyRange>,
    ) -> CommitEntry {
        let mut keys: Vec<(TreeId, Box<[u8]>)> = points.map(|(tree, key)| (tree, key.into())).collect();
        keys.sort_unstable();
        keys.dedup();
        let hashes: HashSet<u64> = keys.iter().map(|(tree, key)| key_hash(*tree, key)).collect();
        let bytes = keys.iter().map(|(_, key)| key.len() + 48).sum::<usize>() + ranges.len() * 128 + 128;
        CommitEntry { ts, hashes, keys, ranges, bytes }
    }

    fn wrote(&self, tree: TreeId, key: &[u8]) -> bool {
        (!self.hashes.is_empty() && self.hashes.contains(&key_hash(tree, key)))
            || self.ranges.iter().any(|range| range.contains(tree, key))
    }

    fn wrote_in(&self, range: &KeyRange) -> bool {
        let at =
            self.keys.partition_point(|(tree, key)| (*tree, &**key) < (range.tree, range.low.as_slice()));
        self.keys.get(at).is_some_and(|(tree, key)| range.contains(*tree, key))
            || self.ranges.iter().any(|other| other.overlaps(range))
    }
}

/// The commits that an open write transaction may conflict with.
#[derive(Debug)]
pub(crate) struct Window {
    entries: VecDeque<CommitEntry>,
    /// Open write transactions by the snapshot they began at.
    open: BTreeMap<Timestamp, usize>,
    bytes: usize,
    limit: usize,
    /// Transactions that began before this cannot be validated any more.
    floor: Timestamp,
}

impl Window {
    pub(crate) fn new(limit: usize) -> Window {
        Window { entries: VecDeque::new(), open: BTreeMap::new(), bytes: 0, limit, floor: Timestamp(0) }
    }

    /// A write transaction begins at a snapshot.
    pub(crate) fn open(&mut self, at: Timestamp) {
        *self.open.entry(at).or_default() += 1;
    }

    /// A write transaction that began at a snapshot has ended.
    pub(crate) fn close(&mut self, at: Timestamp) {
        if let Some(count) = self.open.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&at);
            }
        }
        let oldest = self.open.keys().next().copied().unwrap_or(Timestamp::MAX);
        while self.entries.front().is_some_and(|entry| entry.ts <= oldest) {
            self.forget_oldest();
        }
    }

    /// Whether a commit of a transaction has to be remembered: another one is open.
    pub(crate) fn is_watched(&self) -> bool {
        self.open.values().sum::<usize>() > 1
    }

    pub(crate) fn add(&mut self, entry: CommitEntry) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        while self.bytes > self.limit {
            if let Some(oldest) = self.entries.front() {
                self.floor = oldest.ts;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes;
        }
    }

    /// Whether any commit is remembered that came after a snapshot, or may have been forgotten.
    pub(crate) fn has_news(&self, since: Timestamp) -> bool {
        since < self.floor || self.entries.back().is_some_and(|entry| entry.ts > since)
    }

    /// Checks what a transaction that began at `since` relied on against all later commits.
    pub(crate) fn validate<'k>(
        &self,
        since: Timestamp,
        points: impl Iterator<Item = (TreeId, &'k [u8])>,
        ranges: impl Iterator<Item = KeyRange>,
    ) -> Result<(), Error> {
        if since < self.floor {
            return Err(Error::conflict("is no longer remembered, as this one took so long"));
        }
        let later = self.entries.partition_point(|entry| entry.ts <= since);
        let later: Vec<&CommitEntry> = self.entries.range(later..).collect();
        if later.is_empty() {
            return Ok(());
        }
        for (tree, key) in points {
            if later.iter().any(|entry| entry.wrote(tree, key)) {
                return Err(Error::conflict("changed a key that this one read or wrote"));
            }
        }
        for range in ranges {
            if later.iter().any(|entry| entry.wrote_in(&range)) {
                return Err(Error::conflict("changed a range of keys that this one scanned or removed"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TREE: TreeId = TreeId(1);

    fn entry(ts: u64, key: &[u8]) -> CommitEntry {
        CommitEntry::new(Timestamp(ts), [(TREE, key)].into_iter(), Vec::new())
    }

    fn range(low: &[u8], high: &[u8]) -> KeyRange {
        KeyRange { tree: TREE, low: low.into(), high: Some(high.into()) }
    }

    #[test]
    fn only_later_commits_on_the_same_keys_conflict() {
        let mut window = Window::new(1 << 20);
        window.open(Timestamp(1));
        window.open(Timestamp(2));
        window.add(entry(2, b"a"));
        window.add(entry(3, b"m"));
        let validate = |since: u64, key: &[u8]| {
            window.validate(Timestamp(since), [(TREE, key)].into_iter(), [].into_iter())
        };
        assert!(validate(1, b"a").is_err() && validate(2, b"a").is_ok());
        assert!(validate(2, b"m").is_err() && validate(3, b"m").is_ok() && validate(1, b"x").is_ok());
        let ranged = |r: KeyRange| window.validate(Timestamp(2), [].into_iter(), [r].into_iter());
        assert!(ranged(range(b"a", b"m")).is_ok() && ranged(range(b"a", b"m\0")).is_err());
    }

    #[test]
    fn a_removed_range_conflicts_with_keys_in_it() {
        let mut window = Window::new(1 << 20);
        window.open(Timestamp(1));
        window.add(CommitEntry::new(Timestamp(2), std::iter::empty(), vec![range(b"b", b"d")]));
        let validate = |key: &[u8]| window.validate(Timestamp(1), [(TREE, key)].into_iter(), [].into_iter());
        assert!(validate(b"c").is_err() && validate(b"d").is_ok());
    }

    #[test]
    fn what_was_forgotten_is_a_conflict() {
        let mut window = Window::new(1000);
        window.open(Timestamp(1));
        window.open(Timestamp(40));
        for ts in 2..40 {
            window.add(entry(ts, b"key"));
        }
        let validate = |window: &Window, since| {
            window.validate(Timestamp(since), [(TREE, &b"other"[..])].into_iter(), [].into_iter())
        };
        assert!(validate(&window, 1).is_err() && validate(&window, 40).is_ok());
        window.close(Timestamp(1));
        assert_eq!((window.entries.len(), window.bytes), (0, 0));
    }
}
