//! What a log is created with.

const SEGMENT_SIZE_DEFAULT: u64 = 16 << 20;
const SEGMENT_SIZE_MIN: u64 = 64 << 10;
const SEGMENT_SIZE_MAX: u64 = 1 << 30;
/// Segments are whole blocks of every usual file system.
const SEGMENT_SIZE_UNIT: u64 = 4096;

/// The greatest position a log may be created at.
pub(crate) const START_MAX: u64 = 1 << 62;
/// No segment begins beyond this: more is left before it than will ever be written, and sums behind it cannot overflow.
pub(crate) const BASE_MAX: u64 = 1 << 63;

/// Options of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The size of a segment file in bytes, rounded up to whole 4-KiB blocks and kept between 64 KiB and 1 GiB. A log that
    /// exists keeps the size it was created with.
    pub segment_size: u64,
    /// The id of the database the log belongs to. It is in each segment's header and in each checksum, so that another
    /// database's segments and records are recognised.
    pub database: u128,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_size: SEGMENT_SIZE_DEFAULT, database: 0 }
    }
}

impl LogOptions {
    pub(crate) fn effective_segment_size(&self) -> u64 {
        self.segment_size.clamp(SEGMENT_SIZE_MIN, SEGMENT_SIZE_MAX).next_multiple_of(SEGMENT_SIZE_UNIT)
    }
}

/// Whether a segment of this size, read from a file, can have been written by this crate.
pub(crate) fn is_segment_size(size: u64) -> bool {
    (SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&size) && size.is_multiple_of(SEGMENT_SIZE_UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_brought_into_range() {
        for (asked, got) in [(0, 65536), (65537, 69632), (16 << 20, 16 << 20), (u64::MAX, 1 << 30)] {
            let size = LogOptions { segment_size: asked, database: 0 }.effective_segment_size();
            assert_eq!(size, got);
            assert!(is_segment_size(size));
        }
        assert!(!is_segment_size(65536 + 8));
        assert!(!is_segment_size(0));
    }
}
