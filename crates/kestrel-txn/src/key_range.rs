//! Sets of keys of several trees: points in order of arrival, and half-open ranges.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::ops::Bound;

use kestrel_pager::TreeId;

/// From `low` up to, not including, `high` (`None`: to the end of the tree).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyRange {
    pub(crate) tree: TreeId,
    pub(crate) low: Vec<u8>,
    pub(crate) high: Option<Vec<u8>>,
}

impl KeyRange {
    pub(crate) fn whole(tree: TreeId) -> KeyRange {
        KeyRange { tree, low: Vec::new(), high: None }
    }

    pub(crate) fn contains(&self, tree: TreeId, key: &[u8]) -> bool {
        self.tree == tree && self.low.as_slice() <= key && self.high.as_deref().is_none_or(|high| key < high)
    }

    pub(crate) fn overlaps(&self, other: &KeyRange) -> bool {
        let below = |low: &[u8], high: &Option<Vec<u8>>| high.as_deref().is_none_or(|high| low < high);
        self.tree == other.tree && below(&self.low, &other.high) && below(&other.low, &self.high)
    }

    fn bytes(&self) -> usize {
        self.low.len() + self.high.as_ref().map_or(0, Vec::len) + size_of::<KeyRange>()
    }
}

/// The least key greater than this one.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// A pair of bounds as half-open limits; `None` if no key lies between them.
pub(crate) fn limits(low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let low = match low {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => successor(key),
    };
    let high = match high {
        Bound::Unbounded => None,
        Bound::Excluded(key) => Some(key.to_vec()),
        Bound::Included(key) => Some(successor(key)),
    };
    high.as_ref().is_none_or(|high| low < *high).then_some((low, high))
}

/// A hash by which sets of keys are compared. Equal hashes of different keys cost a retry, never an anomaly.
pub(crate) fn key_hash(tree: TreeId, key: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u32(tree.0);
    hasher.write(key);
    hasher.finish()
}

/// Keys and ranges that a transaction relied on, in bounded memory: beyond the bound the keys of a tree become one
/// range from the least to the greatest.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    /// `| tree u32 | length u16 | key |` each.
    points: Vec<u8>,
    ranges: Vec<KeyRange>,
    range_bytes: usize,
    limit: usize,
}

impl KeySet {
    pub(crate) fn new(limit: usize) -> KeySet {
        KeySet { limit, ..KeySet::default() }
    }

    pub(crate) fn add(&mut self, tree: TreeId, key: &[u8]) {
        self.points.extend_from_slice(&tree.0.to_le_bytes());
        self.points.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.points.extend_from_slice(key);
        self.bound();
    }

    /// Adds a range; one that goes on where the last ended (or ends where it began) is joined with it.
    pub(crate) fn add_range(&mut self, range: KeyRange) {
        if let Some(last) = self.ranges.last_mut().filter(|last| last.tree == range.tree) {
            if last.high.as_ref() == Some(&range.low) {
                last.high = range.high;
                return;
            }
            if range.high.as_ref() == Some(&last.low) {
                last.low = range.low;
                return;
            }
            if *last == range {
                return;
            }
        }
        self.range_bytes += range.bytes();
        self.ranges.push(range);
        self.bound();
    }

    fn bound(&mut self) {
        if self.points.len() + self.range_bytes <= self.limit {
            return;
        }
        let mut coarse: BTreeMap<u32, KeyRange> = BTreeMap::new();
        let mut widen = |range: KeyRange| {
            let Some(wide) = coarse.get_mut(&range.tree.0) else {
                coarse.insert(range.tree.0, range);
                return;
            };
            if range.low < wide.low {
                wide.low = range.low;
            }
            wide.high = match (wide.high.take(), range.high) {
                (Some(a), Some(b)) => Some(a.max(b)),
                _ => None,
            };
        };
        for (tree, key) in points(&self.points) {
            widen(KeyRange { tree, low: key.to_vec(), high: Some(successor(key)) });
        }
        self.ranges.drain(..).for_each(&mut widen);
        self.points = Vec::new();
        self.ranges = coarse.into_values().collect();
        self.range_bytes = self.ranges.iter().map(KeyRange::bytes).sum();
        // However many trees there are, from here on it is rarely done again.
        self.limit = self.limit.max(2 * self.range_bytes);
    }

    pub(crate) fn points(&self) -> impl Iterator<Item = (TreeId, &[u8])> {
        points(&self.points)
    }

    pub(crate) fn ranges(&self) -> &[KeyRange] {
        &self.ranges
    }
}

fn points(bytes: &[u8]) -> impl Iterator<Item = (TreeId, &[u8])> {
    let mut reader = crate::operation::Reader(bytes);
    std::iter::from_fn(move || {
        let tree = TreeId(reader.u32()?);
        Some((tree, reader.short()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_keys_become_ranges_that_hold_them() {
        let mut set = KeySet::new(400);
        for index in 0..100_u8 {
            set.add(TreeId(1 + u32::from(index % 2)), &[index]);
        }
        set.add_range(KeyRange { tree: TreeId(3), low: vec![1], high: None });
        for index in 0..100_u8 {
            let tree = TreeId(1 + u32::from(index % 2));
            let held = set.points().any(|point| point == (tree, &[index][..]))
                || set.ranges().iter().any(|range| range.contains(tree, &[index]));
            assert!(held, "key {index}");
        }
        assert!(set.ranges().iter().any(|range| range.contains(TreeId(3), b"x")));
    }

    #[test]
    fn ranges_that_meet_are_joined() {
        let range =
            |low: &[u8], high: &[u8]| KeyRange { tree: TreeId(1), low: low.into(), high: Some(high.into()) };
        let mut set = KeySet::new(1000);
        set.add_range(range(b"b", b"c"));
        set.add_range(range(b"c", b"d"));
        set.add_range(range(b"a", b"b"));
        assert_eq!(set.ranges(), [range(b"a", b"d")]);
        assert!(
            range(b"a", b"c").overlaps(&range(b"b", b"d")) && !range(b"a", b"b").overlaps(&range(b"b", b"c"))
        );
        assert!(limits(Bound::Excluded(b"a"), Bound::Excluded(b"a\0")).is_none());
    }
}
