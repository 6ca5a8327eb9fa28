//! The superblock: two slots, written alternately, of which the newest valid one names the checkpoint.
//!
//! A slot's content lies within one sector and carries its own checksum, so a torn slot is an invalid one, and the
//! other still names the checkpoint before.

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

use super::format::{FIRST_SECTOR, SECTOR, field};
use super::location::Location;
use crate::{Error, Timestamp};

/// The version of the format that this crate writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Bytes of a slot.
pub(crate) const SLOT: usize = 4096;
/// How many slots there are, one behind the other from the file's first byte on.
pub(crate) const SLOTS: usize = 2;

const MAGIC: [u8; 8] = *b"KESTRDAT";
const CHECKSUM_AT: usize = 508;
const USED: usize = 80;

/// Bytes of a slot that may not be zero: one sector.
pub(crate) const SECTOR_BYTES: usize = CHECKSUM_AT + 4;

const _: () = assert!((SLOT * SLOTS) as u64 <= FIRST_SECTOR * SECTOR && SECTOR_BYTES as u64 == SECTOR);

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) page_size: u32,
    pub(crate) database: u128,
    /// Checkpoints are numbered from zero; the slot is the number's lowest bit.
    pub(crate) number: u64,
    pub(crate) lsn: u64,
    pub(crate) timestamp: Timestamp,
    pub(crate) next_page: u32,
    pub(crate) root_sector: u64,
    /// Bytes of the root.
    pub(crate) root_len: u64,
    pub(crate) root_checksum: u32,
}

/// What a slot turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Valid(Superblock),
    /// Intact, but of this later version.
    Newer(u32),
    /// It has a superblock's first bytes.
    Damaged,
    /// Nothing was ever written, or it is behind the end of the file.
    Empty,
    Foreign,
}

/// The slot of a checkpoint: its number's lowest bit.
fn slot_of(number: u64) -> u64 {
    const _: () = assert!(SLOTS == 2);
    number & 1
}

/// Whether this crate can handle pages of that size.
pub(crate) fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (4096..=65536).contains(&bytes)
}

impl Superblock {
    /// Where the checkpoint's slot begins.
    pub(crate) fn offset(&self) -> u64 {
        if slot_of(self.number) == 0 { 0 } else { SLOT as u64 }
    }

    pub(crate) fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.page_size.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.database.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.timestamp.0.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.root_sector.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.root_len.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.root_checksum.to_le_bytes());
        bytes[76..80].copy_from_slice(&self.next_page.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Magic, version and checksum keep their places in every version, so a later version is told from damage.
    fn decode(bytes: &[u8]) -> Option<Slot> {
        let checked = bytes.get(..CHECKSUM_AT)?;
        if field::<8>(bytes, 0)? != MAGIC {
            return Some(if bytes.iter().all(|&b| b == 0) { Slot::Empty } else { Slot::Foreign });
        }
        if crc32fast::hash(checked).to_le_bytes() != field(bytes, CHECKSUM_AT)? {
            return Some(Slot::Damaged);
        }
        let version = u32::from_le_bytes(field(bytes, 8)?);
        if version > FORMAT_VERSION {
            return Some(Slot::Newer(version));
        }
        let superblock = Superblock {
            page_size: u32::from_le_bytes(field(bytes, 12)?),
            database: u128::from_le_bytes(field(bytes, 16)?),
            number: u64::from_le_bytes(field(bytes, 32)?),
            lsn: u64::from_le_bytes(field(bytes, 40)?),
            timestamp: Timestamp(u64::from_le_bytes(field(bytes, 48)?)),
            root_sector: u64::from_le_bytes(field(bytes, 56)?),
            root_len: u64::from_le_bytes(field(bytes, 64)?),
            root_checksum: u32::from_le_bytes(field(bytes, 72)?),
            next_page: u32::from_le_bytes(field(bytes, 76)?),
        };
        let sound = version == FORMAT_VERSION
            && is_page_size(superblock.page_size)
            && superblock.timestamp <= Timestamp::LAST_ON_DISK
            // The slots are written alternately, so there is always a next number.
            && superblock.number < u64::MAX
            && (FIRST_SECTOR..Location::SECTORS).contains(&superblock.root_sector)
            && checked.get(USED..)?.iter().all(|&b| b == 0);
        Some(if sound { Slot::Valid(superblock) } else { Slot::Damaged })
    }
}

/// The valid slots, by slot.
pub(crate) fn valid(bytes: &[u8]) -> [Option<Superblock>; SLOTS] {
    std::array::from_fn(|slot| match Superblock::decode(bytes.chunks(SLOT).nth(slot)?)? {
        Slot::Valid(superblock) if slot_of(superblock.number) == slot as u64 => Some(superblock),
        _ => None,
    })
}

/// The valid slot with the highest number.
pub(crate) fn newest(bytes: &[u8]) -> Option<Superblock> {
    valid(bytes).into_iter().flatten().max_by_key(|superblock| superblock.number)
}

/// What is wrong with slots of a file whose newest checkpoint has this number: by slot, in words. In a file in good order each
/// holds the newest checkpoint of its kind.
pub(crate) fn problems(bytes: &[u8], newest: u64) -> Vec<(usize, String)> {
    let expected = [newest, newest.saturating_sub(1)];
    let judge = |slot: usize| {
        let bytes = bytes.chunks(SLOT).nth(slot)?.get(..SECTOR_BYTES)?;
        match Superblock::decode(bytes)? {
            Slot::Valid(superblock) if expected.contains(&superblock.number) => Some(None),
            Slot::Valid(superblock) => Some(Some(format!("it is of checkpoint {}", superblock.number))),
            Slot::Newer(version) => Some(Some(format!("it is of format version {version}"))),
            Slot::Damaged => Some(Some("its checksum or a field is wrong".to_owned())),
            Slot::Empty => Some(Some("it is empty".to_owned())),
            Slot::Foreign => Some(Some("it does not begin as a superblock does".to_owned())),
        }
    };
    let judged =
        (0..SLOTS).map(|slot| (slot, judge(slot).unwrap_or(Some("the file ends before".to_owned()))));
    judged.filter_map(|(slot, problem)| Some((slot, problem?))).collect()
}

/// Chooses between the slots, of which `bytes` holds what the file has of them.
pub(crate) fn choose(bytes: &[u8]) -> Result<Superblock, Error> {
    let mut slots = [Slot::Empty; SLOTS];
    for (slot, (number, bytes)) in slots.iter_mut().zip((0u64..).zip(bytes.chunks(SLOT))) {
        // A file cut within a slot's first sector.
        *slot = Superblock::decode(bytes).unwrap_or(Slot::Empty);
        if matches!(*slot, Slot::Valid(superblock) if slot_of(superblock.number) != number) {
            // A copy of the other slot.
            *slot = Slot::Damaged;
        }
    }
    // A newer program may have left the other slot in the old format: its own is the one that counts.
    if let Some(found) = slots.iter().find_map(|slot| if let Slot::Newer(v) = slot { Some(*v) } else { None })
    {
        return Err(Error::NewerFormat { found, supported: FORMAT_VERSION });
    }
    let valid = slots.iter().filter_map(|slot| if let Slot::Valid(s) = slot { Some(*s) } else { None });
    if let Some(newest) = valid.max_by_key(|superblock| superblock.number) {
        let same_database = slots.iter().all(|slot| match slot {
            Slot::Valid(other) => (other.database, other.page_size) == (newest.database, newest.page_size),
            _ => true,
        });
        return if same_database {
            Ok(newest)
        } else {
            Err(Error::NoSuperblock { detail: "the two belong to different databases".to_owned() })
        };
    }
    if slots.contains(&Slot::Damaged) {
        let detail = "neither of the two passes its checks".to_owned();
        return Err(Error::NoSuperblock { detail });
    }
    if slots.iter().all(|slot| *slot == Slot::Empty) {
        return Err(Error::NoSuperblock { detail: "the file's first bytes are empty".to_owned() });
    }
    Err(Error::NotADatabase { detail: "its first bytes are not a superblock's".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(number: u64) -> Superblock {
        Superblock {
            page_size: 4096,
            database: 1 << 90,
            number,
            lsn: number * 100,
            timestamp: Timestamp(number * 10),
            next_page: 5,
            root_sector: 128,
            root_len: 16,
            root_checksum: 7,
        }
    }

    fn slots(even: u64, odd: u64) -> Vec<u8> {
        [superblock(even).encode(), superblock(odd).encode()].concat()
    }

    fn with_version(mut slot: [u8; SLOT], version: u8) -> [u8; SLOT] {
        slot[8] = version;
        let checksum = crc32fast::hash(&slot[..CHECKSUM_AT]);
        slot[CHECKSUM_AT..512].copy_from_slice(&checksum.to_le_bytes());
        slot
    }

    #[test]
    fn the_newest_valid_slot_counts() {
        assert_eq!(choose(&slots(4, 3)).unwrap(), superblock(4));
        assert_eq!(choose(&slots(4, 5)).unwrap(), superblock(5));
        for bit in 0..512 * 8 {
            let mut bytes = slots(4, 5);
            bytes[SLOT + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(choose(&bytes).unwrap(), superblock(4), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
            match choose(&bytes) {
                Err(Error::NotADatabase { .. }) => assert!(bit < 64, "bit {bit}"),
                Err(Error::NoSuperblock { .. }) => assert!(bit >= 64, "bit {bit}"),
                other => panic!("bit {bit}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_slot_in_the_wrong_place_does_not_count() {
        assert_eq!(choose(&slots(4, 6)).unwrap(), superblock(4));
        assert!(matches!(choose(&slots(5, 6)), Err(Error::NoSuperblock { .. })));
    }

    #[test]
    fn cut_and_foreign_files_are_told_apart() {
        let whole = slots(4, 5);
        for len in 0..512 {
            assert!(matches!(choose(&whole[..len]), Err(Error::NoSuperblock { .. })), "{len}");
        }
        assert_eq!(choose(&whole[..512]).unwrap(), superblock(4));
        assert_eq!(choose(&whole[..SLOT + 511]).unwrap(), superblock(4));
        assert!(matches!(choose(&[0; 2 * SLOT]), Err(Error::NoSuperblock { .. })));
        assert!(matches!(choose(&[b'x'; 2 * SLOT]), Err(Error::NotADatabase { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_even_beside_an_old_slot() {
        let bytes = [superblock(4).encode(), with_version(superblock(5).encode(), 2)].concat();
        assert!(matches!(choose(&bytes), Err(Error::NewerFormat { found: 2, supported: 1 })));
        let bytes = [with_version(superblock(4).encode(), 0), superblock(3).encode()].concat();
        assert_eq!(choose(&bytes).unwrap(), superblock(3));
    }

    #[test]
    fn numbers_that_leave_no_room_for_a_next_one_are_damage() {
        let newest =
            |odd: &Superblock| choose(&[superblock(4).encode(), odd.encode()].concat()).unwrap().number;
        let mut odd = superblock(5);
        odd.timestamp = Timestamp::LAST_ON_DISK;
        assert_eq!(newest(&odd), 5);
        odd.timestamp = Timestamp::LAST_ON_DISK.next();
        assert_eq!(newest(&odd), 4);
        odd = superblock(5);
        odd.number = u64::MAX;
        assert_eq!(newest(&odd), 4);
    }

    #[test]
    fn slots_of_two_databases_are_refused() {
        let mut other = superblock(5);
        other.database = 3;
        let bytes = [superblock(4).encode(), other.encode()].concat();
        assert!(matches!(choose(&bytes), Err(Error::NoSuperblock { .. })));
    }
}
