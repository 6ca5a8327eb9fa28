//! Going down the tree for several keys together.
//!
//! One key's way down is a chain of cache misses, each of which has to end before the next can begin: the page's word, its
//! newest version, the versions below, the heads of its keys, an entry. Several keys' ways do not depend on each other. So all
//! of them take one step, asking for the memory of their next, before any takes another: the misses overlap (Khuong and Morin,
//! "Array Layouts for Comparison-Based Searching", 2017, measure it; Kocberber, Falsafi and Grot, "Asynchronous
//! Memory Access Chaining", 2015, compare ways to do it). It is a hint only: what the callers do with the leaves they check again.

use kestrel_pager::{PageId, prefetch};

use crate::find::{Seek, step};
use crate::node::Node;
use crate::{PageView, ReadPages};

/// How many keys go down together at most: so many that memory is busy, so few that nothing that was fetched is evicted again
/// from the first-level cache before its turn.
pub const TOGETHER: usize = 32;
/// Versions of a leaf below its newest that are asked for.
const DEPTH: usize = 3;

/// Where one key's way stands.
#[derive(Clone, Copy)]
enum Way {
    /// On its way, below a node of some level.
    Down(PageId, Option<u8>),
    /// At the leaf.
    Arrived(PageId),
    /// At a page that cannot be shown: whoever needs it does what is needed.
    Lost,
}

/// Finds the leaves of at most [`TOGETHER`] keys and brings what a search for the keys will touch near the processor. A
/// leaf is missing where a page on the way is not in memory or damaged.
pub fn leaves_together<P: ReadPages>(pages: &P, root: PageId, keys: &[&[u8]]) -> [Option<PageId>; TOGETHER] {
    debug_assert!(keys.len() <= TOGETHER);
    let mut ways = [Way::Lost; TOGETHER];
    ways[..keys.len().min(TOGETHER)].fill(Way::Down(root, None));
    while take_step(pages, &mut ways, keys) {
        let on_the_way = ways.iter().filter_map(|way| match *way {
            Way::Down(id, above) => Some((id, above == Some(1))),
            _ => None,
        });
        for (id, _) in on_the_way.clone() {
            pages.prefetch(id, 0);
        }
        // Inner nodes have no deltas.
        for depth in 1..=DEPTH {
            for (id, _) in on_the_way.clone().filter(|(_, is_leaf)| *is_leaf) {
                pages.prefetch(id, depth);
            }
        }
    }
    ways.map(|way| match way {
        Way::Arrived(leaf) => Some(leaf),
        _ => None,
    })
}

/// Takes every way one level down. Returns whether any is left.
fn take_step<P: ReadPages>(pages: &P, ways: &mut [Way; TOGETHER], keys: &[&[u8]]) -> bool {
    let mut left = false;
    for (way, key) in ways.iter_mut().zip(keys) {
        let Way::Down(id, mut above) = *way else { continue };
        let Ok(page) = pages.page(id) else {
            *way = Way::Lost;
            continue;
        };
        *way = match step(id, page.node(), &mut above, Seek::At(key)) {
            Ok(Some(child)) => {
                pages.prefetch_place(child);
                left = true;
                Way::Down(child, above)
            }
            Ok(None) => {
                prefetch(Node::new(page.node()).bytes_from(key));
                Way::Arrived(id)
            }
            Err(_) => Way::Lost,
        };
    }
    left
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::toy::ToyPages;
    use crate::{Cell, create_root, leaf_for, put};

    #[test]
    fn every_key_arrives_at_the_leaf_that_covers_it() {
        for max_ops in [0, 3] {
            let mut pages = ToyPages::new(4096, max_ops);
            let root = create_root(&mut pages).unwrap();
            let keys: Vec<Vec<u8>> =
                (0..5000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec()).collect();
            for count in [0, 1, 5000] {
                for key in &keys[..count] {
                    put(&mut pages, root, key, Cell::Inline(&[7; 50])).unwrap();
                }
                for group in keys.chunks(TOGETHER).take(40) {
                    let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
                    let leaves = leaves_together(&pages, root, &group);
                    for (key, leaf) in group.iter().zip(leaves) {
                        assert_eq!(leaf.unwrap(), leaf_for(&pages, root, Seek::At(key)).unwrap().0);
                    }
                    assert!(leaves[group.len()..].iter().all(Option::is_none));
                }
            }
        }
    }
}
