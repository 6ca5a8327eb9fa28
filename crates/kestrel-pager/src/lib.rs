//! Page chains, page table, buffer pool, page store and checkpoints: [`Pager`], [`Snapshots`], [`PageStore`].
//!
//! A page is a chain of versions: deltas, newest first, over a base image, over older segments of the same shape.
//! Nothing that is published changes; a [`Snapshot`] names one state of every page, and [`Pager::read`] shows a page
//! in that state without a latch. What nobody can see any more is pruned, what nobody looked at is evicted, and a
//! checkpoint writes the pages that changed to where nothing lies.
//!
//! The crate knows nothing of what pages mean: the layer above gives a [`Layout`] and decides what is published when.
//! All changes that alter logical state happen under that layer's commit gate; the pager relies on it and cannot see it.

mod arena;
mod chain;
mod checkpoint;
mod consolidate;
mod dirty;
mod epoch;
mod error;
mod evict;
mod fault;
mod ids;
mod layout;
mod link;
mod load;
mod page_ids;
mod page_queue;
mod pager;
mod pinned;
mod pool;
mod prefetch;
mod private;
mod prune;
mod publish;
mod refs;
mod snapshots;
mod store;
mod table;
mod thread_number;
mod version;

pub use dirty::DirtyPages;
pub use epoch::stand_apart;
pub use error::Error;
pub use fault::Fault;
pub use ids::{PageId, Timestamp, TreeId};
pub use layout::{Layers, Layout};
pub use pager::{ChainHead, Heads, Pager, PagerOptions, PagerStatistics};
pub use pinned::{Held, HeldPage, MAX_DELTAS, PinnedPage};
pub use pool::OwnedFrame;
pub use prefetch::prefetch;
pub use publish::Change;
pub use snapshots::{LiveSet, Snapshot, Snapshots, Stay};
pub use store::{
    CheckpointState, CheckpointWriter, Claim, DirectoryEntry, FileSurvey, FoundImage, ImageHeader,
    ImageWrite, Location, PageStore, Sighting, StoreOptions, SurveyedCheckpoint,
};
pub use thread_number::thread_number;
pub use version::OwnedVersion;

#[cfg(test)]
mod tests;
