//! A trace: what was asked of a storage, when each call began and when it ended.

use std::collections::BTreeMap;

/// The number of a call in its trace.
pub(crate) type CallId = usize;

/// A file, whatever its name is at the moment. Those that were there at the beginning come first.
pub(crate) type FileId = usize;

/// A call that changes something, or makes something durable, or reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Write { file: FileId, offset: u64, bytes: Vec<u8> },
    SetLen { file: FileId, len: u64 },
    Preallocate { file: FileId, offset: u64, len: u64 },
    SyncData { file: FileId },
    Create { name: String, file: FileId },
    Rename { from: String, to: String },
    Remove { name: String },
    SyncDirectory,
    Read { file: FileId, offset: u64 },
}

/// What happened next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Begin(CallId),
    /// A call succeeded. Calls that failed never end: what they did is as open as if the power had gone.
    End(CallId),
    Mark(Mark),
}

/// What those were told who use the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// The database is open.
    Open,
    Tried(u8, u64),
    Committed(u8, u64, u64),
    Promised(u8, u64),
}

/// One life of a database, from before it is opened until after it is closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    /// What was there before, all of it durable.
    pub(crate) before: BTreeMap<String, Vec<u8>>,
    pub(crate) calls: Vec<Call>,
    pub(crate) events: Vec<Event>,
}
