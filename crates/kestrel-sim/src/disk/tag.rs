//! What the simulation knows of a file besides its bytes.

use std::collections::BTreeMap;

use kestrel_io::CrashStorage;
use parking_lot::Mutex;

pub(super) const SECTOR: usize = CrashStorage::SECTOR;

pub(super) type Sector = [u8; SECTOR];

/// A file: its name as of now, and its sectors as they were before their last write.
#[derive(Debug)]
pub(super) struct Tag {
    /// Which file it is, in the order of creation; for traces.
    pub(super) number: u64,
    /// Empty once it was removed.
    name: Mutex<String>,
    former: Mutex<BTreeMap<u64, Sector>>,
}

impl Tag {
    pub(super) fn new(number: u64, name: &str) -> Tag {
        Tag { number, name: Mutex::new(name.to_owned()), former: Mutex::default() }
    }

    pub(super) fn name(&self) -> String {
        self.name.lock().clone()
    }

    pub(super) fn rename(&self, name: &str) {
        name.clone_into(&mut self.name.lock());
    }

    /// Keeps what lies where something is about to be written.
    pub(super) fn remember(&self, storage: &CrashStorage, offset: u64, new: &[u8]) {
        let name = self.name.lock();
        let mut former = self.former.lock();
        for (number, _) in sectors(offset, new.len()) {
            let mut old = [0; SECTOR];
            if storage.peek(&name, &mut old, number * SECTOR as u64) == SECTOR {
                former.insert(number, old);
            }
        }
    }

    /// What a sector held before its last write.
    pub(super) fn former(&self, sector: u64) -> Option<Sector> {
        self.former.lock().get(&sector).copied()
    }

    /// A sector that has a former self: the first from `from` on, in a circle.
    pub(super) fn former_from(&self, from: u64) -> Option<(u64, Sector)> {
        let former = self.former.lock();
        let next = former.range(from..).next().or_else(|| former.iter().next());
        next.map(|(&number, &bytes)| (number, bytes))
    }

    /// The last sector that has a former self.
    pub(super) fn last_former(&self) -> Option<u64> {
        self.former.lock().keys().next_back().copied()
    }

    /// Takes over what another knows of the same file.
    pub(super) fn inherit(&self, other: &Tag) {
        self.former.lock().clone_from(&other.former.lock());
    }
}

/// The sectors of a range: number, and where in the range it begins (negative: before it).
pub(super) fn sectors(offset: u64, len: usize) -> impl Iterator<Item = (u64, i64)> {
    let end = offset + len as u64;
    let first = offset / SECTOR as u64;
    let last = end.div_ceil(SECTOR as u64);
    (first..last).map(move |number| (number, (number * SECTOR as u64).cast_signed() - offset.cast_signed()))
}
