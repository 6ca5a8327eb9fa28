//! Scan claims: how much of its range each cursor of a write transaction has seen.
//!
//! A cursor and its transaction share a claim. The cursor widens it in place as entries are returned; the transaction
//! reads it when it commits, whether the cursor lives or not. What a cursor was asked for but never reached is not claimed.

use std::sync::Arc;

use kestrel_check::sync::Mutex;
use kestrel_pager::TreeId;

use crate::key_range::KeyRange;
use crate::key_set::KeySet;

/// Claims that are kept before those of dropped cursors are folded into the set of what was read.
const KEPT_MIN: usize = 32;

/// What one cursor has seen of a range of a tree.
#[derive(Debug)]
pub(crate) struct ScanClaim {
    tree: TreeId,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    /// From `low` up to, not including, this key.
    front: Option<Vec<u8>>,
    /// From this key up to `high`.
    back: Option<Vec<u8>>,
    /// The ends have met: there is nothing more between them.
    all: bool,
}

/// A claim that a cursor widens.
pub(crate) type SharedClaim = Arc<Mutex<ScanClaim>>;

impl ScanClaim {
    /// Nothing yet of the keys from `low` up to, not including, `high`.
    pub(crate) fn new(tree: TreeId, low: &[u8], high: Option<&[u8]>) -> ScanClaim {
        ScanClaim {
            tree,
            low: low.to_vec(),
            high: high.map(<[u8]>::to_vec),
            front: None,
            back: None,
            all: false,
        }
    }

    /// The front returned an entry.
    pub(crate) fn widen_front(&mut self, key: &[u8]) {
        let front = self.front.get_or_insert_default();
        debug_assert!(front.as_slice() <= key, "the front goes forward");
        front.clear();
        front.extend_from_slice(key);
        front.push(0);
    }

    /// The back returned an entry.
    pub(crate) fn widen_back(&mut self, key: &[u8]) {
        debug_assert!(self.back.as_deref().is_none_or(|back| key <= back), "the back goes backward");
        let back = self.back.get_or_insert_default();
        back.clear();
        back.extend_from_slice(key);
    }

    /// The cursor said that there is nothing more.
    pub(crate) fn widen_to_all(&mut self) {
        self.all = true;
    }

    fn add_to(&self, set: &mut KeySet) {
        let high = self.high.as_deref();
        if self.all {
            set.add_range(KeyRange::new(self.tree, &self.low, high));
            return;
        }
        if let Some(front) = &self.front {
            set.add_range(KeyRange::new(self.tree, &self.low, Some(front)));
        }
        if let Some(back) = &self.back {
            set.add_range(KeyRange::new(self.tree, back, high));
        }
    }
}

/// What a serializable transaction has read.
#[derive(Debug)]
pub(crate) struct Reads {
    pub(crate) keys: KeySet,
    scans: Vec<SharedClaim>,
    /// Dropped cursors are looked for when there are so many.
    fold_at: usize,
    /// The tree that a cursor was made for last.
    scanned: Option<TreeId>,
}

impl Reads {
    pub(crate) fn new(limit: usize) -> Reads {
        Reads { keys: KeySet::new(limit), scans: Vec::new(), fold_at: KEPT_MIN, scanned: None }
    }

    /// A cursor is made. That its tree exists was seen, whatever it returns.
    pub(crate) fn begin_scan(&mut self, claim: ScanClaim) -> SharedClaim {
        if self.scanned != Some(claim.tree) {
            self.scanned = Some(claim.tree);
            self.keys.add(TreeId::CATALOGUE, &existence_key(claim.tree));
        }
        if self.scans.len() >= self.fold_at {
            let keys = &mut self.keys;
            self.scans.retain(|claim| {
                // Nobody can come to share it any more.
                let is_dropped = Arc::strong_count(claim) == 1;
                if is_dropped {
                    claim.lock().add_to(keys);
                }
                !is_dropped
            });
            self.fold_at = KEPT_MIN.max(2 * self.scans.len());
        }
        let claim = Arc::new(Mutex::new(claim));
        self.scans.push(Arc::clone(&claim));
        claim
    }

    /// All that was read so far, cursors that are alive included.
    pub(crate) fn into_keys(self) -> KeySet {
        let Reads { mut keys, scans, .. } = self;
        for claim in scans {
            claim.lock().add_to(&mut keys);
        }
        keys
    }
}

/// The key of the catalogue by which transactions that change a tree's name or existence meet. No name begins so.
pub(crate) fn identity_key(tree: TreeId) -> [u8; 5] {
    let [a, b, c, d] = tree.0.to_le_bytes();
    [0, a, b, c, d]
}

/// The key of the catalogue that only a drop of the tree writes: a scan does not care what a tree is called.
pub(crate) fn existence_key(tree: TreeId) -> [u8; 6] {
    let [a, b, c, d] = tree.0.to_le_bytes();
    [0, a, b, c, d, 0]
}

/// The tree that such a key stands for.
pub(crate) fn tree_of_identity(key: &[u8]) -> Option<TreeId> {
    match *key {
        [0, a, b, c, d] | [0, a, b, c, d, 0] => Some(TreeId(u32::from_le_bytes([a, b, c, d]))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim_set::ClaimSet;

    const TREE: TreeId = TreeId(1);

    fn reads() -> Reads {
        Reads::new(10_000)
    }

    fn claims(claims: &ClaimSet, key: &[u8]) -> bool {
        let mut written = KeySet::new(1000);
        written.add(TREE, key);
        claims.range_collision(&written.into_claims()).is_some()
    }

    #[test]
    fn what_was_returned_is_claimed_and_the_gaps_before_it() {
        let mut reads = reads();
        let claim = reads.begin_scan(ScanClaim::new(TREE, b"b", Some(b"y")));
        let untouched = reads.begin_scan(ScanClaim::new(TREE, b"", None));
        claim.lock().widen_front(b"c");
        claim.lock().widen_front(b"d");
        claim.lock().widen_back(b"w");
        claim.lock().widen_back(b"t");
        let set = reads.into_keys().into_claims();
        for (key, claimed) in
            [("a", false), ("b", true), ("d", true), ("d\0", false), ("m", false), ("s", false)]
        {
            assert_eq!(claims(&set, key.as_bytes()), claimed, "{key:?}");
        }
        for (key, claimed) in [("t", true), ("w", true), ("x", true), ("y", false)] {
            assert_eq!(claims(&set, key.as_bytes()), claimed, "{key:?}");
        }
        drop(untouched);
    }

    #[test]
    fn a_cursor_that_came_to_its_end_has_seen_its_range() {
        let mut reads = reads();
        let claim = reads.begin_scan(ScanClaim::new(TREE, b"b", Some(b"y")));
        claim.lock().widen_front(b"c");
        claim.lock().widen_to_all();
        let set = reads.into_keys().into_claims();
        assert!(claims(&set, b"b") && claims(&set, b"x") && !claims(&set, b"a") && !claims(&set, b"y"));
    }

    #[test]
    fn claims_of_dropped_cursors_are_kept_in_bounded_memory() {
        let mut reads = reads();
        let living = reads.begin_scan(ScanClaim::new(TREE, b"", None));
        for number in 0..100_000_u32 {
            let key = (number * 2).to_be_bytes();
            let claim = reads.begin_scan(ScanClaim::new(TREE, &key, None));
            claim.lock().widen_front(&key);
        }
        assert!(reads.scans.len() <= KEPT_MIN + 1 && reads.keys.bytes() <= 10_000);
        living.lock().widen_front(b"");
        let set = reads.into_keys().into_claims();
        assert!(
            claims(&set, b"") && (0..100_000_u32).all(|number| claims(&set, &(number * 2).to_be_bytes()))
        );
        assert!(!claims(&set, b"x"));
    }
}
