//! The B+tree: how keys and values lie in pages, how they are found, and how they change.
//!
//! Its nouns: a *node* is a page's payload, a [leaf or an inner node](level); a [`Cell`] is what a leaf holds under a
//! key; a [delta](Delta) is a small sorted list of [operations](LeafOp) laid over a leaf. A tree is known by the page id
//! of its root, which never changes. The tree sees pages only through [`ReadPages`] (a state of the database) and
//! [`WritePages`] (private pages that an operation may change).
//!
//! | to | call |
//! |---|---|
//! | read | [`find`]; [`leaf_for`] and [`MergedLeaf`] for cursors |
//! | write | [`create_root`], [`put`], [`remove`], [`remove_range`] |
//! | lay a delta over a leaf | [`Delta::with`], [`delta_cost`]; [`consolidate`] merges them |
//! | change structure only | [`split_leaf`], [`merge_leaf`], [`free_tree_step`] |
//! | take a node to and from disk | [`packed_parts`], [`unpack`], [`check`] |
//! | verify | [`check_tree`] |
//!
//! What it is not: it knows nothing of versions, snapshots, transactions, checksums of pages, or disks, and it keeps no
//! state of its own. Large values are references to it, never read here.
//!
//! ```
//! use kestrel_btree::{Cell, Change, Delta, LeafOp, PageView, consolidate, lookup};
//!
//! struct View {
//!     node: Vec<u8>,
//!     deltas: Vec<Vec<u8>>,
//! }
//!
//! impl PageView for View {
//!     fn node(&self) -> &[u8] {
//!         &self.node
//!     }
//!     fn delta_count(&self) -> usize {
//!         self.deltas.len()
//!     }
//!     fn delta(&self, newest_first: usize) -> &[u8] {
//!         &self.deltas[newest_first]
//!     }
//! }
//!
//! // Zero bytes are an empty leaf that covers all keys; over it lies a delta with one operation.
//! let op = LeafOp { key: b"kestrel", change: Change::Put(Cell::Inline(b"falcon")), existed: false };
//! let view = View { node: vec![0; 4096 - 64], deltas: vec![Delta::with(&[], op)] };
//! let found = lookup(&view, b"kestrel").expect("the delta holds the key");
//! assert_eq!(found.resolve(&view), Cell::Inline(b"falcon"));
//!
//! // Consolidation merges the delta into a new base.
//! let mut base = vec![0; 4096 - 64];
//! consolidate(&view, &mut base)?;
//! let view = View { node: base, deltas: Vec::new() };
//! assert!(lookup(&view, b"kestrel").is_some());
//! # Ok::<(), kestrel_btree::ConsolidateError>(())
//! ```

mod ascent;
mod cell;
mod check;
mod check_tree;
mod children;
mod consolidate;
mod corruption;
mod delta;
mod edit;
mod entries;
mod find;
mod format;
mod inspect;
mod key;
mod merge;
mod merged;
mod node;
mod packed;
mod pages;
mod path;
mod put;
mod range;
mod split;
mod together;
mod write;

pub use cell::{BlobRef, Cell, Change, LeafOp, Previous, fits_inline, max_inline, max_key};
pub use check::check;
pub use check_tree::{TreeReport, TreeVisitor, check_tree};
pub use consolidate::{ConsolidateError, consolidate};
pub use corruption::Corruption;
pub use delta::{Delta, check_delta, delta_cost, op_cost, ops};
pub use find::{Found, FoundCell, Layer, Seek, find, leaf_for, leaves_ahead, lookup};
pub use inspect::{children, leaf_bounds, leaf_entries};
pub use merge::merge_leaf;
pub use merged::MergedLeaf;
pub use node::level;
pub use packed::{packed_len, packed_parts, unpack, unpack_in_place};
pub use pages::{PageView, ReadPages, WritePages};
pub use put::{create_root, put, put_at, remove};
pub use range::{FreeStep, free_tree_step, remove_range};
pub use split::split_leaf;
pub use together::{TOGETHER, leaves_together};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod toy;
