//! Where the records of a log lie, read as `docs/file-format.md` has it: by a second hand, so that the engine is not its own
//! judge of which commits a damage may take away.

use kestrel_io::CrashStorage;

const SEGMENT: u64 = 64 << 10;
const HEADER: u64 = 64;
const RECORD: u64 = 32;
const COMMIT: u8 = 1;
const FILLER: u8 = 0xFF;

/// A record behind the newest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Everything before this was durable when it was written.
    pub(super) durable: u64,
    pub(super) is_commit: bool,
}

/// The log of an intact database.
#[derive(Clone, Debug)]
pub(super) struct LogMap {
    pub(super) records: Vec<Place>,
    /// Bases of segments.
    bases: Vec<u64>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(wide)
}

impl LogMap {
    pub(super) fn read(storage: &CrashStorage) -> LogMap {
        let data = storage.contents("kestrel.data");
        let newest = if number::<8>(&data, 32) > number::<8>(&data, 4096 + 32) { 0 } else { 4096 };
        let from = number::<8>(&data, newest + 40);
        let mut bases: Vec<u64> = storage
            .files()
            .iter()
            .filter_map(|(name, _)| name.strip_prefix("kestrel.log.")?.parse().ok())
            .collect();
        bases.sort_unstable();
        let mut map = LogMap { records: Vec::new(), bases };
        let mut at = from;
        let mut incarnation = 0;
        while let Some(base) = map.base_of(at) {
            let segment = storage.contents(&name(base));
            let place = (at - base) as usize;
            let header = &segment[place..place + RECORD as usize];
            let record = Place {
                start: at,
                end: at + RECORD + number::<4>(header, 4).next_multiple_of(8),
                durable: number::<8>(header, 24),
                is_commit: header[16] == COMMIT,
            };
            if number::<8>(header, 8) != at || number::<4>(header, 20) < incarnation || record.durable > at {
                break;
            }
            incarnation = number::<4>(header, 20);
            let filler = header[16] == FILLER;
            at = if filler { base + SEGMENT + HEADER } else { record.end };
            map.records.push(record);
        }
        map
    }

    pub(super) fn base_of(&self, lsn: u64) -> Option<u64> {
        self.bases.iter().copied().rfind(|&base| (base..base + SEGMENT).contains(&lsn))
    }

    /// The commits behind the checkpoint.
    pub(super) fn commits(&self) -> usize {
        self.records.iter().filter(|record| record.is_commit).count()
    }

    /// If the log's bytes from `start` to `end` (as positions) change: `None` if no record is harmed. `Some((lost, proven))`: so many
    /// commits, the newest ones, may vanish; but not if a record that is left proves that the first harmed one was durable.
    pub(super) fn harm(&self, start: u64, end: u64) -> Option<(usize, bool)> {
        let meets = |record: &Place| {
            let covered = if record.is_filler(self) { record.start + RECORD } else { record.end };
            record.start < end && start < covered
        };
        let first = self.records.iter().position(meets)?;
        let place = self.records[first].start;
        let lost = self.records[first..].iter().filter(|record| record.is_commit).count();
        let proven =
            self.records[first..].iter().filter(|record| !meets(record)).any(|record| record.durable > place);
        Some((lost, proven))
    }
}

impl Place {
    fn is_filler(&self, map: &LogMap) -> bool {
        map.base_of(self.start).is_some_and(|base| self.end == base + SEGMENT)
    }
}

/// The name of the segment at a position.
pub(super) fn name(base: u64) -> String {
    format!("kestrel.log.{base:020}")
}
