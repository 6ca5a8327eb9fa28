//! One file of a [`CrashStorage`](crate::CrashStorage): its bytes, and what each sector could be after a crash.
//!
//! `current` is what readers see. For every sector written since it was last synced, `sectors` keeps the contents it
//! had before, the durable one first; a crash leaves any one of those or the current one. The same goes for the length.
//! Each value but the durable one remembers which operation made it.
//! After a failed sync the affected sectors are *doubtful*: a later sync passes over them, as a system does that marked
//! its dirty pages clean. Writing a doubtful sector again makes it an ordinary unsynced one.

use std::collections::BTreeMap;
use std::io;

use crate::crash::Piece;
use crate::space::Space;
use crate::sparse::Sparse;

/// What a disk writes as a whole.
pub(crate) const SECTOR: usize = 512;

/// The unit in which space is claimed.
const BLOCK: usize = 4096;

/// How many former contents of a sector are remembered, at most.
const FORMER_MAX: usize = 8;

type Sector = Box<[u8; SECTOR]>;

/// Picks one of a piece's alternatives; the last one is always the newest.
pub(crate) type Choose<'a> = dyn FnMut(&Piece<'_>) -> usize + 'a;

#[derive(Debug)]
pub(crate) struct UnsyncedFile {
    /// Which file of its storage it is, whatever its name.
    id: u64,
    current: Sparse<BLOCK>,
    sectors: BTreeMap<u64, Former<Sector>>,
    length: Option<Former<u64>>,
}

/// The values something had since it was last durable, oldest (the durable one) first.
#[derive(Debug)]
struct Former<T> {
    values: Vec<T>,
    /// For each value the operation that made the one after it; the last made the current one.
    writers: Vec<u64>,
    doubtful: bool,
}

impl<T> Former<T> {
    fn new(durable: T, writer: u64) -> Self {
        Self { values: vec![durable], writers: vec![writer], doubtful: false }
    }

    fn push(&mut self, value: T, writer: u64) {
        self.doubtful = false;
        if self.values.len() == FORMER_MAX {
            // The durable value and the newest ones are the interesting ones.
            self.values.remove(1);
            self.writers.remove(0);
        }
        self.values.push(value);
        self.writers.push(writer);
    }
}

impl UnsyncedFile {
    pub(crate) fn new(id: u64, space: Space) -> Self {
        Self { id, current: Sparse::new(space), sectors: BTreeMap::new(), length: None }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn len(&self) -> u64 {
        self.current.len()
    }

    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.current.read(buffer, offset)
    }

    pub(crate) fn write(&mut self, buffer: &[u8], offset: u64, writer: u64) -> io::Result<()> {
        // Claiming first means that a refused write leaves no trace.
        let old_len = self.current.len();
        let old = self.contents(offset, buffer.len() as u64);
        self.current.write(buffer, offset)?;
        self.remember(old, writer);
        self.remember_length(old_len, writer);
        Ok(())
    }

    pub(crate) fn set_len(&mut self, len: u64, writer: u64) {
        let old_len = self.current.len();
        if len < old_len {
            let ranges: Vec<_> = self.current.claimed_from(len).collect();
            for (start, end) in ranges {
                let old = self.contents(start, end - start);
                self.remember(old, writer);
            }
        }
        self.current.set_len(len);
        self.remember_length(old_len, writer);
    }

    pub(crate) fn preallocate(&mut self, offset: u64, len: u64, writer: u64) -> io::Result<()> {
        let old_len = self.current.len();
        self.current.preallocate(offset, len)?;
        self.remember_length(old_len, writer);
        Ok(())
    }

    /// Changes bytes behind everybody's back: what is written is durable at once, and the sectors it touches are decided.
    pub(crate) fn poke(&mut self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.current.write(buffer, offset)?;
        if let Some(last) = (buffer.len() as u64).checked_sub(1) {
            let touched = offset / SECTOR as u64..=(offset + last) / SECTOR as u64;
            self.sectors.retain(|number, _| !touched.contains(number));
        }
        Ok(())
    }

    /// Cuts or extends behind everybody's back; all that is left is durable.
    pub(crate) fn poke_len(&mut self, len: u64) {
        self.current.set_len(len);
        self.sectors.clear();
        self.length = None;
    }

    /// Whether a sector is as durable as it will ever be.
    pub(crate) fn is_decided(&self, sector: u64) -> bool {
        !self.sectors.contains_key(&sector)
    }

    pub(crate) fn sync(&mut self) {
        self.sectors.retain(|_, former| former.doubtful);
        self.length = self.length.take().filter(|former| former.doubtful);
    }

    pub(crate) fn fail_sync(&mut self) {
        self.sectors.values_mut().for_each(|former| former.doubtful = true);
        if let Some(length) = &mut self.length {
            length.doubtful = true;
        }
    }

    /// How many sectors and lengths are undecided.
    pub(crate) fn undecided(&self) -> usize {
        self.sectors.len() + usize::from(self.length.is_some())
    }

    /// Calls `each` with every piece, in the order in which a crash asks about them.
    pub(crate) fn for_each_piece(&self, each: &mut dyn FnMut(&Piece<'_>)) {
        let file = self.id;
        if let Some(former) = &self.length {
            each(&Piece::Length { file, writers: &former.writers });
        }
        for (&number, former) in &self.sectors {
            each(&Piece::Sector { file, number, writers: &former.writers });
        }
    }

    /// What a crash leaves of the file, all of it durable.
    pub(crate) fn crash(&self, space: Space, choose: &mut Choose<'_>) -> io::Result<UnsyncedFile> {
        let file = self.id;
        let mut left = self.current.copy_to(space)?;
        let len = match &self.length {
            Some(former) => {
                let chosen = choose(&Piece::Length { file, writers: &former.writers });
                *former.values.get(chosen).unwrap_or(&self.current.len())
            }
            None => self.current.len(),
        };
        // Sectors behind the current end may come back with a longer length.
        let full = self.sectors.keys().next_back().map_or(0, |last| (last + 1) * SECTOR as u64);
        left.set_len(full.max(self.current.len()).max(len));
        for (&number, former) in &self.sectors {
            let chosen = choose(&Piece::Sector { file, number, writers: &former.writers });
            debug_assert!(chosen <= former.values.len());
            // What is not older is there already.
            if let Some(older) = former.values.get(chosen) {
                left.write(&older[..], number * SECTOR as u64)?;
            }
        }
        left.set_len(len);
        Ok(UnsyncedFile { id: file, current: left, sectors: BTreeMap::new(), length: None })
    }

    fn sector(&self, number: u64) -> Sector {
        let mut bytes = Box::new([0; SECTOR]);
        self.current.read(&mut bytes[..], number * SECTOR as u64);
        bytes
    }

    /// The sectors of a range as they are now.
    fn contents(&self, offset: u64, len: u64) -> Vec<(u64, Sector)> {
        let Some(last) = len.checked_sub(1).and_then(|last| offset.checked_add(last)) else {
            return Vec::new();
        };
        // The write that follows refuses absurd offsets; none of their sectors exists.
        if last > i64::MAX as u64 {
            return Vec::new();
        }
        (offset / SECTOR as u64..=last / SECTOR as u64).map(|number| (number, self.sector(number))).collect()
    }

    fn remember(&mut self, old: Vec<(u64, Sector)>, writer: u64) {
        for (number, bytes) in old {
            match self.sectors.get_mut(&number) {
                Some(former) => former.push(bytes, writer),
                None => drop(self.sectors.insert(number, Former::new(bytes, writer))),
            }
        }
    }

    fn remember_length(&mut self, old: u64, writer: u64) {
        if old == self.current.len() {
            return;
        }
        match &mut self.length {
            Some(former) => former.push(old, writer),
            None => self.length = Some(Former::new(old, writer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_after(file: &UnsyncedFile, choose: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
        let left = file.crash(Space::new(None), &mut |piece| choose(piece.alternatives())).unwrap();
        let mut bytes = vec![0; left.len() as usize];
        left.read(&mut bytes, 0);
        bytes
    }

    #[test]
    fn a_crash_leaves_the_durable_the_newest_or_something_between() {
        let mut file = UnsyncedFile::new(0, Space::new(None));
        file.write(&[1; 1024], 0, 0).unwrap();
        file.sync();
        assert_eq!(file.undecided(), 0);
        file.write(&[2; 1024], 0, 0).unwrap();
        file.write(&[3; 512], 512, 0).unwrap();
        assert_eq!(file.undecided(), 2);
        assert_eq!(bytes_after(&file, &mut |_| 0), [1; 1024]);
        assert_eq!(bytes_after(&file, &mut |n| n - 1), [[2; 512], [3; 512]].concat());
        assert_eq!(bytes_after(&file, &mut |n| n - 2), [[1; 512], [2; 512]].concat());
    }

    #[test]
    fn lengths_are_undecided_too() {
        let mut file = UnsyncedFile::new(0, Space::new(None));
        file.write(&[1; 600], 0, 0).unwrap();
        file.sync();
        file.set_len(10, 0);
        file.set_len(700, 0);
        assert_eq!(bytes_after(&file, &mut |_| 0), [1; 600]);
        let newest = bytes_after(&file, &mut |n| n - 1);
        assert_eq!((&newest[..10], newest.len()), (&[1; 10][..], 700));
        assert!(newest[10..].iter().all(|&b| b == 0));
        // The cut is lost, the growth is not, or the other way round.
        file.sync();
        file.set_len(0, 0);
        assert_eq!(bytes_after(&file, &mut |_| 0).len(), 700);
        assert_eq!(bytes_after(&file, &mut |n| n - 1).len(), 0);
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_sync_saves() {
        let mut file = UnsyncedFile::new(0, Space::new(None));
        file.write(&[1; 1024], 0, 0).unwrap();
        file.sync();
        file.write(&[2; 1024], 0, 0).unwrap();
        file.fail_sync();
        file.write(&[3; 512], 512, 0).unwrap();
        file.sync();
        assert_eq!(bytes_after(&file, &mut |_| 0), [[1; 512], [3; 512]].concat());
    }
}
