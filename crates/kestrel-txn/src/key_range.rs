//! Ranges of keys, of one tree or several.
//!
//! Keys of all trees are ordered by a *place*: `| tree u32, big endian | key |`. A range goes from one place up to, not
//! including, another; so it needs no cases for the end of a tree, and at its coarsest holds several trees.

use std::ops::Bound;

use kestrel_pager::TreeId;

/// Bytes of a place before its key.
const TREE: usize = 4;
/// Longer than any place.
const BEYOND: usize = TREE + u16::MAX as usize + 1;

/// From the place `low` up to, not including, the place `high`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyRange {
    pub(crate) low: Vec<u8>,
    pub(crate) high: Vec<u8>,
}

impl KeyRange {
    /// The keys of a tree from `low` up to, not including, `high` (`None`: to the end of the tree).
    pub(crate) fn new(tree: TreeId, low: &[u8], high: Option<&[u8]>) -> KeyRange {
        KeyRange { low: place(tree, low), high: high.map_or_else(|| end_of(tree), |high| place(tree, high)) }
    }

    pub(crate) fn whole(tree: TreeId) -> KeyRange {
        KeyRange::new(tree, &[], None)
    }

    /// What two ranges have in common.
    pub(crate) fn common(&self, other: &KeyRange) -> Option<KeyRange> {
        let (low, high) = (self.low.as_slice().max(&other.low), self.high.as_slice().min(&other.high));
        (low < high).then(|| KeyRange { low: low.to_vec(), high: high.to_vec() })
    }

    /// Takes in a range if no gap lies between them. Returns whether that was so.
    pub(crate) fn join(&mut self, other: &KeyRange) -> bool {
        let meet = self.low <= other.high && other.low <= self.high;
        if meet && other.low < self.low {
            self.low.clone_from(&other.low);
        }
        if meet && other.high > self.high {
            self.high.clone_from(&other.high);
        }
        meet
    }

    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.low.len() + self.high.len() + size_of::<KeyRange>()
    }
}

/// The place of a key.
pub(crate) fn place(tree: TreeId, key: &[u8]) -> Vec<u8> {
    [&tree.0.to_be_bytes(), key].concat()
}

/// The tree and the key of a place.
pub(crate) fn split_place(place: &[u8]) -> (TreeId, &[u8]) {
    match place.split_first_chunk::<TREE>() {
        Some((tree, key)) => (TreeId(u32::from_be_bytes(*tree)), key),
        None => (TreeId(u32::MAX), &[]),
    }
}

/// Behind all keys of a tree.
pub(crate) fn end_of(tree: TreeId) -> Vec<u8> {
    match tree.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xFF; BEYOND],
    }
}

/// Whether one of some ranges holds a place; they are sorted, and none overlaps another.
pub(crate) fn any_contains(ranges: &[KeyRange], place: &[u8]) -> bool {
    let behind = ranges.partition_point(|range| range.low.as_slice() <= place);
    behind.checked_sub(1).is_some_and(|at| place < ranges[at].high.as_slice())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered_by_tree_and_key() {
        let places = [
            place(TreeId(1), b""),
            place(TreeId(1), b"\xFF\xFF"),
            end_of(TreeId(1)),
            place(TreeId(2), b"a"),
            place(TreeId(256), b""),
            place(TreeId(u32::MAX), &[0xFF; u16::MAX as usize]),
            end_of(TreeId(u32::MAX)),
        ];
        assert!(places.is_sorted_by(|a, b| a < b));
        assert_eq!(split_place(&places[3]), (TreeId(2), &b"a"[..]));
    }

    #[test]
    fn ranges_meet_or_do_not() {
        let range = |low: &[u8], high: &[u8]| KeyRange::new(TreeId(1), low, Some(high));
        let mut joined = range(b"b", b"c");
        assert!(joined.join(&range(b"c", b"d")) && joined.join(&range(b"a", b"b")));
        assert!(!joined.join(&range(b"e", b"f")) && !joined.join(&KeyRange::whole(TreeId(3))));
        assert_eq!(joined, range(b"a", b"d"));
        assert_eq!(joined.common(&range(b"c", b"x")), Some(range(b"c", b"d")));
        assert_eq!(joined.common(&range(b"d", b"x")), None);
        let sorted = [range(b"a", b"c"), range(b"m", b"n"), KeyRange::whole(TreeId(2))];
        let held = |tree, key: &[u8]| any_contains(&sorted, &place(TreeId(tree), key));
        assert!(held(1, b"a") && held(1, b"mm") && held(2, b"") && held(2, b"\xFF"));
        assert!(!held(1, b"") && !held(1, b"c") && !held(1, b"n") && !held(3, b""));
        assert!(limits(Bound::Excluded(b"a"), Bound::Excluded(b"a\0")).is_none());
    }
}
