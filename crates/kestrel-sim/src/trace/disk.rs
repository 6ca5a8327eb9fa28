//! What a disk holds at a point of a trace: what is there for sure, and what may be there.
//!
//! Rules, stricter than those of any file system that is in use:
//! 1. A write is there for sure once a sync of its file has ended that *began after the write had ended*. A sync says nothing about
//!    writes that were under way when it began.
//! 2. Until then each of its sectors of 512 bytes may be there, from the moment the write began. A sector that was written several times
//!    is as it was after any one of these writes; other sectors say nothing about it.
//! 3. The same goes for the length, by itself.
//! 4. The same goes for names, with syncs of the directory. Changes that share a name keep their order.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Call, CallId, Event, FileId, Trace};

pub(crate) const SECTOR: u64 = 512;

/// The state of a disk after some events of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Disk<'t> {
    trace: &'t Trace,
    /// How many events have been.
    at: usize,
    files: Vec<File>,
    /// Names that are there for sure, before `changes`.
    durable_names: BTreeMap<String, FileId>,
    changes: Vec<CallId>,
    /// Names as programs see them.
    names: BTreeMap<String, FileId>,
    begun: Vec<usize>,
    /// When each call ended, if it did.
    ended: Vec<Option<usize>>,
    /// Of each write: the sectors that it changes. One that is written as it was is no piece to decide about.
    touched: Vec<Vec<u64>>,
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    /// What programs see.
    current: Vec<u8>,
    /// Calls that are not there for sure, in the order in which they began.
    pending: Vec<CallId>,
}

/// What can be there in one way or another at a point.
pub(crate) struct Open<'d, 't> {
    disk: &'d Disk<'t>,
    /// Of each file that may have a name.
    files: Vec<Option<OpenFile>>,
    /// Alternatives of each piece.
    sizes: Vec<usize>,
}

struct OpenFile {
    /// How many pending writes each sector has.
    sectors: BTreeMap<u64, usize>,
    /// The durable one first.
    lengths: Vec<usize>,
}

impl<'t> Disk<'t> {
    pub(crate) fn new(trace: &'t Trace) -> Disk<'t> {
        let files = trace.before.values();
        let files =
            files.map(|bytes| File { durable: bytes.clone(), current: bytes.clone(), pending: vec![] });
        let names: BTreeMap<_, _> = trace.before.keys().cloned().zip(0..).collect();
        Disk {
            trace,
            at: 0,
            files: files.collect(),
            durable_names: names.clone(),
            changes: Vec::new(),
            names,
            begun: vec![0; trace.calls.len()],
            ended: vec![None; trace.calls.len()],
            touched: vec![Vec::new(); trace.calls.len()],
        }
    }

    /// How many events have been.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The event that comes next, before it happens.
    pub(crate) fn next(&self) -> Option<Event> {
        self.trace.events.get(self.at).copied()
    }

    /// Lets it happen. Whether something that matters to a crash has changed.
    pub(crate) fn step(&mut self) -> bool {
        let Some(event) = self.next() else { return false };
        self.at += 1;
        match event {
            Event::Begin(call) => self.begin(call),
            Event::End(call) => self.end(call),
            Event::Mark(_) => true,
        }
    }

    fn begin(&mut self, id: CallId) -> bool {
        self.begun[id] = self.at;
        let call = &self.trace.calls[id];
        match call {
            Call::Write { file, .. } | Call::SetLen { file, .. } | Call::Preallocate { file, .. } => {
                let file = self.file_mut(*file);
                let touched = touched(call, &file.current);
                apply(call, &mut file.current);
                file.pending.push(id);
                self.touched[id] = touched;
            }
            Call::Create { file, .. } => {
                self.file_mut(*file);
                self.changes.push(id);
                change(call, &mut self.names);
            }
            Call::Rename { .. } | Call::Remove { .. } => {
                self.changes.push(id);
                change(call, &mut self.names);
            }
            Call::SyncData { .. } | Call::SyncDirectory | Call::Read { .. } => return false,
        }
        true
    }

    fn end(&mut self, id: CallId) -> bool {
        self.ended[id] = Some(self.at);
        let began = self.begun[id];
        let trace = self.trace;
        let ended = &self.ended;
        let is_covered = |call: &CallId| ended[*call].is_some_and(|at| at < began);
        match &trace.calls[id] {
            Call::SyncData { file } => {
                let file = &mut self.files[*file];
                let (durable, pending) = file.pending.drain(..).partition(is_covered);
                file.pending = pending;
                let durable: Vec<CallId> = durable;
                durable.iter().for_each(|call| apply(&trace.calls[*call], &mut file.durable));
                !durable.is_empty()
            }
            Call::SyncDirectory => {
                let (durable, pending): (Vec<_>, _) = self.changes.drain(..).partition(is_covered);
                self.changes = pending;
                durable.iter().for_each(|call| change(&trace.calls[*call], &mut self.durable_names));
                !durable.is_empty()
            }
            _ => false,
        }
    }

    fn file_mut(&mut self, id: FileId) -> &mut File {
        if self.files.len() <= id {
            self.files.resize_with(id + 1, File::default);
        }
        &mut self.files[id]
    }

    /// What is open at this point. Its pieces come in the same order each time.
    pub(crate) fn open(&self) -> Open<'_, 't> {
        let mut sizes = vec![2; self.changes.len()];
        let mut files = Vec::new();
        for (id, file) in self.files.iter().enumerate() {
            if !self.may_have_name(id) {
                files.push(None);
                continue;
            }
            let (sectors, lengths) = (self.sectors(file), self.lengths(file));
            sizes.extend(sectors.values().map(|writes| writes + 1));
            sizes.push(lengths.len());
            files.push(Some(OpenFile { sectors, lengths }));
        }
        Open { disk: self, files, sizes }
    }

    fn may_have_name(&self, file: FileId) -> bool {
        let created =
            |call: &CallId| matches!(&self.trace.calls[*call], Call::Create { file: id, .. } if *id == file);
        self.durable_names.values().any(|id| *id == file) || self.changes.iter().any(created)
    }

    /// By sector: how many writes of it are pending.
    fn sectors(&self, file: &File) -> BTreeMap<u64, usize> {
        let mut sectors = BTreeMap::new();
        for sector in file.pending.iter().flat_map(|call| &self.touched[*call]) {
            *sectors.entry(*sector).or_insert(0) += 1;
        }
        sectors
    }

    /// The lengths that a file may have, the durable one first.
    fn lengths(&self, file: &File) -> Vec<usize> {
        let mut lengths = vec![file.durable.len()];
        for call in &file.pending {
            let len = len_after(&self.trace.calls[*call], lengths[lengths.len() - 1]);
            if lengths.last() != Some(&len) {
                lengths.push(len);
            }
        }
        lengths
    }

    // For the rules.

    /// Where a file's name says it lies, as programs see it.
    pub(crate) fn name(&self, file: FileId) -> Option<&str> {
        self.names.iter().find(|(_, id)| **id == file).map(|(name, _)| &**name)
    }

    /// The file of a name, as programs see it.
    pub(crate) fn file(&self, name: &str) -> Option<FileId> {
        self.names.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, FileId)> {
        self.names.iter().map(|(name, file)| (&**name, *file))
    }

    /// The names that a file may have after a crash, and whether it is sure to have its name of now.
    pub(crate) fn possible_names(&self, file: FileId) -> (Vec<&str>, bool) {
        let mut possible = Vec::new();
        let mut names = self.durable_names.clone();
        let mut note = |names: &BTreeMap<String, FileId>| {
            let name = names.iter().find(|(_, id)| **id == file).map(|(name, _)| name.clone());
            possible.push(name);
        };
        note(&names);
        for call in &self.changes {
            change(&self.trace.calls[*call], &mut names);
            note(&names);
        }
        let sure = possible.windows(2).all(|pair| pair[0] == pair[1]);
        let known = |name: &String| {
            self.durable_names
                .get_key_value(name)
                .or_else(|| self.names.get_key_value(name))
                .map(|(n, _)| &**n)
        };
        (possible.iter().flatten().filter_map(known).collect(), sure)
    }

    /// What is there of a file for sure.
    pub(crate) fn durable(&self, file: FileId) -> &[u8] {
        &self.files[file].durable
    }

    /// What programs see.
    pub(crate) fn current(&self, file: FileId) -> &[u8] {
        &self.files[file].current
    }

    /// The first pending write, or length, that touches a range.
    pub(crate) fn pending_within(&self, file: FileId, range: std::ops::Range<u64>) -> Option<u64> {
        let file = &self.files[file];
        let calls = file.pending.iter().map(|call| &self.trace.calls[*call]);
        let mut touched = calls.filter_map(|call| match call {
            Call::Write { offset, bytes, .. } => {
                let begin = range.start.max(*offset);
                (begin < range.end.min(offset + bytes.len() as u64)).then_some(begin)
            }
            _ => None,
        });
        let short = (file.durable.len() as u64) < range.end && range.end <= file.current.len() as u64;
        touched.next().or_else(|| short.then_some(file.durable.len() as u64))
    }
}

impl Open<'_, '_> {
    /// How many alternatives each piece has: the first is what is durable, the last what programs see.
    pub(crate) fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// In how many ways a crash may leave the disk, if that are not too many to count.
    pub(crate) fn ways(&self) -> Option<u64> {
        self.sizes.iter().try_fold(1_u64, |ways, size| ways.checked_mul(*size as u64))
    }

    /// One of them: which alternative of each piece.
    pub(crate) fn image(&self, choice: &[usize]) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk;
        let (changes, mut rest) = choice.split_at(disk.changes.len());
        let mut names = disk.durable_names.clone();
        let mut lost = BTreeSet::new();
        for (call, chosen) in disk.changes.iter().zip(changes) {
            let call = &disk.trace.calls[*call];
            let touched = names_of(call);
            if *chosen == 1 && touched.iter().all(|name| !lost.contains(name)) {
                change(call, &mut names);
            } else {
                lost.extend(touched);
            }
        }
        let mut images: Vec<Option<Vec<u8>>> = Vec::new();
        for (id, (file, open)) in disk.files.iter().zip(&self.files).enumerate() {
            let Some(OpenFile { sectors, lengths }) = open else {
                images.push(None);
                continue;
            };
            let (mine, others) = rest.split_at(sectors.len() + 1);
            rest = others;
            let (mine, length) = mine.split_at(sectors.len());
            let kept = || sectors.keys().copied().zip(mine.iter().copied()).collect();
            let named = names.values().any(|named| *named == id);
            images.push(named.then(|| disk.image_of(file, kept(), lengths[length[0]])));
        }
        names.into_iter().filter_map(|(name, id)| Some((name, images[id].clone()?))).collect()
    }
}

impl Disk<'_> {
    /// A file with the first so many pending writes of each sector.
    fn image_of(&self, file: &File, mut kept: BTreeMap<u64, usize>, len: usize) -> Vec<u8> {
        let mut image = file.durable.clone();
        for call in &file.pending {
            let Call::Write { offset, bytes, .. } = &self.trace.calls[*call] else { continue };
            for &sector in &self.touched[*call] {
                let Some(left) = kept.get_mut(&sector).filter(|left| **left > 0) else { continue };
                *left -= 1;
                let begin = (sector * SECTOR).max(*offset);
                let end = ((sector + 1) * SECTOR).min(offset + bytes.len() as u64);
                if image.len() < end as usize {
                    image.resize(end as usize, 0);
                }
                let piece = &bytes[(begin - offset) as usize..(end - offset) as usize];
                image[begin as usize..end as usize].copy_from_slice(piece);
            }
        }
        image.resize(len, 0);
        image
    }
}

fn sectors_of(offset: u64, len: usize) -> std::ops::Range<u64> {
    offset / SECTOR..(offset + len as u64).div_ceil(SECTOR)
}

/// The sectors that a write changes in a content.
fn touched(call: &Call, content: &[u8]) -> Vec<u64> {
    let Call::Write { offset, bytes, .. } = call else { return Vec::new() };
    let differs = |sector: &u64| {
        let begin = (sector * SECTOR).max(*offset);
        let end = ((sector + 1) * SECTOR).min(offset + bytes.len() as u64);
        let new = &bytes[(begin - offset) as usize..(end - offset) as usize];
        let old = content.get(begin as usize..content.len().min(end as usize)).unwrap_or_default();
        let (over, behind) = new.split_at(old.len());
        over != old || behind.iter().any(|byte| *byte != 0)
    };
    sectors_of(*offset, bytes.len()).filter(differs).collect()
}

fn len_after(call: &Call, before: usize) -> usize {
    match call {
        Call::Write { offset, bytes, .. } => before.max(*offset as usize + bytes.len()),
        Call::Preallocate { offset, len, .. } => before.max((offset + len) as usize),
        Call::SetLen { len, .. } => *len as usize,
        _ => before,
    }
}

fn apply(call: &Call, content: &mut Vec<u8>) {
    content.resize(len_after(call, content.len()), 0);
    if let Call::Write { offset, bytes, .. } = call {
        content[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

fn names_of(call: &Call) -> Vec<&String> {
    match call {
        Call::Create { name, .. } | Call::Remove { name } => vec![name],
        Call::Rename { from, to } => vec![from, to],
        _ => vec![],
    }
}

fn change(call: &Call, names: &mut BTreeMap<String, FileId>) {
    match call {
        Call::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        Call::Remove { name } => {
            names.remove(name);
        }
        Call::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
