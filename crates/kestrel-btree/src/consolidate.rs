//! Merging a leaf's deltas into a new base.

use std::error::Error;
use std::fmt;

use crate::ascent::Ascent;
use crate::merged::{MergedLeaf, Run};
use crate::node::Node;
use crate::write::{Full, NodeWriter};
use crate::{Corruption, LeafOp, PageView, edit, packed_parts};

/// Why a page view could not be merged into one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConsolidateError {
    /// The result does not fit the page. Never happens while the size bound of [`delta_cost`](crate::delta_cost) was
    /// kept when the deltas were laid over the base.
    Overfull,
    /// The base or a delta is malformed.
    Corrupt(Corruption),
}

impl fmt::Display for ConsolidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsolidateError::Overfull => f.write_str("leaf and deltas exceed a page"),
            ConsolidateError::Corrupt(corruption) => corruption.fmt(f),
        }
    }
}

impl Error for ConsolidateError {}

impl From<Corruption> for ConsolidateError {
    fn from(corruption: Corruption) -> ConsolidateError {
        ConsolidateError::Corrupt(corruption)
    }
}

impl From<ConsolidateError> for Corruption {
    fn from(error: ConsolidateError) -> Corruption {
        match error {
            ConsolidateError::Overfull => Corruption::new("leaf and deltas exceed a page"),
            ConsolidateError::Corrupt(corruption) => corruption,
        }
    }
}

/// Writes the node that a view shows into `out`, without garbage and with the base's fences; returns its packed
/// length. A view without deltas (also one of an inner node) is copied.
///
/// # Errors
/// See [`ConsolidateError`]; `out` then holds nothing of use.
pub fn consolidate(view: &impl PageView, out: &mut [u8]) -> Result<usize, ConsolidateError> {
    let base = Node::new(view.node());
    if view.delta_count() == 0 && base.bytes().len() == out.len() {
        return Ok(copy(base, out));
    }
    let merged = MergedLeaf::new(view)?;
    if !base.is_leaf() {
        return Err(Corruption::new("inner node: copied to a page of another size").into());
    }
    let writer = NodeWriter::leaf(out, base.low(), base.high(), merged.len());
    let mut writer = writer.map_err(|Full| ConsolidateError::Overfull)?;
    let mut result = Ok(());
    let mut ascent = Ascent::of(base.bytes());
    let in_order = base.is_in_order();
    merged.runs(view, |run| {
        if let Run::Put(LeafOp { existed: false, .. }, _) = run {
            ascent = ascent.inserted(writer.written());
        }
        if result.is_ok() {
            result = write_run(base, in_order, &mut writer, &run);
        }
    });
    result?;
    writer.set_ascent(ascent);
    Ok(writer.finish())
}

fn write_run(
    base: Node<'_>,
    in_order: bool,
    writer: &mut NodeWriter<'_>,
    run: &Run<'_>,
) -> Result<(), ConsolidateError> {
    match *run {
        Run::Base(start, end) if in_order && start < end => {
            let Some(stored) = base.stored_run(start..end) else {
                return Err(Corruption::new(format!("leaf entries from {start} on: outside the heap")).into());
            };
            writer.push_stored_run(&stored).map_err(|Full| ConsolidateError::Overfull)?;
        }
        Run::Base(start, end) => {
            for index in start..end {
                let Some(stored) = base.stored_entry(index) else {
                    return Err(Corruption::new(format!("leaf entry {index}: outside the heap")).into());
                };
                writer.push_stored(base.head(index), stored).map_err(|Full| ConsolidateError::Overfull)?;
            }
        }
        Run::Put(op, cell) => {
            if !op.key.starts_with(base.prefix()) {
                return Err(Corruption::new("delta: a key that the leaf does not cover").into());
            }
            writer.push(op.key, cell).map_err(|Full| ConsolidateError::Overfull)?;
        }
    }
    Ok(())
}

fn copy(node: Node<'_>, out: &mut [u8]) -> usize {
    let [front, heap] = packed_parts(node.bytes());
    let heap_at = out.len() - heap.len();
    out[..front.len()].copy_from_slice(front);
    out[front.len()..heap_at].fill(0);
    out[heap_at..].copy_from_slice(heap);
    if node.garbage() > 0 {
        edit::compact(out);
    }
    node.live_len()
}
