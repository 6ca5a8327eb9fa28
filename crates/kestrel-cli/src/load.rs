//! `kestrel load`
//!
//! [`Lines`] counts the input's lines, a [`RecordReader`] makes entries of them, a [`Loader`]
//! stores these in batches and acknowledges the batches.

mod acknowledgements;
mod json_lines;
mod key_fields;
mod lines;
mod loader;
mod paragraphs;
mod progress;
mod record;
mod record_reader;
mod summary;
mod tsv;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::{ValueEnum, value_parser};

use crate::byte_size::ByteSize;
use crate::escape::{argument_bytes, unescape};
use crate::failure::{Failure, Outcome};
use crate::load::acknowledgements::Acknowledgements;
use crate::load::key_fields::KeyFields;
use crate::load::lines::Lines;
use crate::load::loader::{Batching, Loader};
use crate::load::record_reader::{Format, RecordReader};
use crate::place::{Missing, Place};
use crate::tree_choice::TreeChoice;

const EXAMPLES: &str = "\
Examples:
  printf 'apple\\t3\\npear\\t5\\n' | kestrel shop.kestrel load --tree stock --format tsv
  kestrel log.kestrel load hits.jsonl --tree hits --format jsonl --key time,id --separator '\\0'
  kestrel words.kestrel scan --json | kestrel copy.kestrel load --tree words --format jsonl
  apt-cache dumpavail | kestrel debian.kestrel load --tree packages --format paragraphs --key Package";

/// Reads entries from a file or the standard input and stores them.
///
/// An entry whose key is there already replaces the old one; so does a later one of the same input. Each
/// batch is one transaction: after a crash or an error, whole batches are there from the first on, and
/// nothing of the others.
///
/// A line or stanza is held in memory as a whole, the database's memory is bounded by --memory.
///
/// tsv: a line is a key, a tab, and a value that may contain more tabs. Bytes are taken as they are, a
/// carriage return at the end of a line included unless --crlf is given. Key and value may be empty.
///
/// jsonl: a line is a JSON object with the fields "key" and "value". Strings stand for their text, anything
/// else for itself as it is written. Bytes that are no text stand as Base64 in "key_base64" and
/// "value_base64", as `scan --json` prints them. With --key the key is made from the fields that are named,
/// which must be text, numbers, true or false, and the value is the whole line. Empty lines are skipped.
///
/// paragraphs: stanzas of fields as in a Debian package index, with empty lines between them. The key is made
/// from the fields that --key names (upper or lower case), without the white space around their values. The
/// value is the stanza byte for byte, with its last line's end and without the empty line behind.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Load {
    /// The file to read; - or nothing is the standard input.
    file: Option<PathBuf>,
    #[command(flatten)]
    tree: TreeChoice,
    /// What the input looks like.
    #[arg(long, short, value_enum)]
    format: InputFormat,
    /// The fields that make up the key, in this order.
    #[arg(
        long,
        short,
        value_name = "FIELD,...",
        value_delimiter = ',',
        required_if_eq("format", "paragraphs")
    )]
    key: Vec<String>,
    /// What stands between the fields of a key; reads escapes such as \0 and \t.
    ///
    /// The default, a space, sorts before all that package names, versions and numbers are made of, so keys
    /// are in the order of the first field, then of the second. Fields that contain the separator can make
    /// equal keys of different fields.
    #[arg(long, value_name = "BYTES", default_value = " ")]
    separator: OsString,
    /// In tsv, takes the carriage return at the end of a line for a part of the line's end.
    #[arg(long)]
    crlf: bool,
    /// Entries in a transaction.
    #[arg(long, short, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u64).range(1..))]
    batch: u64,
    /// When a batch counts as stored.
    #[arg(long, value_enum, default_value_t = Durability::Immediate)]
    durability: Durability,
    /// Appends a line `BATCH ENTRIES` to this file, and syncs it, whenever a batch is on disk.
    ///
    /// BATCH counts this load's batches from 1, ENTRIES the entries stored so far. Whatever is read there
    /// survives a crash. With --durability eventual the batch is flushed for it.
    #[arg(long, value_name = "FILE")]
    ack: Option<PathBuf>,
    /// Leaves out what cannot be understood or is too long, and counts it, instead of ending with an error.
    #[arg(long)]
    skip_bad: bool,
    /// The page size, if the database is created: 4K to 64K. Larger pages take longer keys, up to a quarter
    /// of a page.
    #[arg(long, value_name = "BYTES")]
    page_size: Option<ByteSize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum InputFormat {
    /// Lines of key, tab, value.
    Tsv,
    /// Lines of JSON objects.
    Jsonl,
    /// Stanzas of `Field: value` lines.
    Paragraphs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Durability {
    /// Once it is on disk.
    Immediate,
    /// At once; it is on disk some milliseconds later. A crash keeps whole batches from the first on.
    Eventual,
}

impl Load {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let page_size = self.page_size.map(|ByteSize(bytes)| u32::try_from(bytes).unwrap_or(u32::MAX));
        let format = self.format()?;
        // First, so that a mistyped name makes no database.
        let lines = Lines::open(self.file.as_deref())?;
        let acknowledgements = self.ack.as_deref().map(Acknowledgements::open).transpose()?;
        let batching = Batching {
            entries: self.batch,
            durability: match self.durability {
                Durability::Immediate => kestreldb::Durability::Immediate,
                Durability::Eventual => kestreldb::Durability::Eventual,
            },
            skip_bad: self.skip_bad,
        };
        let (summary, loaded_at) = place.with_database(Missing::Create { page_size }, |db| {
            let tree = self.tree.existing_or_new(db)?;
            let reader = RecordReader::new(lines, format);
            let summary = Loader::new(db, &tree, reader, batching, acknowledgements).run()?;
            Ok((summary, Instant::now()))
        })?;
        if self.format == InputFormat::Tsv {
            summary.warn_of_carriage_returns();
        }
        writeln!(io::stdout(), "{summary}; closed in {:.3} s", loaded_at.elapsed().as_secs_f64())
            .map_err(|error| Failure::output(&error))
    }

    fn format(&self) -> Outcome<Format> {
        let separator = unescape(&argument_bytes(&self.separator)).map_err(Failure::new)?;
        let keys = KeyFields::new(self.key.clone(), separator);
        match (self.format, keys) {
            (InputFormat::Tsv, None) => Ok(Format::Tsv { crlf: self.crlf }),
            (InputFormat::Tsv, Some(_)) => Err(Failure::new(
                "--key is for jsonl and paragraphs; in tsv the key stands before the first tab",
            )),
            (_, _) if self.crlf => Err(Failure::new("--crlf is for tsv; the other formats need not be told")),
            (InputFormat::Jsonl, keys) => Ok(Format::JsonLines { keys }),
            (InputFormat::Paragraphs, Some(keys)) => Ok(Format::Paragraphs { keys }),
            (InputFormat::Paragraphs, None) => {
                Err(Failure::new("paragraphs need --key, for example --key Package"))
            }
        }
    }
}
