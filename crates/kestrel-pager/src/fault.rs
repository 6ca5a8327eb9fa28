//! Why a page cannot be shown at once.

use crate::PageId;

/// What [`Pager::read`](crate::Pager::read) says instead of showing a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Its image lies on disk: let go of everything pinned, [load](crate::Pager::load) it, and start again.
    NotResident(PageId),
    /// There is no such page in this state. Whoever followed a reference to it has found damage.
    Missing(PageId),
}
