//! The input, line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::failure::{Failure, Outcome};

const BUFFER_BYTES: usize = 256 << 10;

/// Reads lines, which end with a line feed or with the input, and counts them.
pub(crate) struct Lines {
    input: BufReader<Box<dyn Read>>,
    name: String,
    /// Of the input, if that is known.
    bytes_total: Option<u64>,
    bytes: u64,
    number: u64,
}

impl Lines {
    /// Opens a file, or the standard input for `-` or no path.
    pub(crate) fn open(path: Option<&Path>) -> Outcome<Lines> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Lines::new(Box::new(io::stdin().lock()), "the standard input".to_owned(), None));
        };
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) =
            opened.map_err(|error| Failure::new(format!("opening {name} failed: {error}")))?;
        // Pipes and devices have no length.
        let bytes_total = metadata.is_file().then_some(metadata.len());
        Ok(Lines::new(Box::new(file), name, bytes_total))
    }

    fn new(input: Box<dyn Read>, name: String, bytes_total: Option<u64>) -> Lines {
        Lines { input: BufReader::with_capacity(BUFFER_BYTES, input), name, bytes_total, bytes: 0, number: 0 }
    }

    /// Appends the next line to `line`, its line feed included; returns whether there was one.
    pub(crate) fn append_next(&mut self, line: &mut Vec<u8>) -> Outcome<bool> {
        let read = self.input.read_until(b'\n', line).map_err(|error| {
            Failure::new(format!("reading {} failed behind line {}: {error}", self.name, self.number))
        })?;
        self.bytes += read as u64;
        self.number += u64::from(read > 0);
        Ok(read > 0)
    }

    /// The number of the line that was read last; the first one is 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes were read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes the input has, where that is known before its end.
    pub(crate) fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}

#[cfg(test)]
impl Lines {
    /// Lines of a text.
    pub(crate) fn of(text: &[u8]) -> Lines {
        Lines::new(Box::new(io::Cursor::new(text.to_vec())), "a text".to_owned(), None)
    }
}
