//! How the tree sees pages: two traits, so that the same code runs over a snapshot, a private overlay, a
//! checker, or a toy page store.

use kestrel_pager::PageId;

use crate::{BlobRef, Corruption, LeafOp};

/// One page as one state of the database shows it: a base node, and the deltas laid over it.
pub trait PageView {
    /// The base image's payload: a node that passed [`check`](crate::check) when it was read from disk.
    fn node(&self) -> &[u8];

    /// How many deltas lie over it. Always zero for an inner node.
    fn delta_count(&self) -> usize;

    /// A delta's payload, made by [`Delta`](crate::Delta); 0 is the newest.
    fn delta(&self, newest_first: usize) -> &[u8];
}

/// Pages by id, as one state of the database shows them.
///
/// Callers hold at most one page of a source at a time: an implementation may have to read from disk, and
/// must not do so while an older page pins memory.
pub trait ReadPages {
    /// What can go wrong; damage found by the tree is reported through it.
    type Error: From<Corruption>;
    /// A page, kept alive for as long as the value lives.
    type Page<'a>: PageView
    where
        Self: 'a;

    /// The page, or an error (for instance that it must be read from disk first, after which the caller's
    /// caller starts the whole operation again: reading has no side effects).
    ///
    /// # Errors
    /// Whatever keeps the page from being shown.
    fn page(&self, id: PageId) -> Result<Self::Page<'_>, Self::Error>;

    /// A hint that it will be asked soon where a page lies.
    fn prefetch_place(&self, _id: PageId) {}

    /// A hint that a page will be looked at soon: the part of it that lies `depth` versions below the newest. What tells its
    /// place was hinted at before.
    fn prefetch(&self, _id: PageId, _depth: usize) {}
}

/// Private pages that an operation may change. All changes of one operation go to one overlay, so a failure
/// in the middle of an operation leaves published state untouched (the owner drops the overlay or rolls back).
pub trait WritePages: ReadPages {
    /// Like [`ReadPages::page`], but does whatever is needed (reading from disk) to make it succeed, and
    /// makes the page cheap to reach for the calls that follow. Mutating operations use only this one.
    ///
    /// # Errors
    /// Whatever keeps the page from being shown.
    fn fetch(&mut self, id: PageId) -> Result<Self::Page<'_>, Self::Error>;

    /// Offers one operation on a leaf to the overlay's delta of that leaf. `false`: the overlay wants the
    /// leaf changed in place instead (through [`WritePages::edit`]), and has not recorded the operation.
    ///
    /// The overlay must refuse what would break the size bound, that is, if the base's packed length and the
    /// [`delta_cost`](crate::delta_cost) of all deltas over it were to exceed [`WritePages::capacity`]; otherwise a later
    /// [`WritePages::edit`] or consolidation fails.
    ///
    /// # Errors
    /// Whatever keeps the operation from being recorded.
    fn buffer(&mut self, leaf: PageId, op: LeafOp<'_>) -> Result<bool, Self::Error>;

    /// The whole private image of a page (made by [consolidating](crate::consolidate) its state on the first call), to
    /// be edited in place: exactly the payload capacity of a page.
    ///
    /// # Errors
    /// Whatever keeps the page from becoming private.
    fn edit(&mut self, id: PageId) -> Result<&mut [u8], Self::Error>;

    /// A new private page, its bytes zero.
    ///
    /// # Errors
    /// There is no room for another page.
    fn allocate(&mut self) -> Result<PageId, Self::Error>;

    /// Frees a page (private or published) from this state on. The tree has no reference to it any more.
    ///
    /// # Errors
    /// Whatever keeps the change from being recorded.
    fn free(&mut self, id: PageId) -> Result<(), Self::Error>;

    /// Frees a large value whose last reference the operation removes from the tree.
    ///
    /// # Errors
    /// Whatever keeps the change from being recorded.
    fn free_blob(&mut self, blob: BlobRef) -> Result<(), Self::Error>;

    /// Payload bytes of a page.
    fn capacity(&self) -> usize;
}
