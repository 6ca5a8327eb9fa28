//! The order of writes and syncs that the protocols ask for, checked on a trace.
//!
//! A crash state that happens to be bad shows that a sync is missing. These rules see it in every trace, whatever a crash
//! would have left. Each is a step of a protocol in `docs/design.md`:
//!
//! 1. A superblock is written only when all that it names is durable and intact, and the log up to its LSN; to the slot of the
//!    one before the newest durable one, with a greater number. (Writing once more what is there already is no such write.)
//! 2. Nothing is written to what the newest durable superblock names, nor to what one names that is being written, nor
//!    to large values that commits behind its LSN name.
//! 3. A commit record that names large values is written only when they are durable.
//! 4. A record is written only to a segment whose name is durable, behind all that was written there; what it says was durable
//!    is. A filler is written only when the next segment is durable.
//! 5. A file becomes a segment only when all of it is durable, with the right header. A former segment is written to only when it is
//!    sure not to have its old name.
//! 6. A segment is let go only when a durable superblock does not need it.
//! 7. The data file gets its name only when it is durable.
//! 8. At opening, the newest superblock is written once more; then the data file is synced, and only then read. The log behind the
//!    checkpoint is not read before it was synced, and the directory with it.

mod data_file;
mod fields;
mod log_file;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::disk::Disk;
use super::event::{Call, Event, FileId, Mark, Trace};
use data_file::{FIRST_EXTENT, SLOT, Superblock};

const DATA: &str = "kestrel.data";
const DATA_IN_CREATION: &str = "kestrel.data.new";

/// What was checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) superblocks: u64,
    pub(crate) data_writes: u64,
    pub(crate) log_writes: u64,
    pub(crate) segments: u64,
    pub(crate) large_values: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.superblocks += other.superblocks;
        self.data_writes += other.data_writes;
        self.log_writes += other.log_writes;
        self.segments += other.segments;
        self.large_values += other.large_values;
    }
}

/// A superblock that a crash may leave as the newest, and what it needs.
struct Known {
    block: Superblock,
    needs: Vec<Range<u64>>,
}

struct Rules<'t> {
    trace: &'t Trace,
    disk: Disk<'t>,
    /// The newest durable one, and those that are being written.
    superblocks: Vec<Known>,
    /// Large values that commits name, with the commit's LSN.
    large: Vec<(u64, Range<u64>)>,
    /// Those that fragments name, with the fragment before.
    fragments: BTreeMap<u64, (Option<u64>, Vec<Range<u64>>)>,
    /// How far each segment was written to in this life.
    written: BTreeMap<FileId, u64>,
    synced: BTreeSet<FileId>,
    directory_synced: bool,
    /// The newest superblock of before was written once more.
    rewritten: bool,
    open: bool,
    tally: Tally,
}

/// Checks a trace. The first broken rule is an error.
pub(crate) fn check(trace: &Trace) -> Result<Tally, String> {
    let mut rules = Rules {
        trace,
        disk: Disk::new(trace),
        superblocks: Vec::new(),
        large: Vec::new(),
        fragments: BTreeMap::new(),
        written: BTreeMap::new(),
        synced: BTreeSet::new(),
        directory_synced: false,
        rewritten: false,
        open: false,
        tally: Tally::default(),
    };
    rules.note_durable_superblock()?;
    while let Some(event) = rules.disk.next() {
        let position = rules.disk.position();
        let place = |error| format!("event {position} of {}: {error}", trace.events.len());
        if let Event::Begin(call) = event {
            rules.begin(&trace.calls[call]).map_err(place)?;
        }
        rules.disk.step();
        rules.happened(event)?;
    }
    Ok(rules.tally)
}

impl Rules<'_> {
    fn happened(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Mark(Mark::Open) => {
                self.open = true;
                if !self.rewritten {
                    return Err(
                        "the database is open, and its superblock was not written once more".to_owned()
                    );
                }
            }
            Event::End(call) => match &self.trace.calls[call] {
                Call::SyncData { file } => {
                    self.synced.insert(*file);
                    self.note_durable_superblock()?;
                }
                Call::SyncDirectory => {
                    self.directory_synced = true;
                    self.note_durable_superblock()?;
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// Whatever is older than the newest durable superblock is not needed any more.
    fn note_durable_superblock(&mut self) -> Result<(), String> {
        let Some(file) = self.disk.file(DATA) else { return Ok(()) };
        let durable = self.disk.durable(file);
        let Some(newest) = Superblock::newest(durable) else { return Ok(()) };
        if !self.superblocks.iter().any(|known| known.block == newest) {
            let needs = newest.needs(durable)?;
            self.superblocks.push(Known { block: newest, needs });
        }
        self.superblocks.retain(|known| known.block.number >= newest.number);
        self.large.retain(|(lsn, _)| *lsn >= newest.lsn);
        Ok(())
    }

    fn begin(&mut self, call: &Call) -> Result<(), String> {
        match call {
            Call::Write { file, offset, bytes } => match self.disk.name(*file).map(str::to_owned) {
                Some(name) if name == DATA => self.data_write(*file, *offset, bytes),
                Some(name) if log_file::is_spare(&name) => self.spare_write(*file),
                Some(name) => match log_file::base(&name) {
                    Some(base) => self.log_write(*file, base, *offset, bytes),
                    None => Ok(()),
                },
                None => Ok(()),
            },
            Call::Rename { from, to } => self.rename(from, to),
            Call::Remove { name } => match log_file::base(name) {
                Some(base) => self.let_go(name, base),
                None => Ok(()),
            },
            Call::Read { file, offset } if !self.open => self.early_read(*file, *offset),
            _ => Ok(()),
        }
    }

    fn data_write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let range = offset..offset + bytes.len() as u64;
        if offset < FIRST_EXTENT {
            return self.superblock_write(file, offset, bytes);
        }
        self.tally.data_writes += 1;
        for known in &self.superblocks {
            if let Some(needed) = overlapping(&known.needs, &range) {
                let number = known.block.number;
                return Err(format!("{range:?} is written to, but checkpoint {number} needs {needed:?}"));
            }
        }
        for (lsn, needed) in &self.large {
            if meet(needed, &range) {
                return Err(format!("{range:?} is written to, but the commit at {lsn} names {needed:?}"));
            }
        }
        Ok(())
    }

    fn superblock_write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let durable = self.disk.durable(file);
        if durable.get(offset as usize..offset as usize + bytes.len()) == Some(bytes) {
            self.rewritten |= Superblock::newest(durable) == Superblock::decode(bytes);
            return Ok(());
        }
        let block = Superblock::decode(bytes).ok_or("bytes that are no superblock where superblocks lie")?;
        let number = block.number;
        self.tally.superblocks += 1;
        let newest = Superblock::newest(durable).ok_or("there is no superblock before")?;
        if offset != number % 2 * SLOT || number <= newest.number || number % 2 == newest.number % 2 {
            let after = newest.number;
            return Err(format!("superblock {number} is written at {offset}, after {after}"));
        }
        let needs = block.needs(durable).map_err(|error| {
            let seen = block.needs(self.disk.current(file)).err();
            format!("superblock {number}: {error} (seen by programs: {seen:?})")
        })?;
        if let Some(range) =
            needs.iter().find(|range| self.disk.pending_within(file, (*range).clone()).is_some())
        {
            return Err(format!("superblock {number} names {range:?}, which is not durable"));
        }
        self.log_is_durable(block.lsn).map_err(|error| format!("superblock {number}: {error}"))?;
        self.superblocks.push(Known { block, needs });
        Ok(())
    }

    /// Whether all of the log before a place is durable.
    fn log_is_durable(&self, before: u64) -> Result<(), String> {
        for (name, file) in self.disk.names() {
            let Some(base) = log_file::base(name).filter(|base| *base < before) else { continue };
            let end = (before - base).min(self.disk.current(file).len() as u64);
            if let Some(at) = self.disk.pending_within(file, 0..end) {
                return Err(format!("{name} is not durable at {at}, but has to be up to {before}"));
            }
            if !self.disk.possible_names(file).1 {
                return Err(format!("the name of {name} is not durable"));
            }
        }
        Ok(())
    }

    fn spare_write(&mut self, file: FileId) -> Result<(), String> {
        let (names, _) = self.disk.possible_names(file);
        match names.into_iter().find(|name| log_file::base(name).is_some()) {
            Some(name) => Err(format!("a file is written to that may still be called {name}")),
            None => Ok(()),
        }
    }

    fn log_write(&mut self, file: FileId, base: u64, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.tally.log_writes += 1;
        let end = offset + bytes.len() as u64;
        if self.disk.current(file).get(offset as usize..end as usize) == Some(bytes) {
            // Recovery does that.
            return Ok(());
        }
        if !self.disk.possible_names(file).1 {
            return Err(format!("a record in segment {base}, whose name is not durable"));
        }
        if offset < *self.written.entry(file).or_insert(log_file::HEADER) {
            return Err(format!("segment {base} is written to at {offset} again"));
        }
        self.written.insert(file, end);
        let mut at = base + offset;
        let mut durable = 0;
        let records = log_file::records(bytes)?;
        for record in &records {
            if record.lsn < at {
                return Err(format!("a record of {} lies at {at}", record.lsn));
            }
            at = record.lsn;
            durable = durable.max(record.durable);
            match record.kind {
                log_file::FILLER => self.filler(file, base)?,
                log_file::FRAGMENT => {
                    self.fragments.insert(record.lsn, (record.previous(), record.blobs()?));
                }
                log_file::COMMIT => self.commit(record)?,
                kind => return Err(format!("a record of kind {kind}")),
            }
        }
        self.log_is_durable(durable).map_err(|error| format!("a record says so, but: {error}"))
    }

    fn filler(&self, file: FileId, base: u64) -> Result<(), String> {
        let next = base + self.disk.current(file).len() as u64;
        let after = self.disk.names().find(|(name, _)| log_file::base(name) == Some(next));
        let (name, after) = after.ok_or_else(|| format!("a filler in segment {base}, which is the last"))?;
        let sure = self.disk.possible_names(after).1;
        if sure { Ok(()) } else { Err(format!("a filler, but the name of {name} is not durable")) }
    }

    fn commit(&mut self, record: &log_file::Record<'_>) -> Result<(), String> {
        let mut blobs = record.blobs()?;
        let mut previous = record.previous();
        while let Some((before, named)) = previous.and_then(|lsn| self.fragments.remove(&lsn)) {
            blobs.extend(named);
            previous = before;
        }
        let data = self.disk.file(DATA).ok_or("a commit without a data file")?;
        for range in blobs {
            self.tally.large_values += 1;
            if let Some(at) = self.disk.pending_within(data, range.clone()) {
                let lsn = record.lsn;
                return Err(format!("the commit at {lsn} names a large value that is not durable at {at}"));
            }
            self.large.push((record.lsn, range));
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let file = self.disk.file(from).ok_or_else(|| format!("{from} is not there"))?;
        let whole = 0..self.disk.current(file).len() as u64;
        let pending = self.disk.pending_within(file, whole);
        if let Some(base) = log_file::base(to) {
            self.tally.segments += 1;
            self.written.remove(&file);
            if let Some(at) = pending {
                return Err(format!("{from} becomes {to}, but is not durable at {at}"));
            }
            if !log_file::has_header(self.disk.durable(file), base) {
                return Err(format!("{from} becomes {to} with another header"));
            }
        } else if let Some(base) = log_file::base(from) {
            return self.let_go(from, base);
        } else if (from, to) == (DATA_IN_CREATION, DATA) {
            let durable = self.disk.durable(file);
            let sound = Superblock::newest(durable).is_some_and(|block| block.needs(durable).is_ok());
            if pending.is_some() || !sound {
                return Err("the data file gets its name before it is durable".to_owned());
            }
        }
        Ok(())
    }

    /// A segment is about to lose its name.
    fn let_go(&self, name: &str, base: u64) -> Result<(), String> {
        let Some(file) = self.disk.file(name) else { return Ok(()) };
        let end = base + self.disk.current(file).len() as u64;
        let needed = self.superblocks.iter().find(|known| known.block.lsn < end);
        match needed {
            Some(Known { block, .. }) => Err(format!(
                "{name} is let go, but checkpoint {} needs the log from {}",
                block.number, block.lsn
            )),
            None => Ok(()),
        }
    }

    /// A file is read while the database is being opened.
    fn early_read(&self, file: FileId, offset: u64) -> Result<(), String> {
        let Some(name) = self.disk.name(file) else { return Ok(()) };
        // What lies before the checkpoint's LSN was durable before its superblock was.
        let from = self.superblocks.last().map_or(0, |known| known.block.lsn);
        let end = |base| base + self.disk.current(file).len() as u64;
        let trusted = (name == DATA && offset >= FIRST_EXTENT)
            || log_file::base(name).is_some_and(|base| end(base) > from);
        if !trusted || (self.synced.contains(&file) && self.directory_synced) {
            return Ok(());
        }
        Err(format!("{name} is read at opening before it was synced"))
    }
}

fn meet(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The first of sorted ranges that meets another.
fn overlapping<'r>(sorted: &'r [Range<u64>], with: &Range<u64>) -> Option<&'r Range<u64>> {
    let first = sorted.partition_point(|range| range.end <= with.start);
    sorted.get(first).filter(|range| meet(range, with))
}
