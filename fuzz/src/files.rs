//! Files in memory, and hostile hands on them.

use kestrel_io::{CrashStorage, MemoryStorage, Storage};

use crate::input::Input;

/// The files of a storage by name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Files(Vec<(String, Vec<u8>)>);

/// Whether the checksums that the format has can be trusted to notice what was done to the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Noticed {
    /// Nothing was done that a fuzzer can choose so that a checksum still fits.
    Surely,
    /// A fuzzer might have found a way.
    Perhaps,
}

impl Files {
    /// Copies a storage's files, in the order of their names.
    pub(crate) fn of(storage: &dyn Storage) -> Files {
        let mut names = storage.list().unwrap();
        names.sort();
        let read = |name: String| {
            let file = storage.open(&name).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            (name, bytes)
        };
        Files(names.into_iter().map(read).collect())
    }

    /// A new storage with these files.
    pub(crate) fn storage(&self) -> MemoryStorage {
        let storage = MemoryStorage::new();
        for (name, bytes) in &self.0 {
            storage.create(name).unwrap().write_all_at(bytes, 0).unwrap();
        }
        storage
    }

    /// The same, on a simulated disk that has synced them.
    pub(crate) fn crash_storage(&self) -> CrashStorage {
        let storage = CrashStorage::new();
        for (name, bytes) in &self.0 {
            let file = storage.create(name).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            file.sync_data().unwrap();
        }
        storage.sync_directory().unwrap();
        storage
    }

    /// What is in them, in the order of their names.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(_, bytes)| bytes.as_slice())
    }

    /// How long all are together.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// The id of the database whose data file is among them.
    pub(crate) fn database(&self) -> Option<u128> {
        let (_, bytes) = self.data().next()?;
        Some(u128::from_le_bytes(bytes.get(16..32)?.try_into().ok()?))
    }

    /// Takes away what was never written at the end of a file.
    pub(crate) fn trim(&mut self, name: &str) {
        for (_, bytes) in self.0.iter_mut().filter(|(other, _)| other == name) {
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used.next_multiple_of(4096));
        }
    }

    /// The data file.
    pub(crate) fn data(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        self.0.iter().filter(|(name, _)| name == "kestrel.data")
    }

    /// The segments of the log.
    pub(crate) fn log(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        self.0.iter().filter(|(name, _)| name.starts_with("kestrel.log."))
    }

    /// The contents of the files, with their names.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Vec<u8>)> {
        self.0.iter_mut().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Does to the files what the input says.
    pub(crate) fn vandalise(&mut self, input: &mut Input<'_>) -> Noticed {
        let mut noticed = Noticed::Surely;
        for edit in 0..input.below(16) {
            if self.0.is_empty() {
                break;
            }
            let index = input.below(self.0.len());
            match input.below(8) {
                0 => drop(self.0.remove(index)),
                1 => {
                    let other = input.below(self.0.len());
                    let name = self.0[index].0.clone();
                    let name = std::mem::replace(&mut self.0[other].0, name);
                    self.0[index].0 = name;
                }
                2 => {
                    let len = place(&self.0[index].1, input);
                    let bytes = &mut self.0[index].1;
                    let longer = input.one_in(4);
                    bytes.resize(if longer { bytes.len() + len } else { len }, 0);
                }
                3 => {
                    let (from, to) = (input.below(self.0.len()), index);
                    let (start, at) = (place(&self.0[from].1, input), place(&self.0[to].1, input));
                    let len = usize::from(input.short());
                    let source = &self.0[from].1[start..];
                    let copy = source[..len.min(source.len())].to_vec();
                    overwrite(&mut self.0[to].1, at, &copy);
                }
                4 => {
                    let bytes = &mut self.0[index].1;
                    let at = place(bytes, input);
                    let end = (at + usize::from(input.short())).min(bytes.len());
                    bytes[at..end].fill(0);
                }
                _ => {
                    let bytes = &mut self.0[index].1;
                    let at = place(bytes, input);
                    let len = input.below(32);
                    let new = input.bytes(len);
                    let flips = input.one_in(2);
                    if flips {
                        // One burst of at most 32 bits is noticed by every CRC-32.
                        let burst = new.len() <= 4 && edit == 0;
                        noticed = if burst { noticed } else { Noticed::Perhaps };
                        bytes[at..].iter_mut().zip(new).for_each(|(old, mask)| *old ^= mask);
                    } else {
                        noticed = Noticed::Perhaps;
                        overwrite(bytes, at, new);
                    }
                }
            }
        }
        noticed
    }
}

/// A place in a file; the first bytes of its blocks, where headers are, come up most.
fn place(bytes: &[u8], input: &mut Input<'_>) -> usize {
    let at = match input.below(3) {
        0 => input.below(4096),
        1 => 512 * input.below(bytes.len() / 512 + 1) + 8 * input.below(64) + input.below(8),
        _ => input.below(bytes.len() + 1),
    };
    at.min(bytes.len())
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..].iter_mut().zip(new).for_each(|(old, new)| *old = *new);
}
