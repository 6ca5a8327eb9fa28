//! A link: the one atomic word by which a page table entry, a delta or a base names what comes next.
//!
//! Encoding: zero is *empty*; bit 0 set is a *disk location* shifted left by one; anything else is the address
//! of a version header (at least 8-aligned). Links are read by anyone under an epoch guard, and changed only
//! under the page's stripe lock (or while the version that holds the link is still private).

#![allow(unsafe_code)]

use kestrel_check::sync::modelled::{AtomicPtr, Ordering};
use std::ptr::NonNull;

use crossbeam_epoch::Guard;

use crate::store::Location;
use crate::version::{Header, VersionRef};

/// The atomic word.
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct Link(AtomicPtr<Header>);

/// What a link said at one moment; a version stays readable as long as the guard is pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word<'g> {
    /// Nothing: no such page, or no older segment.
    Empty,
    /// An image on disk that needs no memory (see invariant I9).
    OnDisk(Location),
    /// A version in memory.
    Version(VersionRef<'g>),
}

impl Link {
    /// Reads the link. Acquire: what the version's builder wrote is visible.
    #[inline]
    pub(crate) fn load<'g>(&self, _guard: &'g Guard) -> Word<'g> {
        Self::decode(self.0.load(Ordering::Acquire))
    }

    /// Writes the link. Release: pairs with [`Link::load`].
    #[inline]
    pub(crate) fn store(&self, word: Word<'_>) {
        self.0.store(Self::encode(word), Ordering::Release);
    }

    /// The bare address, for walking versions that are out of every chain.
    pub(crate) fn raw(&self) -> *mut Header {
        self.0.load(Ordering::Acquire)
    }

    #[inline]
    fn encode(word: Word<'_>) -> *mut Header {
        match word {
            Word::Empty => std::ptr::null_mut(),
            Word::OnDisk(location) => {
                std::ptr::without_provenance_mut(((location.to_bits() << 1) | 1) as usize)
            }
            Word::Version(version) => version.as_ptr().as_ptr(),
        }
    }

    #[inline]
    fn decode<'g>(raw: *mut Header) -> Word<'g> {
        match NonNull::new(raw) {
            None => Word::Empty,
            Some(_) if raw.addr() & 1 == 1 => Word::OnDisk(Location::from_bits((raw.addr() >> 1) as u64)),
            // SAFETY: a link holds a version's address only while the version is owned by the chain; whoever
            // unlinks it hands it to the epoch, so it outlives every guard pinned before that.
            Some(pointer) => Word::Version(unsafe { VersionRef::new(pointer) }),
        }
    }
}

#[cfg(all(test, kestrel_loom))]
mod models;
