//! Checksums made right again after the bytes under them were changed: what a forger would do, and what lets a fuzzer
//! get behind them. Written after `docs/file-format.md`, not after the code.

use crate::files::Files;

const SECTOR: usize = 512;
const SLOT: usize = 4096;
const CHUNK: usize = 4096;
const FOOTER: usize = 32;

/// All files of a database of that id.
pub(crate) fn all(files: &mut Files, database: u128) {
    for (name, bytes) in files.iter_mut() {
        segment(name, bytes, database);
        if name == "kestrel.data" {
            data_file(bytes, database);
        }
    }
}

/// A segment's header, and whatever says of itself that it is a record at its own place.
pub(crate) fn segment(name: &str, bytes: &mut [u8], database: u128) {
    let Some(base) = name.strip_prefix("kestrel.log.").and_then(|digits| digits.parse::<u64>().ok()) else {
        return;
    };
    if bytes.len() >= 64 {
        let checksum = crc32fast::hash(&bytes[..60]);
        put(bytes, 60, checksum);
    }
    let mut at = 64;
    while at + 32 <= bytes.len() {
        let lsn = u64::from(word(bytes, at + 8)) | u64::from(word(bytes, at + 12)) << 32;
        let len = if bytes[at + 16] == 0xFF { 0 } else { word(bytes, at + 4) as usize };
        let end = (at + 32).saturating_add(len).next_multiple_of(8);
        if base.checked_add(at as u64) != Some(lsn) || end > bytes.len() {
            at += 8;
            continue;
        }
        let checksum = seeded(database, &[&bytes[at + 4..end]]);
        put(bytes, at, checksum);
        at = end;
    }
}

/// A data file: everything that its superblocks lead to, from the images up.
pub(crate) fn data_file(bytes: &mut [u8], database: u128) {
    for slot in [0, SLOT] {
        if bytes.len() < slot + SECTOR {
            return;
        }
        if let Some((root, len)) = extent(bytes, double(bytes, slot + 56), double(bytes, slot + 64)) {
            chunks(bytes, database, root, len);
            let checksum = seeded(database, &[&bytes[root..root + len]]);
            put(bytes, slot + 72, checksum);
        }
        let checksum = crc32fast::hash(&bytes[slot..slot + 508]);
        put(bytes, slot + 508, checksum);
    }
}

/// Where an extent of a sector and a length in bytes begins, if the file holds it.
fn extent(bytes: &[u8], sector: u64, len: u64) -> Option<(usize, usize)> {
    let start = usize::try_from(sector).ok()?.checked_mul(SECTOR)?;
    let len = usize::try_from(len).ok()?;
    (start >= 128 * SECTOR && start.checked_add(len)? <= bytes.len()).then_some((start, len))
}

fn chunks(bytes: &mut [u8], database: u128, root: usize, len: usize) {
    let count = if len >= 16 { word(bytes, root + 4) as usize } else { 0 };
    for reference in 0..count.min(len.saturating_sub(16) / 16) {
        let at = root + 16 + 16 * reference;
        let Some((chunk, _)) = extent(bytes, double(bytes, at), CHUNK as u64) else { continue };
        for entry in (chunk..chunk + CHUNK).step_by(16) {
            image(bytes, database, entry);
        }
        let checksum = seeded(database, &[&bytes[chunk..chunk + CHUNK]]);
        put(bytes, at + 8, checksum);
    }
}

/// An image or a blob, and the directory entry that names it.
fn image(bytes: &mut [u8], database: u128, entry: usize) {
    let location = double(bytes, entry);
    let sectors = location >> 16 & 0xFF;
    let blob_len = word(bytes, entry + 12);
    let len = if sectors == 0 { (u64::from(blob_len) + 32).next_multiple_of(512) } else { sectors * 512 };
    let Some((start, len)) = extent(bytes, location >> 24, len) else { return };
    let footer = start + len - FOOTER;
    let checksum = if sectors == 0 {
        let Some(value) = bytes.get(start..start + blob_len as usize) else { return };
        let of_value = crc32fast::hash(value);
        put(bytes, footer + 28, of_value);
        let checksum = seeded(database, &[&bytes[footer + 4..footer + FOOTER]]);
        put(bytes, footer, checksum);
        of_value
    } else {
        let payload = word(bytes, footer + 24) as usize;
        let Some(payload) = bytes[start..footer].get(..payload) else { return };
        let checksum = seeded(database, &[payload, &bytes[footer + 4..footer + FOOTER]]);
        put(bytes, footer, checksum);
        checksum
    };
    put(bytes, entry + 8, checksum);
    bytes[entry..entry + 2].copy_from_slice(&(checksum as u16).to_le_bytes());
}

fn seeded(database: u128, runs: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(&database.to_le_bytes()));
    runs.iter().for_each(|run| hasher.update(run));
    hasher.finalize()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn double(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
