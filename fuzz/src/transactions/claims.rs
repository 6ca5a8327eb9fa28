//! What a transaction has touched: stretches of keys, and whether those of two transactions meet.

use std::ops::Bound;

/// From `low` up to, not including, `high`.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) tree: usize,
    pub(super) low: Vec<u8>,
    pub(super) high: Option<Vec<u8>>,
}

impl Claim {
    pub(super) fn key(tree: usize, key: &[u8]) -> Claim {
        Claim { tree, low: key.to_vec(), high: Some(behind(key)) }
    }

    pub(super) fn tree(tree: usize) -> Claim {
        Claim { tree, low: Vec::new(), high: None }
    }

    /// Between two bounds; `None` if there is nothing between them.
    pub(super) fn range(tree: usize, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<Claim> {
        let low = match low {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => behind(key),
        };
        let high = match high {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(behind(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
        };
        high.as_ref().is_none_or(|high| low < *high).then_some(Claim { tree, low, high })
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.low.as_slice() <= key && self.high.as_deref().is_none_or(|high| key < high)
    }

    pub(super) fn meets(&self, other: &Claim) -> bool {
        let begins_before = |a: &Claim, b: &Claim| b.high.as_ref().is_none_or(|high| a.low < *high);
        self.tree == other.tree && begins_before(self, other) && begins_before(other, self)
    }
}

/// The least key greater than this one.
pub(super) fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_meet_where_they_share_a_key() {
        let claim = |low: &[u8], high: &[u8]| {
            Claim::range(0, Bound::Included(low), Bound::Excluded(high)).expect("not empty")
        };
        assert!(claim(b"a", b"c").meets(&claim(b"b", b"d")));
        assert!(!claim(b"a", b"b").meets(&claim(b"b", b"d")));
        assert!(
            claim(b"a", b"c").meets(&Claim::key(0, b"b")) && !claim(b"a", b"c").meets(&Claim::key(1, b"b"))
        );
        assert!(Claim::tree(0).meets(&Claim::key(0, b"")) && Claim::tree(0).holds(b"x"));
        assert!(Claim::range(0, Bound::Excluded(b"a"), Bound::Excluded(b"a\0")).is_none());
    }
}
