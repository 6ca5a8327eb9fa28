//! Prefetching: asking the processor for memory some hundreds of instructions before it is needed.
//!
//! A lookup in a tree that is larger than the processor's caches spends most of its time waiting for memory, one line after
//! the other. Whoever has several lookups to do takes them down together, and asks for the next line of each before it looks
//! at the first. All functions here are hints: they change nothing, and what they ask for may have moved on by the time it
//! is used. Where the processor has no such instruction that Rust knows, they do nothing.

#![allow(unsafe_code)]

use crate::link::Word;
use crate::{PageId, Pager};

/// Bytes that come with one request.
const LINE: usize = 64;
/// Lines from a version's beginning on that a search in a leaf looks at before it knows the place of an entry: its header, that of
/// the node, heads of keys.
const FRONT_LINES: usize = 4;

/// Asks for the first line of some bytes.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    prefetch_line(bytes.as_ptr());
}

#[inline]
fn prefetch_line<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing that the program could see, and does not fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

impl Pager {
    /// Asks for the word of the page table that leads to a page.
    #[inline]
    pub fn prefetch_word(&self, page: PageId) {
        if let Some(link) = self.table.get(page) {
            prefetch_line(link);
        }
    }

    /// Asks for the front of the version that lies `depth` versions below the newest one of a page. Touches the page's word and
    /// the headers of the versions above: those had better be there already.
    #[inline]
    pub fn prefetch_version(&self, page: PageId, depth: usize) {
        let Some(link) = self.table.get(page) else { return };
        let guard = self.pin();
        let mut word = link.load(&guard);
        for _ in 0..depth {
            match word {
                Word::Version(version) if !version.is_base() => word = version.header().next.load(&guard),
                _ => return,
            }
        }
        if let Word::Version(version) = word {
            let front = version.as_ptr().cast::<[u8; LINE]>().as_ptr();
            for line in 0..FRONT_LINES {
                prefetch_line(front.wrapping_add(line));
            }
        }
    }
}
