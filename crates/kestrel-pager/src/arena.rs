//! The frame arena: one anonymous mapping cut into frames of one size.
//!
//! A file mapping cannot have transparent huge pages, an anonymous one can: a lookup in a large pool then
//! misses the TLB far less often. Memory is committed by the kernel when a frame is first touched, so an
//! arena as large as the budget costs nothing until it is used.
//!
//! The arena hands out addresses only; who may use a frame when is decided by [`Pool`](crate::pool::Pool).

#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::Error;

/// A fixed number of frames of `frame_bytes` each, aligned to 4 KiB.
pub(crate) struct Arena {
    base: NonNull<u8>,
    frame_bytes: usize,
    frames: usize,
    #[cfg(not(miri))]
    _mapping: memmap2::MmapMut,
}

// SAFETY: the arena is an address range; it hands out raw pointers and never dereferences them itself.
unsafe impl Send for Arena {}
// SAFETY: as above; all its fields are constant after construction.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves the address space for `frames` frames.
    pub(crate) fn new(frame_bytes: usize, frames: usize) -> Result<Arena, Error> {
        assert!(frame_bytes.is_power_of_two() && frame_bytes >= 4096 && frames > 0);
        let bytes = frame_bytes
            .checked_mul(frames)
            .ok_or(Error::BudgetExhausted { needed: u64::MAX, what: "frame arena" })?;
        Self::map(bytes, frame_bytes, frames)
    }

    #[cfg(not(miri))]
    fn map(bytes: usize, frame_bytes: usize, frames: usize) -> Result<Arena, Error> {
        let mut mapping = memmap2::MmapMut::map_anon(bytes)
            .map_err(|_| Error::BudgetExhausted { needed: bytes as u64, what: "frame arena" })?;
        #[cfg(target_os = "linux")]
        {
            // Advice: an old kernel that refuses it costs speed, not correctness.
            let _ = mapping.advise(memmap2::Advice::HugePage);
        }
        let base = NonNull::new(mapping.as_mut_ptr()).expect("a mapping is never at address zero");
        Ok(Arena { base, frame_bytes, frames, _mapping: mapping })
    }

    #[cfg(miri)]
    fn map(bytes: usize, frame_bytes: usize, frames: usize) -> Result<Arena, Error> {
        let layout = std::alloc::Layout::from_size_align(bytes, 4096).expect("a small test arena");
        // SAFETY: the layout has a size greater than zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).expect("memory for a test");
        Ok(Arena { base, frame_bytes, frames })
    }

    /// The first byte of a frame. The pointer may be used for the whole frame.
    pub(crate) fn frame(&self, number: u32) -> NonNull<u8> {
        let number = number as usize;
        assert!(number < self.frames, "frame {number} of {}", self.frames);
        // SAFETY: the offset lies inside the mapping, by the assertion and the checked size in `new`.
        unsafe { self.base.add(number * self.frame_bytes) }
    }

    /// Bytes of one frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// How many frames there are.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }
}

#[cfg(miri)]
impl Drop for Arena {
    fn drop(&mut self) {
        let layout =
            std::alloc::Layout::from_size_align(self.frame_bytes * self.frames, 4096).expect("as in map");
        // SAFETY: allocated with the same layout in `map`, and freed once.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_do_not_overlap() {
        let arena = Arena::new(4096, 3).unwrap();
        let (first, second) = (arena.frame(0), arena.frame(1));
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 4096);
        assert_eq!(arena.frame(2).as_ptr() as usize % 4096, 0);
    }

    #[test]
    #[should_panic(expected = "frame 3 of 3")]
    fn a_frame_outside_is_refused() {
        Arena::new(4096, 3).unwrap().frame(3);
    }
}
