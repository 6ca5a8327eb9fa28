//! Notes: what a child writes down, for its parent to read after it was killed.
//!
//! A file that is only appended to, one write a note, so that a killed process loses none that it had written. What the
//! process had written is in the system's cache, which outlives it; no sync is needed, as it is not the power that fails.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use kestreldb::Timestamp;

use crate::writers::Witness;

const SIZE: usize = 24;

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// The database is about to be opened.
    Opening,
    /// So many transactions of a writer were found.
    Found(u8, u64),
    /// It is open, and all writers' transactions are told.
    Open,
    Tried(u8, u64),
    Committed(u8, u64, u64),
    Promised(u8, u64),
    CheckpointBegins,
    CheckpointEnds,
    Closing,
    Closed,
}

impl Note {
    fn encode(self) -> [u8; SIZE] {
        let (kind, writer, number, timestamp) = match self {
            Note::Opening => (1, 0, 0, 0),
            Note::Found(writer, number) => (2, writer, number, 0),
            Note::Open => (3, 0, 0, 0),
            Note::Tried(writer, number) => (4, writer, number, 0),
            Note::Committed(writer, number, timestamp) => (5, writer, number, timestamp),
            Note::Promised(writer, number) => (6, writer, number, 0),
            Note::CheckpointBegins => (7, 0, 0, 0),
            Note::CheckpointEnds => (8, 0, 0, 0),
            Note::Closing => (9, 0, 0, 0),
            Note::Closed => (10, 0, 0, 0),
        };
        let mut bytes = [0; SIZE];
        bytes[0] = kind;
        bytes[1] = writer;
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..].copy_from_slice(&timestamp.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SIZE]) -> Option<Note> {
        let (numbers, _) = bytes.as_chunks::<8>();
        let [_, number, timestamp] = *numbers else { return None };
        let (writer, number) = (bytes[1], u64::from_le_bytes(number));
        Some(match bytes[0] {
            1 => Note::Opening,
            2 => Note::Found(writer, number),
            3 => Note::Open,
            4 => Note::Tried(writer, number),
            5 => Note::Committed(writer, number, u64::from_le_bytes(timestamp)),
            6 => Note::Promised(writer, number),
            7 => Note::CheckpointBegins,
            8 => Note::CheckpointEnds,
            9 => Note::Closing,
            10 => Note::Closed,
            _ => return None,
        })
    }
}

/// Where a child writes its notes.
#[derive(Debug)]
pub(crate) struct Pen {
    file: File,
}

impl Pen {
    pub(crate) fn append_to(path: &Path) -> io::Result<Pen> {
        Ok(Pen { file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// # Panics
    /// If the note cannot be written: what is not written down cannot be judged.
    pub(crate) fn write(&self, note: Note) {
        (&self.file).write_all(&note.encode()).expect("notes can be written");
    }
}

impl Witness for Pen {
    fn tried(&self, writer: u8, number: u64) {
        self.write(Note::Tried(writer, number));
    }

    fn committed(&self, writer: u8, number: u64, timestamp: Timestamp) {
        self.write(Note::Committed(writer, number, timestamp.0));
    }

    fn promised(&self, writer: u8, number: u64) {
        self.write(Note::Promised(writer, number));
    }
}

/// All notes of a file; none if it is not there yet.
pub(crate) fn read(path: &Path) -> Result<Vec<Note>, String> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.map_err(|error| format!("reading {}: {error}", path.display()))?,
    };
    let (whole, _) = bytes.as_chunks::<SIZE>();
    let notes = whole.iter().map(|bytes| Note::decode(bytes).ok_or_else(|| format!("{bytes:?} is no note")));
    notes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        assert_eq!(read(&path).unwrap(), []);
        let notes = [
            Note::Opening,
            Note::Found(3, 1 << 40),
            Note::Open,
            Note::Tried(1, 2),
            Note::Committed(255, 3, u64::MAX),
            Note::Promised(1, 2),
            Note::CheckpointBegins,
            Note::CheckpointEnds,
            Note::Closing,
            Note::Closed,
        ];
        let pen = Pen::append_to(&path).unwrap();
        notes.iter().for_each(|note| pen.write(*note));
        assert_eq!(read(&path).unwrap(), notes);
    }
}
