//! One file of a simulated disk, as those see it who use it.

use std::io;
use std::sync::Arc;

use kestrel_io::{Operation, Storage, StorageFile};

use super::fault::{DiskFault, Target};
use super::plans::Call;
use super::sim_disk::Shared;
use super::tag::{SECTOR, Tag, sectors};
use crate::Random;

#[derive(Debug)]
pub(super) struct SimFile {
    disk: Arc<Shared>,
    tag: Arc<Tag>,
    below: Arc<dyn StorageFile>,
}

impl SimFile {
    pub(super) fn handle(
        disk: &Arc<Shared>,
        tag: Arc<Tag>,
        below: Arc<dyn StorageFile>,
    ) -> Arc<dyn StorageFile> {
        Arc::new(SimFile { disk: Arc::clone(disk), tag, below })
    }

    fn judge(&self, call: Call) -> (Option<DiskFault>, Random) {
        self.disk.judge(call, Target::of(&self.tag.name()))
    }

    /// Plans the failure of the next operation below, if the fault is one that fails it.
    fn fail_below(&self, operation: Operation, fault: DiskFault) -> bool {
        let kind = match fault {
            DiskFault::NoSpace => io::ErrorKind::StorageFull,
            DiskFault::OverQuota => io::ErrorKind::QuotaExceeded,
            DiskFault::Interrupted => io::ErrorKind::Interrupted,
            DiskFault::ReadError | DiskFault::WriteError | DiskFault::SyncError => io::ErrorKind::Other,
            _ => return false,
        };
        self.disk.fail_below(operation, kind);
        self.disk.fired(fault);
        true
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (met, mut random) = self.judge(Call::Read);
        let Some(fault) = met else { return self.below.read_at(buffer, offset) };
        if self.fail_below(Operation::Read, fault) {
            return self.below.read_at(buffer, offset);
        }
        if fault == DiskFault::RotOnDisk {
            self.rot(offset, buffer.len(), &mut random);
        }
        let asked = match fault {
            DiskFault::ShortRead if buffer.len() > 1 => 1 + random.index(buffer.len() - 1),
            _ => buffer.len(),
        };
        let n = self.below.read_at(&mut buffer[..asked], offset)?;
        let changed = match fault {
            DiskFault::ShortRead => asked < buffer.len() && n == asked,
            DiskFault::StaleRead => self.make_stale(&mut buffer[..n], offset, &mut random),
            DiskFault::RotInRead if n > 0 => {
                buffer[random.index(n)] ^= 1 << random.below(8);
                true
            }
            _ => false,
        };
        if changed {
            self.disk.fired(fault);
        }
        Ok(n)
    }

    /// Lays former sectors over what was read: all of them, or one.
    fn make_stale(&self, read: &mut [u8], offset: u64, random: &mut Random) -> bool {
        let whole = random.chance(1, 2);
        let count = sectors(offset, read.len()).count();
        let only = random.index(count);
        let mut changed = false;
        for (index, (number, at)) in sectors(offset, read.len()).enumerate() {
            let Some(former) = self.tag.former(number).filter(|_| whole || index == only) else { continue };
            for (i, byte) in former.into_iter().enumerate() {
                let place = usize::try_from(at + i as i64).ok().and_then(|place| read.get_mut(place));
                if let Some(place) = place {
                    changed |= *place != byte;
                    *place = byte;
                }
            }
        }
        changed
    }

    /// Flips a bit in what is about to be read, if it is durable.
    fn rot(&self, offset: u64, len: usize, random: &mut Random) {
        let name = self.tag.name();
        let at = offset + random.below(len as u64);
        let mut byte = [0];
        let storage = &self.disk.storage;
        if storage.is_decided(&name, at / SECTOR as u64) && storage.peek(&name, &mut byte, at) == 1 {
            byte[0] ^= 1 << random.below(8);
            if storage.poke(&name, &byte, at).is_ok() {
                self.disk.fired(DiskFault::RotOnDisk);
            }
        }
    }

    fn write(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        if self.disk.keeps_former() {
            self.tag.remember(&self.disk.storage, offset, buffer);
        }
        let (met, mut random) = self.judge(Call::Write);
        let Some(fault) = met else { return self.below.write_at(buffer, offset) };
        if self.fail_below(Operation::Write, fault) {
            return self.below.write_at(buffer, offset);
        }
        match fault {
            DiskFault::ShortWrite if buffer.len() > 1 => {
                let n = self.below.write_at(&buffer[..1 + random.index(buffer.len() - 1)], offset)?;
                self.disk.fired(fault);
                Ok(n)
            }
            DiskFault::TornWrite => {
                self.below.write_at(&buffer[..random.index(buffer.len() + 1)], offset)?;
                self.disk.fired(fault);
                Err(io::Error::other("planned failure of a write, in the middle of it"))
            }
            DiskFault::LostWrite if self.would_change(buffer, offset) => {
                // Counted as an operation, as the power may go off in it.
                self.below.write_at(&[], offset)?;
                self.disk.fired(fault);
                Ok(buffer.len())
            }
            DiskFault::MisdirectedWrite if self.would_change(buffer, offset) => {
                self.misdirect(buffer, offset, &mut random)
            }
            _ => self.below.write_at(buffer, offset),
        }
    }

    fn would_change(&self, buffer: &[u8], offset: u64) -> bool {
        let mut there = vec![0; buffer.len()];
        let n = self.disk.storage.peek(&self.tag.name(), &mut there, offset);
        n < buffer.len() || there != buffer
    }

    /// Writes elsewhere: in the same file, whole sectors away, or in another. Where there is no other place, nowhere.
    fn misdirect(&self, buffer: &[u8], offset: u64, random: &mut Random) -> io::Result<usize> {
        let name = self.tag.name();
        let other = if random.chance(1, 3) { self.disk.another_file(&name, random) } else { None };
        let len = match &other {
            Some((_, len)) => *len,
            None => self.below.len()?,
        };
        let sector = SECTOR as u64;
        let places = len.saturating_sub(buffer.len() as u64) / sector;
        let wrong = random.below(places + 1) * sector + offset % sector;
        match other {
            Some((other, _)) => drop(self.disk.storage.open(&other)?.write_at(buffer, wrong)?),
            None if wrong != offset => drop(self.below.write_at(buffer, wrong)?),
            None => {}
        }
        self.disk.fired(DiskFault::MisdirectedWrite);
        Ok(buffer.len())
    }

    fn sync(&self) -> io::Result<()> {
        let (met, mut random) = self.judge(Call::Sync);
        let Some(fault) = met else { return self.below.sync_data() };
        if self.fail_below(Operation::SyncData, fault) {
            return self.below.sync_data();
        }
        if fault == DiskFault::LyingSync {
            if self.disk.storage.undecided() > 0 {
                self.disk.fired(fault);
            }
            // Counted as an operation, as the power may go off in it.
            return self.below.len().map(drop);
        }
        self.below.sync_data()?;
        self.go_stale(&mut random);
        Ok(())
    }

    /// A sector goes back to what it held before its last write: any, or the one written last by place.
    fn go_stale(&self, random: &mut Random) {
        let name = self.tag.name();
        let Some(last) = self.tag.last_former() else { return };
        let from = if random.chance(1, 4) { last } else { random.below(last + 1) };
        let Some((sector, former)) = self.tag.former_from(from) else { return };
        if self.would_change(&former, sector * SECTOR as u64)
            && self.disk.storage.is_decided(&name, sector)
            && self.disk.storage.poke(&name, &former, sector * SECTOR as u64).is_ok()
        {
            self.disk.fired(DiskFault::StaleSector);
        }
    }

    fn resize(&self, operation: Operation, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if let (Some(fault), _) = self.judge(Call::Size) {
            self.fail_below(operation, fault);
        }
        act()
    }
}

impl StorageFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let outcome = self.read(buffer, offset);
        self.disk.traced(Operation::Read, Some(&self.tag), (offset, buffer.len() as u64), outcome)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        let outcome = self.write(buffer, offset);
        self.disk.traced(Operation::Write, Some(&self.tag), (offset, buffer.len() as u64), outcome)
    }

    fn sync_data(&self) -> io::Result<()> {
        let outcome = self.sync();
        self.disk.traced(Operation::SyncData, Some(&self.tag), (0, 0), outcome)
    }

    fn len(&self) -> io::Result<u64> {
        if let (Some(fault), _) = self.judge(Call::Len) {
            self.fail_below(Operation::Len, fault);
        }
        self.disk.traced(Operation::Len, Some(&self.tag), (0, 0), self.below.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let outcome = self.resize(Operation::SetLen, || self.below.set_len(len));
        self.disk.traced(Operation::SetLen, Some(&self.tag), (0, len), outcome)
    }

    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let outcome = self.resize(Operation::Preallocate, || self.below.preallocate(offset, len));
        self.disk.traced(Operation::Preallocate, Some(&self.tag), (offset, len), outcome)
    }
}
