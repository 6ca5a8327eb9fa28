//! The numbers that name pages, trees and states.

use std::fmt;

/// Names a page for its whole life, wherever its images lie. Dense from zero, so it indexes the page table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId(pub u32);

/// Names a tree; never reused within a database. Zero is the catalogue of trees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TreeId(pub u32);

/// The position of a commit in the one order of commits; a snapshot is named by the newest it contains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub u64);

impl TreeId {
    /// The catalogue: its keys are tree names.
    pub const CATALOGUE: TreeId = TreeId(0);
}

impl Timestamp {
    /// Later than every commit.
    pub const MAX: Timestamp = Timestamp(u64::MAX);
    /// The last that a database on a disk may have reached: no database gets so old, and behind it is room for all further
    /// commits. What says otherwise is damage.
    pub const LAST_ON_DISK: Timestamp = Timestamp(1 << 62);

    /// The next position.
    #[must_use]
    pub fn next(self) -> Timestamp {
        Timestamp(self.0 + 1)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tree {}", self.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timestamp {}", self.0)
    }
}
