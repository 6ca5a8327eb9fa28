//! Cycles among dependencies, and what they are called.
//!
//! 1. A cycle of ww edges is G0, one of ww and wr edges G1c. Both are cut out, so that ww and wr leave no cycle in the rest.
//! 2. G-single has one rw edge, from a to b: then b leads to a over ww and wr edges. These are sorted topologically, by
//!    the moment at which transactions began where they leave it open; then the way can only lead over transactions between b
//!    and a in that order, which are few.
//! 3. What still is in a cycle has several rw edges in it: G2.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use kestreldb::Isolation;

use super::components::{ALONE, Components};
use super::graph::{Edge, EdgeKind, Graph};
use super::{AnomalyKind, Report};
use crate::{History, TxnId};

/// So many cycles with one rw edge are looked for; in a broken engine there are very many.
const SINGLES_MAX: usize = 1000;

/// Finds the cycles among these dependencies.
pub(crate) fn check(history: &History, edges: Vec<Edge>, isolation: Isolation, report: &mut Report) {
    let graph = Graph::new(history.len(), edges);
    let mut cut_out = vec![false; graph.nodes()];
    for (kinds, name) in [(EdgeKind::WW, AnomalyKind::G0), (EdgeKind::WW_WR, AnomalyKind::G1c)] {
        let components = Components::new(&graph, kinds, &cut_out);
        for first in components.firsts() {
            let within =
                |edge: &Edge| edge.kind.is_in(kinds) && components.of(edge.to) == components.of(first);
            report_cycle(history, name, &cycle_through(&graph, first, within), report);
        }
        for (node, cut_out) in cut_out.iter_mut().enumerate() {
            *cut_out |= components.of(node as u32) != ALONE;
        }
    }
    let components = Components::new(&graph, EdgeKind::ALL, &cut_out);
    if components.count() == 0 {
        return;
    }
    let has_single = singles(history, &graph, &cut_out, &components, report);
    for first in components.firsts() {
        if has_single[components.of(first) as usize] {
            continue;
        }
        if isolation == Isolation::Snapshot {
            report.skewed += 1;
            continue;
        }
        let within = |edge: &Edge| components.of(edge.to) == components.of(first);
        report_cycle(history, AnomalyKind::G2, &cycle_through(&graph, first, within), report);
    }
}

/// Reports cycles with one rw edge. Returns for each component whether it has one.
fn singles(
    history: &History,
    graph: &Graph,
    cut_out: &[bool],
    components: &Components,
    report: &mut Report,
) -> Vec<bool> {
    let mut has_single = vec![false; components.count() as usize];
    let places = topological(history, graph, cut_out);
    let place = |node: u32| places[node as usize];
    let mut found = 0;
    for edge in graph.edges() {
        let component = components.of(edge.from);
        let inside = component != ALONE && component == components.of(edge.to);
        if edge.kind != EdgeKind::Rw || !inside || place(edge.to) >= place(edge.from) {
            continue;
        }
        let within = |step: &Edge| {
            step.kind.is_in(EdgeKind::WW_WR)
                && components.of(step.to) == component
                && place(step.to) <= place(edge.from)
        };
        let Some(mut way) = way(graph, edge.to, edge.from, within) else { continue };
        way.insert(0, *edge);
        has_single[component as usize] = true;
        report_cycle(history, AnomalyKind::GSingle, &way, report);
        found += 1;
        if found == SINGLES_MAX {
            break;
        }
    }
    has_single
}

/// Each node's place in an order that ww and wr edges keep. Kahn's algorithm; what began first comes first.
fn topological(history: &History, graph: &Graph, cut_out: &[bool]) -> Vec<u32> {
    let is_kept = |edge: &&Edge| edge.kind.is_in(EdgeKind::WW_WR) && !cut_out[edge.to as usize];
    let mut waits_for = vec![0_u32; graph.nodes()];
    for edge in graph.edges().iter().filter(|edge| !cut_out[edge.from as usize]).filter(is_kept) {
        waits_for[edge.to as usize] += 1;
    }
    let begun = |node: u32| history.transaction(TxnId(node)).begun;
    let nodes = (0..graph.nodes() as u32).filter(|&node| !cut_out[node as usize]);
    let ready = nodes.filter(|&node| waits_for[node as usize] == 0);
    let mut ready: BinaryHeap<_> = ready.map(|node| Reverse((begun(node), node))).collect();
    let mut places = vec![0; graph.nodes()];
    let mut next = 0;
    while let Some(Reverse((_, node))) = ready.pop() {
        places[node as usize] = next;
        next += 1;
        for edge in graph.from(node).iter().filter(is_kept) {
            waits_for[edge.to as usize] -= 1;
            if waits_for[edge.to as usize] == 0 {
                ready.push(Reverse((begun(edge.to), edge.to)));
            }
        }
    }
    places
}

/// The shortest way from one node to another over edges that are allowed.
fn way(graph: &Graph, from: u32, to: u32, allowed: impl Fn(&Edge) -> bool) -> Option<Vec<Edge>> {
    let mut came_by: HashMap<u32, Edge> = HashMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        for edge in graph.from(node).iter().filter(|edge| allowed(edge)) {
            // The beginning can be the end, too.
            if edge.to != to && (edge.to == from || came_by.contains_key(&edge.to)) {
                continue;
            }
            came_by.insert(edge.to, *edge);
            if edge.to == to {
                let mut back = vec![*edge];
                while let Some(first) = back.last().filter(|first| first.from != from) {
                    back.push(came_by[&first.from]);
                }
                back.reverse();
                return Some(back);
            }
            queue.push_back(edge.to);
        }
    }
    None
}

/// A shortest cycle through a node.
fn cycle_through(graph: &Graph, node: u32, allowed: impl Fn(&Edge) -> bool) -> Vec<Edge> {
    way(graph, node, node, allowed).expect("a node of a component is in a cycle")
}

fn report_cycle(history: &History, kind: AnomalyKind, cycle: &[Edge], report: &mut Report) {
    let mut what = String::new();
    for edge in cycle {
        what.push_str(&format!("{} -{}({})-> ", TxnId(edge.from), edge.kind.name(), edge.key.0));
    }
    what.push_str(&TxnId(cycle[0].from).to_string());
    let transactions: Vec<TxnId> = cycle.iter().map(|edge| TxnId(edge.from)).collect();
    report.add(history, kind, &transactions, what);
}
