//! Key sets: what a running transaction reads or writes, collected in bounded memory.

use kestrel_pager::TreeId;

use crate::claim_set::{ClaimSet, places, push_place};
use crate::coarsen::{Span, coarse};
use crate::key_range::KeyRange;

/// Keys and ranges of several trees, in order of arrival. Beyond the bound they become few ranges that hold them.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet {
    /// As [`push_place`] writes them.
    places: Vec<u8>,
    ranges: Vec<KeyRange>,
    range_bytes: usize,
    limit: usize,
    is_coarse: bool,
}

impl KeySet {
    pub(crate) fn new(limit: usize) -> KeySet {
        KeySet { limit, ..KeySet::default() }
    }

    /// For who knows that little will be added.
    pub(crate) fn unbounded(self) -> KeySet {
        KeySet { limit: usize::MAX, ..self }
    }

    pub(crate) fn add(&mut self, tree: TreeId, key: &[u8]) {
        push_place(&mut self.places, tree, key);
        self.bound();
    }

    /// Adds a range; one that overlaps or meets the last is joined with it.
    pub(crate) fn add_range(&mut self, range: KeyRange) {
        if let Some(last) = self.ranges.last_mut() {
            let before = last.bytes();
            if last.join(&range) {
                self.range_bytes = self.range_bytes - before + last.bytes();
                return;
            }
        }
        self.range_bytes += range.bytes();
        self.ranges.push(range);
        self.bound();
    }

    fn bound(&mut self) {
        if self.places.len() + self.range_bytes <= self.limit {
            return;
        }
        let points = places(&self.places).map(|(_, place)| Span::point(place));
        // A part of the bound, so that this is done rarely.
        self.ranges = coarse(points.chain(self.ranges.iter().map(Span::range)).collect(), self.limit / 4);
        self.range_bytes = self.ranges.iter().map(KeyRange::bytes).sum();
        self.places.clear();
        self.is_coarse = true;
    }

    pub(crate) fn into_claims(self) -> ClaimSet {
        ClaimSet::new(self.places, self.ranges, self.is_coarse)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.places.len() + self.range_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_keys_become_ranges_that_hold_them() {
        let mut set = KeySet::new(3000);
        set.add_range(KeyRange::new(TreeId(3), &[1], None));
        for index in 0..1000_u16 {
            set.add(TreeId(1 + u32::from(index % 2)), &index.to_be_bytes());
            assert!(set.bytes() <= 3000);
        }
        let claims = set.into_claims();
        assert!(claims.is_coarse);
        let held = |tree, key: &[u8]| {
            let mut one = KeySet::new(100);
            one.add(TreeId(tree), key);
            one.into_claims().key_collision(&claims).is_some()
        };
        for index in 0..1000_u16 {
            assert!(held(1 + u32::from(index % 2), &index.to_be_bytes()), "key {index}");
        }
        assert!(held(3, b"x") && !held(4, b"") && !held(2, &[200]));
    }

    #[test]
    fn ranges_that_meet_are_joined() {
        let range = |low: &[u8], high: &[u8]| KeyRange::new(TreeId(1), low, Some(high));
        let mut set = KeySet::new(1000);
        for (low, high) in [(b"b", b"c"), (b"c", b"d"), (b"a", b"b"), (b"b", b"c")] {
            set.add_range(range(low, high));
        }
        assert_eq!(set.ranges, [range(b"a", b"d")]);
        assert_eq!(set.range_bytes, set.ranges[0].bytes());
    }
}
