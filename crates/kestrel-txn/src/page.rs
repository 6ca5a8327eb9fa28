//! Pages as trees see them: a published state, with or without a private delta over it, or a private node.

use std::borrow::Borrow;

use crossbeam_epoch::Guard;
use kestrel_btree::{Corruption, Found, FoundCell, Layer, PageView, ReadPages};
use kestrel_pager::{Fault, HeldPage, PageId, Pager, PinnedPage, Timestamp};

use crate::{Error, Value};

/// A page in some state. `G` is the pin that it has, or borrows.
pub(crate) enum Page<'a, G: Borrow<Guard> = Guard> {
    Published(PinnedPage<G>),
    /// A private delta over a published state.
    Layered(PinnedPage<G>, &'a [u8]),
    Private(&'a [u8]),
}

impl<G: Borrow<Guard>> PageView for Page<'_, G> {
    #[inline]
    fn node(&self) -> &[u8] {
        match self {
            Page::Published(page) | Page::Layered(page, _) => page.node(),
            Page::Private(node) => node,
        }
    }

    #[inline]
    fn delta_count(&self) -> usize {
        match self {
            Page::Published(page) => page.delta_count(),
            Page::Layered(page, _) => page.delta_count() + 1,
            Page::Private(_) => 0,
        }
    }

    #[inline]
    fn delta(&self, newest_first: usize) -> &[u8] {
        match (self, newest_first) {
            (Page::Layered(_, private), 0) => private,
            (Page::Layered(page, _), _) => page.delta(newest_first - 1),
            (Page::Published(page), _) => page.delta(newest_first),
            (Page::Private(_), _) => &[],
        }
    }
}

impl<G: Borrow<Guard>> Page<'_, G> {
    /// The bytes of a value that lies in the page, without a copy where the page can be held.
    pub(crate) fn value(&self, found: &Found, range: std::ops::Range<usize>) -> Value {
        let held = match (self, found.layer) {
            (Page::Published(page), Layer::Base) => page.hold(None),
            (Page::Published(page), Layer::Delta(index)) => page.hold(Some(index)),
            _ => None,
        };
        if let Some(held) = held {
            return Value::held(held, range);
        }
        let payload = match found.layer {
            Layer::Base => self.node(),
            Layer::Delta(index) => self.delta(index),
        };
        Value::owned(payload.get(range).unwrap_or(&[]).to_vec())
    }
}

/// Why a page cannot be shown at once.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It has to be read from disk; then the whole operation starts again.
    NotResident(PageId),
    Failed(Error),
}

impl From<Corruption> for ReadError {
    fn from(damage: Corruption) -> ReadError {
        ReadError::Failed(damage.into())
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> ReadError {
        match fault {
            Fault::NotResident(page) => ReadError::NotResident(page),
            Fault::Missing(page) => Corruption::at(page, "a page that does not exist is referred to").into(),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        match error {
            ReadError::Failed(error) => error,
            // Mutating operations fetch; reading ones load and start again. Neither lets this escape.
            ReadError::NotResident(page) => Corruption::at(page, "a page was not loaded").into(),
        }
    }
}

/// All pages as a snapshot shows them.
pub(crate) struct SnapshotPages<'p> {
    pub(crate) pager: &'p Pager,
    pub(crate) at: Timestamp,
}

impl ReadPages for SnapshotPages<'_> {
    type Error = ReadError;
    type Page<'a>
        = Page<'a>
    where
        Self: 'a;

    #[inline]
    fn page(&self, id: PageId) -> Result<Page<'_>, ReadError> {
        Ok(Page::Published(self.pager.read(id, self.at)?))
    }
}

/// All pages as a snapshot shows them, for a caller that has pinned the epoch, and so waits for nothing.
pub(crate) struct PinnedPages<'p> {
    pub(crate) pager: &'p Pager,
    pub(crate) at: Timestamp,
    pub(crate) guard: &'p Guard,
}

impl ReadPages for PinnedPages<'_> {
    type Error = ReadError;
    type Page<'a>
        = Page<'a, &'a Guard>
    where
        Self: 'a;

    #[inline]
    fn page(&self, id: PageId) -> Result<Page<'_, &'_ Guard>, ReadError> {
        Ok(Page::Published(self.pager.read_under(self.guard, id, self.at)?))
    }
}

/// A leaf that a cursor stands on between calls.
pub(crate) enum LeafView {
    Held(HeldPage),
    /// Where too many pages are held, or the page is private: a copy with its deltas merged.
    Copied(Vec<u8>),
}

impl PageView for LeafView {
    fn node(&self) -> &[u8] {
        match self {
            LeafView::Held(page) => page.node(),
            LeafView::Copied(node) => node,
        }
    }

    fn delta_count(&self) -> usize {
        match self {
            LeafView::Held(page) => page.delta_count(),
            LeafView::Copied(_) => 0,
        }
    }

    fn delta(&self, newest_first: usize) -> &[u8] {
        match self {
            LeafView::Held(page) => page.delta(newest_first),
            LeafView::Copied(_) => &[],
        }
    }
}

impl LeafView {
    pub(crate) fn new<G: Borrow<Guard>>(page: &Page<'_, G>) -> Result<LeafView, Error> {
        if let Page::Published(page) = page
            && let Some(held) = page.hold_all()
        {
            return Ok(LeafView::Held(held));
        }
        let mut copy = vec![0; page.node().len()];
        kestrel_btree::consolidate(page, &mut copy).map_err(Corruption::from)?;
        Ok(LeafView::Copied(copy))
    }

    /// An inline value.
    pub(crate) fn value(&self, found: &Found) -> Option<Value> {
        let FoundCell::Inline(range) = &found.cell else { return None };
        let range = range.clone();
        Some(match (self, found.layer) {
            (LeafView::Held(page), Layer::Base) => Value::held(page.part(None), range),
            (LeafView::Held(page), Layer::Delta(index)) => Value::held(page.part(Some(index)), range),
            (LeafView::Copied(node), _) => Value::owned(node.get(range).unwrap_or(&[]).to_vec()),
        })
    }
}
