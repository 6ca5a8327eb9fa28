//! Where an image lies: one word that fits the page table beside its tag bit.

// Bytes from a disk are met here: nothing is indexed, cut short or added up without a check.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use std::fmt;

use super::format::{FIRST_SECTOR, FOOTER, SECTOR, sectors_for};

const TAG_BITS: u32 = 16;
const LENGTH_BITS: u32 = 8;
const SECTOR_BITS: u32 = 39;

const _: () = assert!(TAG_BITS + LENGTH_BITS + SECTOR_BITS == 63);

/// Where a page's image or blob lies in the data file, and part of its checksum.
///
/// From the highest bit down: a 39-bit sector number, an 8-bit length in sectors (zero: a blob, whose length others
/// know), and a 16-bit tag. As sector zero holds a superblock, no location is the word zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(u64);

impl Location {
    /// The number of sectors a location can tell apart: 256 TiB of them.
    pub(crate) const SECTORS: u64 = 1 << SECTOR_BITS;

    /// The location of an image of `sectors` sectors, or of a blob if that is zero.
    pub(crate) fn new(sector: u64, sectors: u8, tag: u16) -> Location {
        debug_assert!((FIRST_SECTOR..Self::SECTORS).contains(&sector));
        Location((sector << (LENGTH_BITS + TAG_BITS)) | (u64::from(sectors) << TAG_BITS) | u64::from(tag))
    }

    /// The word: never zero, less than 2⁶³.
    #[inline]
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Location::to_bits`]. The word must come from there; words from a disk go through
    /// [`Location::checked_from_bits`].
    #[inline]
    #[must_use]
    pub fn from_bits(bits: u64) -> Location {
        debug_assert!(Self::checked_from_bits(bits).is_some(), "{bits:#x} is no location");
        Location(bits)
    }

    /// The location that the word stands for, if it can stand for one at all.
    #[must_use]
    pub fn checked_from_bits(bits: u64) -> Option<Location> {
        let location = Location(bits);
        (bits >> 63 == 0 && location.sector() >= FIRST_SECTOR).then_some(location)
    }

    /// Whether this is a blob's, whose length lies elsewhere.
    #[must_use]
    pub fn is_blob(self) -> bool {
        self.sectors() == 0
    }

    /// The first byte's position in the data file.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.sector().saturating_mul(SECTOR)
    }

    /// At most how many packed bytes the image there has.
    pub(crate) fn image_bytes_max(self) -> u32 {
        payload_max(u64::from(self.sectors()))
    }

    /// What [`Location::image_bytes_max`] will say of an image of `len` packed bytes.
    pub(crate) fn image_bound(len: u32) -> u32 {
        payload_max(sectors_for(len.into()))
    }

    pub(crate) fn sector(self) -> u64 {
        self.0 >> (LENGTH_BITS + TAG_BITS)
    }

    /// Length of an image in sectors; zero for a blob.
    pub(crate) fn sectors(self) -> u8 {
        let [_, _, sectors, ..] = self.0.to_le_bytes();
        sectors
    }

    /// The low 16 bits of the checksum.
    pub(crate) fn tag(self) -> u16 {
        let [low, high, ..] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// The sectors that the image, or the blob of `blob_len` bytes, takes up.
    pub(crate) fn extent(self, blob_len: Option<u32>) -> Extent {
        debug_assert_eq!(self.is_blob(), blob_len.is_some(), "blobs have a length, images know theirs");
        let sectors = blob_len.map_or(u64::from(self.sectors()), |len| sectors_for(u64::from(len)));
        Extent { sector: self.sector(), sectors }
    }
}

/// The part of a checksum that a location holds: its low 16 bits.
pub(crate) fn tag_of(checksum: u32) -> u16 {
    let [low, high, ..] = checksum.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// What an extent has room for beside the footer. Sums of lengths that do not fit 32 bits saturate: there is no such image.
fn payload_max(sectors: u64) -> u32 {
    u32::try_from(sectors.saturating_mul(SECTOR).saturating_sub(FOOTER as u64)).unwrap_or(u32::MAX)
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({}+{} #{:04x})", self.sector(), self.sectors(), self.tag())
    }
}

/// A run of sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) sector: u64,
    pub(crate) sectors: u64,
}

impl Extent {
    /// The first sector behind the run.
    pub(crate) fn end(self) -> u64 {
        self.sector.saturating_add(self.sectors)
    }

    /// The first byte's position in the data file.
    pub(crate) fn offset(self) -> u64 {
        self.sector.saturating_mul(SECTOR)
    }

    /// Length in bytes.
    pub(crate) fn bytes(self) -> u64 {
        self.sectors.saturating_mul(SECTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_part_comes_back(sector in FIRST_SECTOR..Location::SECTORS, sectors: u8, tag: u16) {
            let location = Location::new(sector, sectors, tag);
            let bits = location.to_bits();
            prop_assert!(bits != 0 && bits >> 63 == 0);
            let back = Location::from_bits(bits);
            prop_assert_eq!((back.sector(), back.sectors(), back.tag()), (sector, sectors, tag));
            prop_assert_eq!(back.offset(), sector * 512);
            prop_assert_eq!(Location::checked_from_bits(bits | 1 << 63), None);
        }
    }

    #[test]
    fn the_reserved_sectors_are_no_location() {
        assert_eq!(Location::checked_from_bits(0), None);
        assert_eq!(Location::checked_from_bits((FIRST_SECTOR - 1) << 24), None);
        assert!(Location::checked_from_bits(FIRST_SECTOR << 24).is_some());
    }

    #[test]
    fn extents_of_blobs_include_the_footer() {
        let blob = Location::new(1000, 0, 0);
        assert_eq!(blob.extent(Some(480)), Extent { sector: 1000, sectors: 1 });
        assert_eq!(blob.extent(Some(481)), Extent { sector: 1000, sectors: 2 });
        assert_eq!(blob.extent(Some(u32::MAX)).bytes(), (1 << 32) + 512);
        assert_eq!(Location::new(1000, 9, 0).extent(None).end(), 1009);
    }
}
