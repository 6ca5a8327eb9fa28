//! Strongly connected components: R. Tarjan, *Depth-First Search and Linear Graph Algorithms*, 1972, without recursion.

use super::graph::Graph;

/// The component of a node that is in no cycle.
pub(crate) const ALONE: u32 = u32::MAX;
const UNSEEN: u32 = 0;

/// Which component each node is in.
pub(crate) struct Components {
    of: Vec<u32>,
    count: u32,
}

struct Visit {
    node: u32,
    /// The next edge to follow.
    next: usize,
}

impl Components {
    /// The components of more than one node that edges of these kinds make, without the nodes that are left out.
    pub(crate) fn new(graph: &Graph, kinds: u8, left_out: &[bool]) -> Components {
        let nodes = graph.nodes();
        let mut found = Components { of: vec![ALONE; nodes], count: 0 };
        // In order of discovery, from 1 on; and the lowest that can be reached.
        let mut order = vec![UNSEEN; nodes];
        let mut low = vec![UNSEEN; nodes];
        let mut on_stack = vec![false; nodes];
        let mut stack: Vec<u32> = Vec::new();
        let mut visits: Vec<Visit> = Vec::new();
        let mut discovered = UNSEEN;
        for root in 0..nodes as u32 {
            if order[root as usize] != UNSEEN || left_out[root as usize] {
                continue;
            }
            visits.push(Visit { node: root, next: graph.places(root).start });
            while let Some(visit) = visits.last_mut() {
                let node = visit.node as usize;
                if order[node] == UNSEEN {
                    discovered += 1;
                    (order[node], low[node], on_stack[node]) = (discovered, discovered, true);
                    stack.push(visit.node);
                }
                if visit.next < graph.places(visit.node).end {
                    let edge = graph.edges()[visit.next];
                    visit.next += 1;
                    let to = edge.to as usize;
                    if !edge.kind.is_in(kinds) || left_out[to] {
                        continue;
                    }
                    if order[to] == UNSEEN {
                        visits.push(Visit { node: edge.to, next: graph.places(edge.to).start });
                    } else if on_stack[to] {
                        low[node] = low[node].min(order[to]);
                    }
                    continue;
                }
                visits.pop();
                if let Some(parent) = visits.last() {
                    let parent = parent.node as usize;
                    low[parent] = low[parent].min(low[node]);
                }
                if low[node] == order[node] {
                    found.close(node as u32, &mut stack, &mut on_stack);
                }
            }
        }
        found
    }

    fn close(&mut self, node: u32, stack: &mut Vec<u32>, on_stack: &mut [bool]) {
        let from =
            stack.iter().rposition(|&other| other == node).expect("a component's first node is on the stack");
        let members = stack.split_off(from);
        for &member in &members {
            on_stack[member as usize] = false;
        }
        if members.len() > 1 {
            for member in members {
                self.of[member as usize] = self.count;
            }
            self.count += 1;
        }
    }

    /// How many components there are of more than one node.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The component of a node, or [`ALONE`].
    pub(crate) fn of(&self, node: u32) -> u32 {
        self.of[node as usize]
    }

    /// One node of each component.
    pub(crate) fn firsts(&self) -> Vec<u32> {
        let mut firsts = vec![ALONE; self.count as usize];
        for (node, &component) in self.of.iter().enumerate().rev() {
            if component != ALONE {
                firsts[component as usize] = node as u32;
            }
        }
        firsts
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Edge, EdgeKind};
    use super::*;
    use crate::{Key, TxnId};

    fn graph(nodes: usize, edges: &[(u32, u32, EdgeKind)]) -> Graph {
        let edge = |&(from, to, kind): &(u32, u32, EdgeKind)| Edge::new(TxnId(from), TxnId(to), kind, Key(0));
        Graph::new(nodes, edges.iter().map(edge).collect())
    }

    #[test]
    fn cycles_are_components_and_what_hangs_on_them_is_not() {
        use EdgeKind::{Rw, Ww};
        let graph = graph(
            8,
            &[(0, 1, Ww), (1, 2, Ww), (2, 0, Rw), (2, 3, Ww), (3, 4, Ww), (4, 3, Ww), (5, 6, Ww), (6, 7, Rw)],
        );
        let all = Components::new(&graph, EdgeKind::ALL, &[false; 8]);
        assert_eq!(all.count(), 2);
        assert!(all.of(0) == all.of(1) && all.of(1) == all.of(2) && all.of(3) == all.of(4));
        assert!(all.of(2) != all.of(3) && (5..8).all(|node| all.of(node) == ALONE));
        assert_eq!(Components::new(&graph, EdgeKind::WW, &[false; 8]).firsts(), [3]);
        let mut left_out = [false; 8];
        left_out[3] = true;
        assert_eq!(Components::new(&graph, EdgeKind::WW, &left_out).count(), 0);
    }

    #[test]
    fn a_long_cycle_needs_no_deep_stack() {
        let count = 300_000;
        let edges: Vec<_> = (0..count).map(|at| (at, (at + 1) % count, EdgeKind::Ww)).collect();
        let graph = graph(count as usize, &edges);
        let components = Components::new(&graph, EdgeKind::ALL, &vec![false; count as usize]);
        assert_eq!((components.count(), components.of(count - 1)), (1, 0));
    }
}
