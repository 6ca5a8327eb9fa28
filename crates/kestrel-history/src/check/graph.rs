//! Dependencies between transactions, as a graph.

use crate::{Key, TxnId};

/// Why one transaction comes before another (Adya).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum EdgeKind {
    /// The second replaced the first one's version.
    Ww = 1,
    /// The second read the first one's version.
    Wr = 2,
    /// The second replaced a version that the first read.
    Rw = 4,
}

impl EdgeKind {
    pub(crate) const WW: u8 = EdgeKind::Ww as u8;
    pub(crate) const WW_WR: u8 = EdgeKind::WW | EdgeKind::Wr as u8;
    pub(crate) const ALL: u8 = EdgeKind::WW_WR | EdgeKind::Rw as u8;

    pub(crate) fn is_in(self, kinds: u8) -> bool {
        self as u8 & kinds != 0
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            EdgeKind::Ww => "ww",
            EdgeKind::Wr => "wr",
            EdgeKind::Rw => "rw",
        }
    }
}

/// One dependency, because of one list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) kind: EdgeKind,
    pub(crate) key: Key,
}

impl Edge {
    pub(crate) fn new(from: TxnId, to: TxnId, kind: EdgeKind, key: Key) -> Edge {
        Edge { from: from.0, to: to.0, kind, key }
    }
}

/// All dependencies, by the transaction that comes first.
pub(crate) struct Graph {
    edges: Vec<Edge>,
    /// Where each node's edges begin, and at the end how many there are.
    starts: Vec<u32>,
}

impl Graph {
    /// Of two edges of one kind between the same two transactions, one is kept.
    pub(crate) fn new(nodes: usize, mut edges: Vec<Edge>) -> Graph {
        edges.sort_unstable();
        edges.dedup_by_key(|edge| (edge.from, edge.to, edge.kind));
        let mut starts = vec![0_u32; nodes + 1];
        for edge in &edges {
            starts[edge.from as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        Graph { edges, starts }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The place of a node's first edge in [`edges`](Graph::edges), and behind its last.
    pub(crate) fn places(&self, node: u32) -> std::ops::Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    pub(crate) fn from(&self, node: u32) -> &[Edge] {
        &self.edges[self.places(node)]
    }
}
