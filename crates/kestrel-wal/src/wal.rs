//! The log while it is in use: appending, group commit, reading back, turning over to the next segment.
//!
//! Invariants:
//! 1. `durable <= end`; both only grow. What lies before `durable` was written and synced without an error.
//! 2. Bytes are, in LSN order: on disk and synced; written and not synced; in the buffer in flight; in the buffer. Each
//!    place is in exactly one of these.
//! 3. One thread at a time is the *leader*, which alone writes and syncs. Others append meanwhile.
//! 4. A filler enters the buffer only when the next segment is durable.
//! 5. Once a write or sync failed, nothing is written, synced or appended any more.
//!
//! Group commit: a thread that wants a place durable waits while there is a leader, then, if the place still is not
//! durable, leads a *flight* itself: 1. takes the whole buffer; 2. writes it; 3. syncs the files it and earlier unsynced
//! writes went to; 4. advances `durable` to where the log ended at step 1; 5. wakes one of those who wait for the next
//! flight, to lead it, and then all who were on this one. Between flights whoever is to lead gives way for a moment to
//! those who are just coming back ([`Boarding`]). A crash before step 3 is over leaves any part
//! of the group, of which recovery keeps a prefix and of which nobody was told. After it the whole group stays.
//!
//! Nobody is left waiting: who waits does so at the landing of the flight that its place is on, the one in the air or the next,
//! and counts itself there before it lets go of `state`. A leader changes `state` first and wakes those who are counted
//! afterwards, so whoever saw the state of before is counted by then, and is woken. One is enough for the next flight:
//! it leads, or finds that somebody who came by leads already, whose flight then carries it, and waits for that. A
//! flight without a sync, and a failure, wake everybody at both landings, to look again.
//!
//! Locks: `state` is held for a copy and a checksum. Only an append that needs a segment nobody prepared holds it across
//! I/O. Those of landings come after it; whoever was on a flight needs only its landing's to wake up. The locks of `segments`
//! come after `state`, and nobody who holds those asks for it.

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::mem;
use std::sync::Arc;

use kestrel_check::sync::{Condvar, Mutex, MutexGuard, yield_now};
use kestrel_io::{Storage, StorageFile};

use crate::boarding::{Boarding, Decision, Passenger};
use crate::buffer::{Buffer, Placement};
use crate::cursor;
use crate::error::Error;
use crate::format::{ALIGNMENT, FILLER_KIND, Layout, RECORD_HEADER, SEGMENT_HEADER, record_size};
use crate::landing::Landing;
use crate::lsn::Lsn;
use crate::options::{LogOptions, START_MAX};
use crate::recover::Record;
use crate::segments::{Segments, remove_all, segment_name};

/// The write-ahead log. All methods may be called from any thread.
#[derive(Debug)]
pub struct Wal {
    segments: Segments,
    incarnation: u32,
    state: Mutex<State>,
    /// Where flights land, by their number modulo 2: there is at most one in the air, and one to be boarded.
    landings: [Landing; 2],
    /// Signalled when a leader is done, for those who only want to write.
    led: Condvar,
    /// Copies of what `state` guards, to be read without it.
    durable: AtomicU64,
    end: AtomicU64,
    tail: AtomicU64,
    syncs: AtomicU64,
    /// Bytes in the buffer and in the one in flight.
    buffered: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    buffer: Buffer,
    /// An empty buffer for the time of the next flight.
    idle: Buffer,
    in_flight: Option<Arc<Buffer>>,
    leading: bool,
    /// The number of the flight that is in the air while there is a leader, and was the last one otherwise.
    flight: u64,
    /// What lies before this is on that flight, or an earlier one.
    target: u64,
    poisoned: bool,
    /// Files that were written to since their last sync, by base.
    unsynced: Vec<(u64, Arc<dyn StorageFile>)>,
    /// Where the next record goes, if it fits.
    end: u64,
    /// The base of the segment that `end` lies in.
    tail: u64,
    appended_bytes: u64,
    records: u64,
    boarding: Boarding,
}

/// Where a record was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where it lies: what [`Wal::read`] wants.
    pub start: Lsn,
    /// The place right behind it: what [`Wal::flush`] wants.
    pub end: Lsn,
}

/// Figures of a log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of appended records, with headers and padding.
    pub appended_bytes: u64,
    /// Records appended.
    pub records: u64,
    /// Syncs of segment files, without those that prepare segments.
    pub syncs: u64,
    /// Segments there are now, with prepared ones and without spares.
    pub segments: u64,
}

impl Wal {
    /// Creates a log whose first record lies behind `start` (rounded up to a multiple of 8). Durable on return.
    ///
    /// Whatever log lies in the storage is removed first, as the left-overs of a creation that did not come to its
    /// end: the caller knows that there is no database.
    ///
    /// # Panics
    /// If `start` is beyond 2^62.
    pub fn create(storage: Arc<dyn Storage>, options: &LogOptions, start: Lsn) -> Result<Wal, Error> {
        assert!(start.0 <= START_MAX, "a log cannot start at {start}");
        remove_all(&*storage)?;
        let base = start.0.next_multiple_of(ALIGNMENT);
        let layout = Layout::new(options.database, options.effective_segment_size());
        let segments = Segments::new(storage, layout, Default::default(), Vec::new());
        segments.ensure(base, 1)?;
        Ok(Self::resume(segments, 1, base, base + SEGMENT_HEADER as u64))
    }

    /// Goes on at `end`, which lies in the segment at `tail`; everything before is durable.
    pub(crate) fn resume(segments: Segments, incarnation: u32, tail: u64, end: u64) -> Wal {
        debug_assert!(end - tail >= SEGMENT_HEADER as u64);
        debug_assert!(end - tail + RECORD_HEADER as u64 <= segments.layout.segment_size);
        Wal {
            segments,
            incarnation,
            state: Mutex::new(State { end, tail, ..State::default() }),
            landings: Default::default(),
            led: Condvar::new(),
            durable: AtomicU64::new(end),
            end: AtomicU64::new(end),
            tail: AtomicU64::new(tail),
            syncs: AtomicU64::new(0),
            buffered: AtomicUsize::new(0),
        }
    }

    /// Copies a record, the joined `parts`, into the buffer. Nothing is written to disk, unless the segment is full and
    /// nobody [prepared](Wal::prepare_spare) the next one: then it is made here. An error means that nothing changed.
    ///
    /// # Panics
    /// If `kind` is [`FILLER_KIND`](crate::FILLER_KIND).
    pub fn append(&self, kind: u8, parts: &[&[u8]]) -> Result<Appended, Error> {
        assert_ne!(kind, FILLER_KIND, "fillers are the log's own");
        let len = self.payload_len(parts)?;
        let size = record_size(len);
        let mut state = self.state.lock();
        if state.poisoned {
            return Err(Error::Poisoned);
        }
        let room = size + RECORD_HEADER as u64;
        let no_memory = |e| Error::storage("buffering a log record", std::io::Error::other(e));
        state.buffer.reserve(room).map_err(no_memory)?;
        if !self.segments.layout.fits(state.end - state.tail, size) {
            self.turn_over(&mut state)?;
        }
        let place = self.place(&state);
        state.buffer.push(&self.segments.layout, place, kind, parts, len);
        state.end += size;
        state.records += 1;
        state.appended_bytes += size;
        debug_assert!(state.end - state.tail + RECORD_HEADER as u64 <= self.segments.layout.segment_size);
        self.end.store(state.end, Ordering::Release);
        self.note_buffered(&state);
        Ok(Appended { start: Lsn(place.lsn), end: Lsn(state.end) })
    }

    fn note_buffered(&self, state: &State) {
        let flying = state.in_flight.as_ref().map_or(0, |buffer| buffer.len());
        self.buffered.store(state.buffer.len() + flying, Ordering::Relaxed);
    }

    /// The largest payload that [`Wal::append`] takes: a little under a quarter of a segment.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.segments.layout.payload_max()
    }

    fn payload_len(&self, parts: &[&[u8]]) -> Result<u32, Error> {
        let max = self.max_payload();
        let len = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        u32::try_from(len).ok().filter(|_| len <= max).ok_or(Error::TooLarge { len, max })
    }

    fn place(&self, state: &State) -> Placement {
        let durable = self.durable.load(Ordering::Relaxed);
        debug_assert!(durable <= state.end);
        Placement { lsn: state.end, incarnation: self.incarnation, durable }
    }

    /// Ends the segment with a filler and goes on in the next, which exists from here on.
    fn turn_over(&self, state: &mut State) -> Result<(), Error> {
        let layout = &self.segments.layout;
        let next = state.tail + layout.segment_size;
        self.segments.ensure(next, self.incarnation)?;
        let place = self.place(state);
        state.buffer.push_filler(layout, place, next - place.lsn);
        state.tail = next;
        state.end = next + SEGMENT_HEADER as u64;
        self.tail.store(next, Ordering::Release);
        Ok(())
    }

    /// Makes everything before `to` durable, together with whatever others appended; returns once it is. A failure
    /// leaves it open what is durable and poisons the log for good.
    pub fn flush(&self, to: Lsn) -> Result<(), Error> {
        self.flush_with(to, || {})
    }

    /// As [`Wal::flush`]. If it is this thread that makes something durable, `landed` is called then, before anybody who waited for
    /// that is woken.
    pub fn flush_with(&self, to: Lsn, mut landed: impl FnMut()) -> Result<(), Error> {
        let mut passenger = Passenger::default();
        // Whoever is woken because its place is durable asks for no lock.
        while self.durable() < to {
            let mut state = self.state.lock();
            debug_assert!(to.0 <= state.end, "nothing lies at {to}");
            let to = to.0.min(state.end);
            if self.durable.load(Ordering::Relaxed) >= to {
                return Ok(());
            }
            if state.poisoned {
                return Err(Error::Poisoned);
            }
            state.boarding.arrive(&mut passenger);
            if !state.leading {
                match state.boarding.decide(&mut passenger) {
                    Decision::Lead => return self.lead(state, Some(&mut landed)),
                    Decision::GiveWay => {
                        drop(state);
                        yield_now();
                        continue;
                    }
                    Decision::Wait => {}
                }
            }
            passenger.sleeps();
            // A flight without a sync may have left behind what was its target.
            let in_the_air = state.leading && to <= state.target;
            let flight = if in_the_air { state.flight } else { state.flight + 1 };
            self.landing(flight).wait(state);
        }
        Ok(())
    }

    /// Hands what is buffered to the operating system without syncing it, which bounds the memory it takes. Waits for a
    /// flush that is going on.
    pub fn write_buffered(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        while state.leading && !state.poisoned {
            self.led.wait(&mut state);
        }
        if state.poisoned {
            return Err(Error::Poisoned);
        }
        if state.buffer.is_empty() {
            return Ok(());
        }
        self.lead(state, None)
    }

    fn landing(&self, flight: u64) -> &Landing {
        &self.landings[(flight % 2) as usize]
    }

    /// Writes the buffer and, if somebody is to be told, syncs.
    fn lead(&self, mut state: MutexGuard<'_, State>, landed: Option<&mut dyn FnMut()>) -> Result<(), Error> {
        let sync = landed.is_some();
        debug_assert!(!state.leading && !state.poisoned && state.in_flight.is_none());
        state.leading = true;
        state.boarding.take_off();
        state.flight += 1;
        let flight = state.flight;
        let empty = mem::take(&mut state.idle);
        let buffer = Arc::new(mem::replace(&mut state.buffer, empty));
        state.in_flight = Some(Arc::clone(&buffer));
        let target = state.end;
        state.target = target;
        let mut unsynced = mem::take(&mut state.unsynced);
        drop(state);

        let reign = Reign { wal: self };
        let outcome = self
            .write(&buffer, &mut unsynced)
            .and_then(|()| if sync { self.sync(&unsynced) } else { Ok(()) });
        let mut state = self.state.lock();
        if let Err(error) = outcome {
            drop(state);
            // Ends with the log poisoned.
            drop(reign);
            return Err(error);
        }
        if sync {
            debug_assert!(target >= self.durable.load(Ordering::Relaxed));
            self.durable.store(target, Ordering::Release);
        } else {
            state.unsynced = unsynced;
        }
        state.in_flight = None;
        self.note_buffered(&state);
        if let Some(mut buffer) = Arc::into_inner(buffer) {
            buffer.clear();
            state.idle = buffer;
        }
        state.leading = false;
        if sync {
            state.boarding.land(1 + self.landing(flight).len());
        }
        mem::forget(reign);
        drop(state);
        if let Some(landed) = landed {
            landed();
            // The disk first: whoever is to lead next.
            self.landing(flight + 1).wake_one();
            self.landing(flight).wake_all();
        } else {
            self.wake_all();
        }
        self.led.notify_all();
        Ok(())
    }

    fn wake_all(&self) {
        for landing in &self.landings {
            landing.wake_all();
        }
    }

    fn write(&self, buffer: &Buffer, unsynced: &mut Vec<(u64, Arc<dyn StorageFile>)>) -> Result<(), Error> {
        for (lsn, bytes) in buffer.runs() {
            let Some((base, file)) = self.segments.holding(lsn) else {
                return Err(Error::damaged(lsn, segment_name(lsn), "the segment to write to is gone"));
            };
            let written = match is_planted(Bug::ShortWriteTaken) {
                true => file.write_at(bytes, lsn - base).map(drop),
                false => file.write_all_at(bytes, lsn - base),
            };
            written.map_err(|e| Error::lasting("writing the log", e))?;
            if unsynced.last().is_none_or(|&(last, _)| last != base) {
                unsynced.push((base, file));
            }
        }
        Ok(())
    }

    fn sync(&self, files: &[(u64, Arc<dyn StorageFile>)]) -> Result<(), Error> {
        let skipped = match files.len() {
            all if is_planted(Bug::LogNotSynced) => all,
            all if is_planted(Bug::OnlyLastSegmentSynced) => all.saturating_sub(1),
            _ => 0,
        };
        for (_, file) in files.iter().skip(skipped) {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            let mut synced = file.sync_data();
            if is_planted(Bug::FailedSyncRetried) && synced.is_err() {
                synced = file.sync_data();
            }
            synced.map_err(|e| Error::lasting("syncing the log", e))?;
        }
        Ok(())
    }

    /// Everything before this is durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Whether a write or sync failed: then nothing becomes durable any more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.state.lock().poisoned
    }

    /// Whether a sync of the log's directory failed: then no segment is made any more. What is in the log already can still become
    /// durable.
    #[must_use]
    pub fn names_in_doubt(&self) -> bool {
        self.segments.names_in_doubt()
    }

    /// Where the log ends: the next record lies there or later.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.end.load(Ordering::Acquire))
    }

    /// Bytes appended and not yet handed to the operating system.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    /// Reads the record that starts at `lsn`, wherever it is by now.
    pub fn read(&self, lsn: Lsn) -> Result<Record, Error> {
        {
            let state = self.state.lock();
            if lsn.0 >= state.end {
                return Err(Error::damaged(
                    lsn.0,
                    segment_name(state.tail),
                    "the log ends before this position",
                ));
            }
            let flying = state.in_flight.as_deref();
            if let Some(bytes) = state.buffer.find(lsn.0).or_else(|| flying?.find(lsn.0)) {
                return self.read_buffered(lsn.0, bytes);
            }
        }
        let (header, payload) = cursor::read_record(&self.segments, lsn.0)?;
        Ok(Record::new(&header, payload))
    }

    fn read_buffered(&self, lsn: u64, bytes: &[u8]) -> Result<Record, Error> {
        let layout = &self.segments.layout;
        let find = || {
            let (base, _) = self.segments.holding(lsn)?;
            let header =
                layout.decode_record(bytes, base, lsn - base).filter(|header| !header.is_filler())?;
            let covered = bytes.get(..header.covered())?;
            let payload = header.payload(covered).filter(|_| layout.is_intact(&header, covered))?;
            Some(Record::new(&header, payload.to_vec()))
        };
        find().ok_or_else(|| Error::damaged(lsn, "the log buffer", "no record starts there"))
    }

    /// Makes the segment after the current one, if it is not there yet, so that no append has to; `true` if it did. For a
    /// background thread: writes and syncs a whole segment. An error changes nothing.
    pub fn prepare_spare(&self) -> Result<bool, Error> {
        let next = self.tail.load(Ordering::Acquire) + self.segments.layout.segment_size;
        self.segments.ensure(next, self.incarnation)
    }

    /// Gives up the segments that lie wholly before `before` (and before [`Wal::durable`]): `spares` are kept to be used again,
    /// the others deleted. What lies there can no longer be read. A segment that is used again need not be filled with zeros
    /// first, so whoever has the room keeps as many as are used up until the next call.
    pub fn recycle(&self, before: Lsn, spares: usize) -> Result<(), Error> {
        self.segments.recycle(before.min(self.durable()).0, spares)
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The log's files in the storage that are neither segments in use nor spares.
    ///
    /// # Errors
    /// The files cannot be listed.
    pub fn strangers(&self) -> Result<Vec<String>, Error> {
        self.segments.strangers()
    }

    /// Bytes of a segment.
    #[must_use]
    pub fn segment_size(&self) -> u64 {
        self.segments.layout.segment_size
    }

    /// Bytes from the start of the oldest segment to the end of the log.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        self.segments.oldest().map_or(0, |oldest| self.end().0.saturating_sub(oldest))
    }

    /// Figures since the log was opened.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let segments = self.segments.count() as u64;
        let state = self.state.lock();
        LogStats {
            appended_bytes: state.appended_bytes,
            records: state.records,
            syncs: self.syncs.load(Ordering::Relaxed),
            segments,
        }
    }
}

/// Poisons the log unless forgotten: whatever ends a leader early, a panic of the storage included, leaves it unknown what
/// is on disk, and the others must not wait for ever.
struct Reign<'a> {
    wal: &'a Wal,
}

impl Drop for Reign<'_> {
    fn drop(&mut self) {
        let mut state = self.wal.state.lock();
        state.poisoned = !is_planted(Bug::FailureForgotten);
        state.leading = false;
        drop(state);
        self.wal.wake_all();
        self.wal.led.notify_all();
    }
}

#[cfg(test)]
mod tests;
