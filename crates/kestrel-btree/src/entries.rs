//! The entries of one or two neighbouring leaves, to be distributed anew over leaves.

use std::ops::Range;

use kestrel_pager::PageId;

use crate::ascent::Ascent;
use crate::format::HEADER_LEN;
use crate::key::{fence_prefix_len, separator};
use crate::node::Node;
use crate::path::Fences;
use crate::write::{Full, NodeWriter, leaf_cost};
use crate::{Corruption, PageView, WritePages, consolidate};

#[derive(Clone)]
/// Copies of consolidated leaves, neighbours in key order, whose entries are counted through.
pub(crate) struct LeafEntries {
    leaves: Vec<Vec<u8>>,
}

impl LeafEntries {
    /// Copies a leaf.
    pub(crate) fn of<P: WritePages>(pages: &mut P, leaf: PageId) -> Result<LeafEntries, P::Error> {
        let mut copy = vec![0; pages.capacity()];
        let page = pages.fetch(leaf)?;
        if !Node::new(page.node()).is_leaf() {
            return Err(Corruption::at(leaf, "an inner node in the place of a leaf").into());
        }
        consolidate(&page, &mut copy).map_err(|error| Corruption::from(error).on(leaf))?;
        Ok(LeafEntries { leaves: vec![copy] })
    }

    /// Appends the right neighbour's entries.
    pub(crate) fn append(&mut self, right: LeafEntries) -> Result<(), Corruption> {
        if self.fences().high.as_ref() != Some(&right.fences().low) {
            return Err(Corruption::new("leaf: fences disagree with its neighbour's"));
        }
        self.leaves.extend(right.leaves);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.leaves.iter().map(|leaf| Node::new(leaf).count()).sum()
    }

    /// Whether an insertion at an index of the (first) leaf goes on with a run of ascending ones.
    pub(crate) fn ascends_at(&self, index: usize) -> bool {
        self.leaves.first().is_some_and(|leaf| Ascent::of(leaf).goes_on_at(index))
    }

    /// Packed length of the (first) leaf that was copied.
    pub(crate) fn packed_len(&self) -> usize {
        self.leaves.first().map_or(0, |leaf| Node::new(leaf).packed_len())
    }

    /// What the leaves cover together.
    pub(crate) fn fences(&self) -> Fences {
        let low = self.leaves.first().map_or(&[][..], |leaf| Node::new(leaf).low());
        let high = self.leaves.last().and_then(|leaf| Node::new(leaf).high());
        Fences { low: low.to_vec(), high: high.map(<[u8]>::to_vec) }
    }

    fn locate(&self, mut index: usize) -> (Node<'_>, usize) {
        for leaf in &self.leaves {
            let node = Node::new(leaf);
            if index < node.count() {
                return (node, index);
            }
            index -= node.count();
        }
        debug_assert!(false, "an entry behind the last");
        (Node::new(&[]), 0)
    }

    pub(crate) fn key(&self, index: usize) -> Vec<u8> {
        let (node, index) = self.locate(index);
        node.key(index)
    }

    /// Finds a key: its index, or the index that it would have.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let mut before = 0;
        for leaf in &self.leaves {
            let node = Node::new(leaf);
            if node.high().is_none_or(|high| key < high) {
                return match node.search_any(key) {
                    Ok(index) => Ok(before + index),
                    Err(index) => Err(before + index),
                };
            }
            before += node.count();
        }
        Err(before)
    }

    /// The shortest separator between two neighbouring entries.
    pub(crate) fn separator_before(&self, index: usize) -> Vec<u8> {
        debug_assert!(index > 0);
        separator(&self.key(index - 1), &self.key(index)).to_vec()
    }

    fn cost(&self, index: usize, prefix_len: usize) -> usize {
        let (node, index) = self.locate(index);
        leaf_cost(node.key_len(index) - prefix_len, node.entry(index).cell.len())
    }

    /// Packed length of a leaf with some of the entries.
    pub(crate) fn size(&self, range: Range<usize>, low: &[u8], high: Option<&[u8]>) -> usize {
        let prefix_len = fence_prefix_len(low, high);
        let costs: usize = range.map(|index| self.cost(index, prefix_len)).sum();
        HEADER_LEN + low.len() + high.map_or(0, <[u8]>::len) + costs
    }

    /// Writes a leaf with some of the entries.
    pub(crate) fn write(
        &self,
        range: Range<usize>,
        low: &[u8],
        high: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), Corruption> {
        let overfull = |Full| Corruption::new("leaf: entries exceed a page");
        let mut writer = NodeWriter::leaf(out, low, high, range.len()).map_err(overfull)?;
        let mut key = Vec::new();
        let mut before = 0;
        for leaf in &self.leaves {
            let node = Node::new(leaf);
            let count = node.count();
            let part = range.start.max(before) - before..range.end.min(before + count).max(before) - before;
            before += count;
            if part.is_empty() {
                continue;
            }
            // With the same prefix, entries are stored as before.
            if node.prefix_len() == writer.prefix_len()
                && node.is_in_order()
                && let Some(stored) = node.stored_run(part.clone())
            {
                writer.push_stored_run(&stored).map_err(overfull)?;
                continue;
            }
            for index in part {
                node.key_into(index, &mut key);
                writer.push(&key, node.entry(index).cell()).map_err(overfull)?;
            }
        }
        writer.finish();
        Ok(())
    }

    /// Where to cut at least two entries into two leaves of about the same size.
    ///
    /// Near the middle, the cut with the shortest separator wins: it makes fences and inner nodes small. If long
    /// fences make all of these too large, the cut is the one that leaves the larger half smallest; that one always
    /// fits, because the limits on keys and cells keep the average of the halves plus half an entry below a page.
    pub(crate) fn middle(&self, capacity: usize) -> usize {
        let count = self.len();
        debug_assert!(count >= 2);
        let fences = self.fences();
        let (low, high) = (fences.low.as_slice(), fences.high.as_deref());
        let prefix_len = fence_prefix_len(low, high);
        let mut sums = Vec::with_capacity(count + 1);
        let mut sum = 0;
        sums.push(0);
        for index in 0..count {
            sum += self.cost(index, prefix_len);
            sums.push(sum);
        }
        let half = sums.partition_point(|&before| before < sum / 2).clamp(1, count - 1);
        let larger = |cut: usize, fence: usize| {
            let left = low.len() + fence + sums[cut];
            let right = high.map_or(0, <[u8]>::len) + fence + sum - sums[cut];
            HEADER_LEN + left.max(right)
        };
        let window = (count / 16).max(1);
        let near = half.saturating_sub(window).max(1)..(half + window).min(count - 1) + 1;
        let best = near
            .map(|cut| (self.separator_before(cut).len(), half.abs_diff(cut), cut))
            .filter(|&(fence, _, cut)| larger(cut, fence) <= capacity)
            .min();
        let smallest = || {
            let sizes = (1..count).map(|cut| (larger(cut, self.separator_before(cut).len()), cut));
            sizes.min().map_or(1, |(_, cut)| cut)
        };
        best.map_or_else(smallest, |(_, _, cut)| cut)
    }
}
