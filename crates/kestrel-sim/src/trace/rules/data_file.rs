//! What a data file says, read as `docs/file-format.md` has it, and not by the engine's own code.

use std::ops::Range;

use super::fields::{field, u32_at, u64_at};

const SECTOR: u64 = 512;
const CHUNK: usize = 4096;
/// Bytes of a slot of the superblock.
pub(crate) const SLOT: u64 = 4096;
/// Before it lies nothing but superblocks.
pub(crate) const FIRST_EXTENT: u64 = 65_536;
const FOOTER: u64 = 32;

/// What a slot says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Superblock {
    database: [u8; 16],
    pub(crate) number: u64,
    pub(crate) lsn: u64,
    root_sector: u64,
    root_len: u64,
    root_checksum: u32,
}

impl Superblock {
    pub(crate) fn decode(slot: &[u8]) -> Option<Superblock> {
        let checked = slot.get(..508)?;
        let sound = slot.starts_with(b"KESTRDAT") && u32_at(slot, 508)? == crc32fast::hash(checked);
        sound.then_some(())?;
        Some(Superblock {
            database: field(slot, 16)?,
            number: u64_at(slot, 32)?,
            lsn: u64_at(slot, 40)?,
            root_sector: u64_at(slot, 56)?,
            root_len: u64_at(slot, 64)?,
            root_checksum: u32_at(slot, 72)?,
        })
    }

    /// The newest of a file.
    pub(crate) fn newest(file: &[u8]) -> Option<Superblock> {
        let slot = |at: u64| file.get((at * SLOT) as usize..).and_then(Superblock::decode);
        [slot(0), slot(1)].into_iter().flatten().max_by_key(|block| block.number)
    }

    fn checksum(&self, parts: &[&[u8]]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(&self.database));
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize()
    }

    /// Every byte range that it needs, itself not counted: root, chunks, images and blobs, each with a right checksum.
    pub(crate) fn needs(&self, file: &[u8]) -> Result<Vec<Range<u64>>, String> {
        let at = self.root_sector * SECTOR;
        let root = piece(file, at..at + self.root_len).ok_or("its root reaches behind the end")?;
        if self.checksum(&[root]) != self.root_checksum {
            return Err("its root has another checksum".to_owned());
        }
        let mut needs = Vec::new();
        needs.push(at..at + self.root_len.next_multiple_of(SECTOR));
        let count = u32_at(root, 4).ok_or("its root is too short")? as usize;
        let references = root.get(16..16 + count * 16).ok_or("its root is too short")?;
        for (number, reference) in references.chunks_exact(16).enumerate() {
            let (Some(sector), Some(checksum)) = (u64_at(reference, 0), u32_at(reference, 8)) else {
                continue;
            };
            if sector == 0 {
                continue;
            }
            let range = sector * SECTOR..sector * SECTOR + CHUNK as u64;
            let chunk = piece(file, range.clone()).filter(|chunk| self.checksum(&[chunk]) == checksum);
            let chunk = chunk.ok_or_else(|| format!("directory chunk {number} is not there"))?;
            needs.push(range);
            for (index, entry) in chunk.chunks_exact(16).enumerate() {
                needs.extend(self.entry(file, entry, number * (CHUNK / 16) + index)?);
            }
        }
        needs.sort_by_key(|range| range.start);
        Ok(needs)
    }

    fn entry(&self, file: &[u8], entry: &[u8], page: usize) -> Result<Option<Range<u64>>, String> {
        let broken = || format!("the image of page {page} is not there");
        let fields = (u64_at(entry, 0), u32_at(entry, 8), u32_at(entry, 12));
        let (Some(location), Some(checksum), Some(blob_len)) = fields else { return Err(broken()) };
        if location == 0 {
            return Ok(None);
        }
        let range = extent(location, blob_len);
        let bytes = piece(file, range.clone()).ok_or_else(broken)?;
        let (body, footer) = bytes.split_at(bytes.len() - FOOTER as usize);
        let is_blob = footer[4..8] == *b"KBLB";
        let len = u32_at(footer, 24).unwrap_or(u32::MAX) as usize;
        let payload = if is_blob { Some(&[][..]) } else { body.get(..len) };
        let sealed = payload.map(|payload| self.checksum(&[payload, &footer[4..]]));
        let own = u32_at(footer, 0);
        // A large value that recovery took over was written for another page.
        let is_own = is_blob || u32_at(footer, 8) == Some(page as u32);
        let sound = own.is_some() && own == sealed && is_own;
        let agrees = checksum == if is_blob { u32_at(footer, 28).unwrap_or(0) } else { own.unwrap_or(0) };
        let content = !is_blob || body.get(..len).is_some_and(|body| crc32fast::hash(body) == checksum);
        if sound && agrees && content {
            return Ok(Some(range));
        }
        let what = if is_blob { "large value" } else { "image" };
        let why = format!("sealed {sound}, as the directory says {agrees}, content {content}");
        Err(format!("the {what} of page {page} at {range:?} is not there: {why}"))
    }
}

/// The bytes of a location.
pub(crate) fn extent(location: u64, blob_len: u32) -> Range<u64> {
    let sector = (location >> 24) & ((1 << 39) - 1);
    let sectors = match (location >> 16) & 0xFF {
        0 => (u64::from(blob_len) + FOOTER).div_ceil(SECTOR),
        sectors => sectors,
    };
    sector * SECTOR..(sector + sectors) * SECTOR
}

fn piece(file: &[u8], range: Range<u64>) -> Option<&[u8]> {
    file.get(range.start as usize..range.end as usize)
}
