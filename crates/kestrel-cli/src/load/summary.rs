//! What a load did.

use std::fmt;
use std::time::Duration;

use crate::counted::counted;

/// Figures of a load that reached the end of its input.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    /// Entries that were stored.
    pub(crate) entries: u64,
    /// Of these, how many had a key that was new.
    pub(crate) inserted: u64,
    /// Records that were left out.
    pub(crate) skipped: u64,
    /// Transactions.
    pub(crate) batches: u64,
    /// Bytes of the input.
    pub(crate) bytes: u64,
    /// How long it took until all was on disk.
    pub(crate) elapsed: Duration,
    /// How many values end with a carriage return.
    pub(crate) carriage_returns: u64,
}

impl Summary {
    /// Says so if the lines of a TSV input seem to have ends that were not meant to be part of the values.
    pub(crate) fn warn_of_carriage_returns(&self) {
        if self.entries > 0 && self.carriage_returns == self.entries {
            eprintln!(
                "kestrel: note: every value ends with a carriage return; if these are line ends of Windows, load \
                 again with --crlf"
            );
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { inserted, skipped, bytes, .. } = self;
        let entries = counted(self.entries, "entry", "entries");
        let batches = counted(self.batches, "batch", "batches");
        let seconds = self.elapsed.as_secs_f64();
        let per_second = |count: u64| count as f64 / seconds.max(f64::EPSILON);
        write!(
            f,
            "loaded {entries}, {bytes} bytes, in {seconds:.3} s ({:.0} entries/s, {:.1} MB/s): {inserted} \
             inserted, {} replaced, {skipped} skipped, {batches}",
            per_second(self.entries),
            per_second(*bytes) / 1e6,
            self.entries.saturating_sub(*inserted),
        )
    }
}
