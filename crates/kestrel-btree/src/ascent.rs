//! How a leaf remembers that its entries come in ascending order, so that a split can leave a full leaf behind.

use crate::format::{ASCENT, set_u16, u16_at};

/// The index of the last insertion (13 bits) and how many before it were each next to the one before (3 bits).
///
/// A hint only: the worst that a wrong one does is an uneven split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ascent(u16);

const INDEX_BITS: u32 = 13;
const INDEX: u16 = (1 << INDEX_BITS) - 1;
const MAX_RUN: u16 = (1 << (16 - INDEX_BITS)) - 1;
/// So many insertions side by side are no chance.
const CLEAR_RUN: u16 = 4;

impl Ascent {
    pub(crate) fn of(node: &[u8]) -> Ascent {
        Ascent(u16_at(node, ASCENT))
    }

    pub(crate) fn store(self, node: &mut [u8]) {
        set_u16(node, ASCENT, usize::from(self.0));
    }

    fn index(self) -> usize {
        usize::from(self.0 & INDEX)
    }

    fn run(self) -> u16 {
        self.0 >> INDEX_BITS
    }

    fn new(index: usize, run: u16) -> Ascent {
        // An index beyond the bits has no successor that could be taken for a run.
        Ascent(index.min(usize::from(INDEX)) as u16 | run << INDEX_BITS)
    }

    /// After an insertion at an index.
    pub(crate) fn inserted(self, index: usize) -> Ascent {
        let run = if index == self.index() + 1 { (self.run() + 1).min(MAX_RUN) } else { 0 };
        Ascent::new(index, run)
    }

    /// After the removal of some entries.
    pub(crate) fn removed(self, start: usize, end: usize) -> Ascent {
        match self.index() {
            index if index < start => self,
            index if index >= end => Ascent::new(index - (end - start), self.run()),
            _ => Ascent(0),
        }
    }

    /// Whether an insertion at an index would go on with a clear run.
    pub(crate) fn goes_on_at(self, index: usize) -> bool {
        self.run() >= CLEAR_RUN && index == self.index() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_and_broken() {
        let mut ascent = Ascent(0);
        for index in 7..12 {
            assert!(!ascent.goes_on_at(index));
            ascent = ascent.inserted(index);
        }
        assert!(ascent.goes_on_at(12) && !ascent.goes_on_at(11));
        assert!(ascent.removed(2, 5).goes_on_at(9));
        assert!(ascent.removed(12, 14).goes_on_at(12));
        assert!(!ascent.removed(10, 12).goes_on_at(10));
        assert!(!ascent.inserted(3).goes_on_at(4));
        for index in 8000..20_000 {
            ascent = ascent.inserted(index);
        }
        assert!(!ascent.goes_on_at(20_000));
    }
}
