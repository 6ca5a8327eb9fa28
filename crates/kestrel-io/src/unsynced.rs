//! One file of a [`CrashStorage`](crate::CrashStorage): its bytes, and what each sector could be after a crash.
//!
//! `current` is what readers see. For every sector written since it was last synced, `sectors` keeps the contents it
//! had before, the durable one first; a crash leaves any one of those or the current one. The same goes for the length.
//! After a failed sync the affected sectors are *doubtful*: a later sync passes over them, as a system does that marked
//! its dirty pages clean. Writing a doubtful sector again makes it an ordinary unsynced one.

use std::collections::BTreeMap;
use std::io;

use crate::space::Space;
use crate::sparse::Sparse;

/// What a disk writes as a whole.
pub(crate) const SECTOR: usize = 512;

/// The unit in which space is claimed.
const BLOCK: usize = 4096;

/// How many former contents of a sector are remembered, at most.
const FORMER_MAX: usize = 8;

type Sector = Box<[u8; SECTOR]>;

/// Picks one of so many alternatives; the last one is always the newest.
pub(crate) type Choose<'a> = dyn FnMut(usize) -> usize + 'a;

#[derive(Debug)]
pub(crate) struct UnsyncedFile {
    current: Sparse<BLOCK>,
    sectors: BTreeMap<u64, Former<Sector>>,
    length: Option<Former<u64>>,
}

/// The values something had since it was last durable, oldest (the durable one) first.
#[derive(Debug)]
struct Former<T> {
    values: Vec<T>,
    doubtful: bool,
}

impl<T> Former<T> {
    fn new(durable: T) -> Self {
        Self { values: vec![durable], doubtful: false }
    }

    fn push(&mut self, value: T) {
        self.doubtful = false;
        if self.values.len() == FORMER_MAX {
            // The durable value and the newest ones are the interesting ones.
            self.values.remove(1);
        }
        self.values.push(value);
    }
}

impl UnsyncedFile {
    pub(crate) fn new(space: Space) -> Self {
        Self { current: Sparse::new(space), sectors: BTreeMap::new(), length: None }
    }

    pub(crate) fn len(&self) -> u64 {
        self.current.len()
    }

    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.current.read(buffer, offset)
    }

    pub(crate) fn write(&mut self, buffer: &[u8], offset: u64) -> io::Result<()> {
        // Claiming first means that a refused write leaves no trace.
        let old_len = self.current.len();
        let old = self.contents(offset, buffer.len() as u64);
        self.current.write(buffer, offset)?;
        self.remember(old);
        self.remember_length(old_len);
        Ok(())
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        let old_len = self.current.len();
        if len < old_len {
            let ranges: Vec<_> = self.current.claimed_from(len).collect();
            for (start, end) in ranges {
                let old = self.contents(start, end - start);
                self.remember(old);
            }
        }
        self.current.set_len(len);
        self.remember_length(old_len);
    }

    pub(crate) fn preallocate(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let old_len = self.current.len();
        self.current.preallocate(offset, len)?;
        self.remember_length(old_len);
        Ok(())
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

    /// What a crash leaves of the file, all of it durable.
    pub(crate) fn crash(&self, space: Space, choose: &mut Choose<'_>) -> io::Result<UnsyncedFile> {
        let mut left = self.current.copy_to(space)?;
        let len = match &self.length {
            Some(former) => *pick(&former.values, &self.current.len(), choose),
            None => self.current.len(),
        };
        // Sectors behind the current end may come back with a longer length.
        let full = self.sectors.keys().next_back().map_or(0, |last| (last + 1) * SECTOR as u64);
        left.set_len(full.max(self.current.len()).max(len));
        for (&number, former) in &self.sectors {
            let newest = self.sector(number);
            let bytes = pick(&former.values, &newest, choose);
            left.write(&bytes[..], number * SECTOR as u64)?;
        }
        left.set_len(len);
        Ok(UnsyncedFile { current: left, sectors: BTreeMap::new(), length: None })
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

    fn remember(&mut self, old: Vec<(u64, Sector)>) {
        for (number, bytes) in old {
            match self.sectors.get_mut(&number) {
                Some(former) => former.push(bytes),
                None => drop(self.sectors.insert(number, Former::new(bytes))),
            }
        }
    }

    fn remember_length(&mut self, old: u64) {
        if old == self.current.len() {
            return;
        }
        match &mut self.length {
            Some(former) => former.push(old),
            None => self.length = Some(Former::new(old)),
        }
    }
}

fn pick<'a, T>(former: &'a [T], newest: &'a T, choose: &mut Choose<'_>) -> &'a T {
    let chosen = choose(former.len() + 1);
    debug_assert!(chosen <= former.len());
    former.get(chosen).unwrap_or(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_after(file: &UnsyncedFile, choose: &mut Choose<'_>) -> Vec<u8> {
        let left = file.crash(Space::new(None), choose).unwrap();
        let mut bytes = vec![0; left.len() as usize];
        left.read(&mut bytes, 0);
        bytes
    }

    #[test]
    fn a_crash_leaves_the_durable_the_newest_or_something_between() {
        let mut file = UnsyncedFile::new(Space::new(None));
        file.write(&[1; 1024], 0).unwrap();
        file.sync();
        assert_eq!(file.undecided(), 0);
        file.write(&[2; 1024], 0).unwrap();
        file.write(&[3; 512], 512).unwrap();
        assert_eq!(file.undecided(), 2);
        assert_eq!(bytes_after(&file, &mut |_| 0), [1; 1024]);
        assert_eq!(bytes_after(&file, &mut |n| n - 1), [[2; 512], [3; 512]].concat());
        assert_eq!(bytes_after(&file, &mut |n| n - 2), [[1; 512], [2; 512]].concat());
    }

    #[test]
    fn lengths_are_undecided_too() {
        let mut file = UnsyncedFile::new(Space::new(None));
        file.write(&[1; 600], 0).unwrap();
        file.sync();
        file.set_len(10);
        file.set_len(700);
        assert_eq!(bytes_after(&file, &mut |_| 0), [1; 600]);
        let newest = bytes_after(&file, &mut |n| n - 1);
        assert_eq!((&newest[..10], newest.len()), (&[1; 10][..], 700));
        assert!(newest[10..].iter().all(|&b| b == 0));
        // The cut is lost, the growth is not, or the other way round.
        file.sync();
        file.set_len(0);
        assert_eq!(bytes_after(&file, &mut |_| 0).len(), 700);
        assert_eq!(bytes_after(&file, &mut |n| n - 1).len(), 0);
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_sync_saves() {
        let mut file = UnsyncedFile::new(Space::new(None));
        file.write(&[1; 1024], 0).unwrap();
        file.sync();
        file.write(&[2; 1024], 0).unwrap();
        file.fail_sync();
        file.write(&[3; 512], 512).unwrap();
        file.sync();
        assert_eq!(bytes_after(&file, &mut |_| 0), [[1; 512], [3; 512]].concat());
    }
}
