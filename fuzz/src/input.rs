//! A fuzzer's bytes, read as small numbers and runs of bytes. When they have run out, everything is zero or empty.

use std::ops::Bound;

/// The ends of a range of keys.
pub(crate) type Ends = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// What is left of an input.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// At most `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number of two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number of four bytes.
    pub fn word(&mut self) -> u32 {
        u32::from(self.short()) | u32::from(self.short()) << 16
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = if bound <= 1 << 8 { self.byte().into() } else { self.word() };
        number as usize % bound
    }

    /// The ends of a range, with keys that `key` reads.
    pub(crate) fn ends(&mut self, key: fn(&mut Self) -> Vec<u8>) -> Ends {
        let mut end = || match self.below(4) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(key(self)),
            _ => Bound::Included(key(self)),
        };
        (end(), end())
    }

    /// Yes once in `times`.
    pub fn one_in(&mut self, times: u8) -> bool {
        self.byte().is_multiple_of(times)
    }
}
