//! Entries on the standard output.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::entry_object::write_object;

const BUFFER_BYTES: usize = 64 << 10;

/// What of an entry is written, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryFormat {
    /// As [JSON objects](crate::entry_object), one a line; else the bare bytes, with a tab between key and
    /// value and a line feed behind.
    pub(crate) json: bool,
    /// Without the values.
    pub(crate) keys_only: bool,
}

/// Writes entries to the standard output.
#[derive(Debug)]
pub(crate) struct EntryWriter {
    out: BufWriter<StdoutLock<'static>>,
    format: EntryFormat,
}

impl EntryWriter {
    /// A writer to the standard output, which nobody else can write to as long as this one lives.
    pub(crate) fn new(format: EntryFormat) -> EntryWriter {
        EntryWriter { out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()), format }
    }

    /// Writes an entry.
    pub(crate) fn write(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let value = (!self.format.keys_only).then_some(value);
        if self.format.json {
            write_object(&mut self.out, key, value)?;
        } else {
            self.out.write_all(key)?;
            if let Some(value) = value {
                self.out.write_all(b"\t")?;
                self.out.write_all(value)?;
            }
        }
        self.out.write_all(b"\n")
    }

    /// Writes out what is buffered.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}
