//! How much memory a target may take: a counting allocator, and what is asked of it.
//!
//! What an engine needs while it reads a file is bounded by the file's length and by the memory budget that it was given,
//! never by a number that stands in the file. An input whose peak is higher fails, whether the memory would have been
//! there or not. Memory is counted for each thread by itself, as the targets start none and tests run beside each other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

/// No single request of a target is as large as this. It is refused, as by a system that has no such memory: a program that
/// gets as far as asking for it would take down more than itself.
const REFUSED: usize = 1 << 30;

/// What a database takes whatever its files and its budget are: most of it the page table's top level.
const FIXED: usize = 24 << 20;
/// How many bytes of bookkeeping there may be for each byte of a file. The densest is a page table's chunk of 32 KiB for
/// a directory chunk of 4 KiB.
const PER_BYTE: usize = 16;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, and a count.
struct Counting;

fn count(more: isize) {
    // While a thread ends, nobody counts any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + more);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator with the caller's arguments; counting allocates nothing, as
// the counters need neither initialisation nor an end. A refusal is a null pointer, which every caller has to expect.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= REFUSED {
            return std::ptr::null_mut();
        }
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= REFUSED {
            return std::ptr::null_mut();
        }
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size >= REFUSED {
            return std::ptr::null_mut();
        }
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What may be taken from here on. Checked when it is dropped.
pub(crate) struct Allowance {
    before: isize,
    bytes: usize,
}

impl Allowance {
    /// For handling files of so many bytes with such a memory budget.
    pub(crate) fn new(file_bytes: usize, budget: usize) -> Allowance {
        let before = HELD.get();
        PEAK.set(before);
        Allowance { before, bytes: FIXED + budget + PER_BYTE * file_bytes }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        let taken = PEAK.get() - self.before;
        if !std::thread::panicking() {
            assert!(
                taken <= self.bytes.cast_signed(),
                "{taken} bytes of memory were taken, {} were allowed",
                self.bytes
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_more_than_allowed_is_caught() {
        let taken = |bytes: usize| {
            std::panic::catch_unwind(|| {
                let _allowance = Allowance::new(1 << 10, 1 << 20);
                std::hint::black_box(Vec::<u8>::with_capacity(bytes));
            })
        };
        assert!(taken(FIXED).is_ok());
        assert!(taken(FIXED + (2 << 20)).is_err());
        let mut refused = Vec::<u8>::new();
        assert!(refused.try_reserve_exact(REFUSED).is_err());
    }
}
