//! `kestrel scan`

use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::Bound;

use kestreldb::{Database, KeyRange};

use crate::entry_writer::{EntryFormat, EntryWriter};
use crate::failure::{Failure, Outcome};
use crate::place::{Missing, Place};
use crate::tree_choice::TreeChoice;

const EXAMPLES: &str = "\
Examples:
  kestrel words.kestrel scan --prefix un --keys
  kestrel words.kestrel scan --from a --to c --count
  kestrel words.kestrel scan --reverse --limit 10           # the last ten
  kestrel words.kestrel scan --tree words --json > words.jsonl
  kestrel copy.kestrel load words.jsonl --tree words --format jsonl";

/// Prints entries in the order of their keys.
///
/// Keys are ordered as bytes, as `LC_ALL=C sort` does. What is printed is one state of the database.
///
/// Without --json the bytes are written as they are: key, tab, value, line feed. Where keys contain tabs or
/// line feeds, or values line feeds, that cannot be read back; --json can.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Scan {
    #[command(flatten)]
    tree: TreeChoice,
    /// Only keys that begin with this.
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["from", "to"])]
    prefix: Option<OsString>,
    /// Only keys from this one on.
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// Only keys before this one.
    #[arg(long, value_name = "KEY")]
    to: Option<OsString>,
    /// From the last key to the first.
    #[arg(long, short)]
    reverse: bool,
    /// At most so many entries.
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<u64>,
    /// Keys only.
    #[arg(long, short)]
    keys: bool,
    /// Prints nothing but how many entries there are.
    #[arg(long, short, conflicts_with_all = ["keys", "json"])]
    count: bool,
    /// One JSON object a line, without loss.
    ///
    /// The fields are "key" and "value"; what is no UTF-8 stands as Base64 in "key_base64" or "value_base64"
    /// instead. `load --format jsonl` reads it back.
    #[arg(long, short)]
    json: bool,
}

impl Scan {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let range = self.range(place)?;
        place.with_database(Missing::Refuse, |db| {
            if self.count { self.print_count(db, &range) } else { self.print_entries(db, &range) }
        })
    }

    fn range(&self, place: &Place) -> Outcome<KeyRange> {
        let bytes = |argument: &Option<OsString>| {
            argument.as_deref().map(|argument| place.bytes(argument)).transpose()
        };
        if let Some(prefix) = bytes(&self.prefix)? {
            return Ok(KeyRange::prefix(prefix));
        }
        let low = bytes(&self.from)?.map_or(Bound::Unbounded, Bound::Included);
        let high = bytes(&self.to)?.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(KeyRange::new(low, high))
    }

    fn print_count(&self, db: &Database, range: &KeyRange) -> Outcome {
        let tree = self.tree.existing(db)?;
        let limit = self.limit.unwrap_or(u64::MAX);
        // The number of all is known without counting.
        let count = if *range == KeyRange::prefix("") {
            tree.len()?.min(limit)
        } else {
            let mut count = 0;
            for entry in tree.range(range)? {
                if count == limit {
                    break;
                }
                entry?;
                count += 1;
            }
            count
        };
        writeln!(io::stdout(), "{count}").map_err(|error| Failure::output(&error))
    }

    fn print_entries(&self, db: &Database, range: &KeyRange) -> Outcome {
        let mut entries = self.tree.existing(db)?.range(range)?;
        let mut writer = EntryWriter::new(EntryFormat { json: self.json, keys_only: self.keys });
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            left -= 1;
            let entry = if self.reverse { entries.next_back() } else { entries.next() };
            let Some(entry) = entry else { break };
            let (key, value) = entry?;
            writer.write(&key, &value).map_err(|error| Failure::output(&error))?;
        }
        writer.finish().map_err(|error| Failure::output(&error))
    }
}
