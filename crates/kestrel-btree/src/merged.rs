//! A leaf as its base and deltas together show it.
//!
//! Only the places where deltas change the base are remembered, as *edges* in key order, so a view without deltas
//! costs nothing and one with deltas a few words an operation, however large the leaf.
//!
//! Invariant: between two edges, merged entries are consecutive entries of the base. An edge knows its rank (how many
//! merged entries lie before it) and the first base entry behind it, which gives every other position by subtraction.

use kestrel_check::planted::{Bug, is_planted};

use crate::cell::{Cell, Change, LeafOp};
use crate::find::{Found, Layer};
use crate::node::Node;
use crate::{Corruption, PageView, delta};

/// The live entries of a leaf view in key order. Every method takes the view that it was made from, so it can be
/// kept beside the view without borrowing it.
pub struct MergedLeaf {
    edges: Vec<Edge>,
    len: usize,
}

/// The newest operation on a key.
struct Edge {
    /// Merged entries before this key.
    rank: usize,
    /// The first base entry behind this key.
    base_next: usize,
    /// The delta that holds the operation, counted from the newest, and its index there.
    layer: usize,
    index: usize,
    /// Puts an entry (otherwise it takes one away, or nothing).
    is_put: bool,
}

/// Where a merged entry comes from.
enum Source {
    Base(usize),
    Delta { layer: usize, index: usize },
}

/// Consecutive merged entries from one layer, for building a node.
pub(crate) enum Run<'v> {
    /// Base entries from one index up to another.
    Base(usize, usize),
    /// One entry of a delta.
    Put(LeafOp<'v>, Cell<'v>),
}

impl MergedLeaf {
    /// Reads a leaf's deltas.
    ///
    /// # Errors
    /// A delta is malformed, or the view is one of an inner node with deltas.
    pub fn new(view: &impl PageView) -> Result<MergedLeaf, Corruption> {
        let node = Node::new(view.node());
        if view.delta_count() == 0 {
            return Ok(MergedLeaf { edges: Vec::new(), len: node.count() });
        }
        if !node.is_leaf() {
            return Err(Corruption::new("inner node: has deltas"));
        }
        let mut order = Vec::new();
        for layer in 0..view.delta_count() {
            let bytes = view.delta(layer);
            delta::check_delta(bytes)?;
            for (index, op) in delta::ops(bytes).enumerate() {
                order.push((op.key, layer, index));
            }
        }
        // Of the operations on one key, the newest comes first and is kept.
        order.sort_unstable();
        if is_planted(Bug::OldDeltaWins) {
            order.sort_by(|a, b| a.0.cmp(b.0).then(b.1.cmp(&a.1)));
        }
        order.dedup_by(|later, kept| later.0 == kept.0);
        let mut edges = Vec::with_capacity(order.len());
        let (mut rank, mut base_at) = (0, 0);
        for (key, layer, index) in order {
            let (position, base_next) = match node.search_any(key) {
                Ok(found) => (found, found + 1),
                Err(missing) => (missing, missing),
            };
            let is_put = delta::op_at(view.delta(layer), index)
                .is_some_and(|(op, _)| matches!(op.change, Change::Put(_)));
            rank += position.saturating_sub(base_at);
            edges.push(Edge { rank, base_next, layer, index, is_put });
            rank += usize::from(is_put);
            base_at = base_next;
        }
        let len = rank + node.count().saturating_sub(base_at);
        Ok(MergedLeaf { edges, len })
    }

    /// How many live entries the leaf has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the leaf has no live entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn source(&self, index: usize) -> Source {
        debug_assert!(index < self.len);
        let behind = self.edges.partition_point(|edge| edge.rank <= index);
        match behind.checked_sub(1).and_then(|last| self.edges.get(last)) {
            None => Source::Base(index),
            Some(edge) if edge.is_put && edge.rank == index => {
                Source::Delta { layer: edge.layer, index: edge.index }
            }
            Some(edge) => Source::Base(edge.base_next + (index - edge.rank - usize::from(edge.is_put))),
        }
    }

    /// Writes the key of an entry over what `out` holds.
    pub fn key_into(&self, index: usize, view: &impl PageView, out: &mut Vec<u8>) {
        match self.source(index) {
            Source::Base(index) => Node::new(view.node()).key_into(index, out),
            Source::Delta { layer, index } => {
                out.clear();
                if let Some((op, _)) = delta::op_at(view.delta(layer), index) {
                    out.extend_from_slice(op.key);
                }
            }
        }
    }

    /// The cell of an entry, by its place.
    #[must_use]
    pub fn found(&self, index: usize, view: &impl PageView) -> Found {
        let in_base = |index| {
            let entry = Node::new(view.node()).entry(index);
            Found::new(Layer::Base, entry.cell(), entry.cell_at)
        };
        match self.source(index) {
            Source::Base(index) => in_base(index),
            Source::Delta { layer, index } => match delta::op_at(view.delta(layer), index) {
                Some((op, cell_at)) => match op.change {
                    Change::Put(cell) => Found::new(Layer::Delta(layer), cell, cell_at),
                    Change::Delete => Found::new(Layer::Delta(layer), Cell::Inline(&[]), 0),
                },
                None => Found::new(Layer::Delta(layer), Cell::Inline(&[]), 0),
            },
        }
    }

    /// How many entries have keys less than `key`, which may lie outside the leaf's fences.
    #[must_use]
    pub fn lower_bound(&self, view: &impl PageView, key: &[u8]) -> usize {
        let base = Node::new(view.node()).lower_bound(key);
        let behind = self.edges.partition_point(|edge| {
            delta::op_at(view.delta(edge.layer), edge.index).is_some_and(|(op, _)| op.key < key)
        });
        match behind.checked_sub(1).and_then(|last| self.edges.get(last)) {
            None => base,
            Some(edge) => edge.rank + usize::from(edge.is_put) + base.saturating_sub(edge.base_next),
        }
    }

    /// The least key that the leaf covers; empty for the first leaf.
    #[must_use]
    pub fn low_fence<'v>(&self, view: &'v impl PageView) -> &'v [u8] {
        Node::new(view.node()).low()
    }

    /// The least key beyond the leaf, with which the next leaf begins; `None` for the last leaf.
    #[must_use]
    pub fn high_fence<'v>(&self, view: &'v impl PageView) -> Option<&'v [u8]> {
        Node::new(view.node()).high()
    }

    /// All entries, as stretches of the base and operations between them.
    pub(crate) fn runs<'v>(&self, view: &'v impl PageView, mut each: impl FnMut(Run<'v>)) {
        let mut base_at = 0;
        let mut rank = 0;
        for edge in &self.edges {
            let len = edge.rank - rank;
            each(Run::Base(base_at, base_at + len));
            rank = edge.rank;
            if edge.is_put {
                let op = delta::op_at(view.delta(edge.layer), edge.index);
                if let Some((op @ LeafOp { change: Change::Put(cell), .. }, _)) = op {
                    each(Run::Put(op, cell));
                }
                rank += 1;
            }
            base_at = edge.base_next;
        }
        each(Run::Base(base_at, base_at + (self.len - rank)));
    }
}
