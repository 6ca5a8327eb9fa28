//! Page chains, page table, buffer pool, page store and checkpoints.

mod ids;

pub use ids::{PageId, Timestamp, TreeId};
