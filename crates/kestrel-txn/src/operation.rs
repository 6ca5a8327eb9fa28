//! Operations: what a transaction does, as bytes. The same bytes are its memory of what it did and its log record.
//!
//! ```text
//! | kind u8 | tree u32 | key length u16 | key | ... |
//! put          kind 1: | value length u32 | value |
//! put blob     kind 2: | location u64 | length u32 | checksum u32 |
//! delete       kind 3: nothing more
//! delete range kind 4: key is the lower bound; | has upper u8 | length u16 | upper bound | (half open)
//! create tree  kind 5: key is the name
//! drop tree    kind 6: key is empty
//! rename tree  kind 7: key is the new name
//! restore tree kind 8: key is the name; takes back a drop in the same transaction
//! ```
//!
//! The decoder is total: it meets bytes from a disk.

// Bytes from a disk are met here: nothing is indexed, cut short or added up without a check.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use kestrel_pager::{Location, TreeId};

use crate::{Error, ErrorKind};

const PUT: u8 = 1;
const PUT_BLOB: u8 = 2;
const DELETE: u8 = 3;
const DELETE_RANGE: u8 = 4;
const CREATE_TREE: u8 = 5;
const DROP_TREE: u8 = 6;
const RENAME_TREE: u8 = 7;
const RESTORE_TREE: u8 = 8;

/// One operation of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation<'a> {
    Put {
        tree: TreeId,
        key: &'a [u8],
        value: &'a [u8],
    },
    PutBlob {
        tree: TreeId,
        key: &'a [u8],
        location: Location,
        len: u32,
        checksum: u32,
    },
    Delete {
        tree: TreeId,
        key: &'a [u8],
    },
    /// From `low` up to, not including, `high`.
    DeleteRange {
        tree: TreeId,
        low: &'a [u8],
        high: Option<&'a [u8]>,
    },
    CreateTree {
        tree: TreeId,
        name: &'a str,
    },
    DropTree {
        tree: TreeId,
    },
    RenameTree {
        tree: TreeId,
        name: &'a str,
    },
    RestoreTree {
        tree: TreeId,
        name: &'a str,
    },
}

impl<'a> Operation<'a> {
    /// The tree that it changes.
    pub(crate) fn tree(&self) -> TreeId {
        match *self {
            Operation::Put { tree, .. }
            | Operation::PutBlob { tree, .. }
            | Operation::Delete { tree, .. }
            | Operation::DeleteRange { tree, .. }
            | Operation::CreateTree { tree, .. }
            | Operation::DropTree { tree }
            | Operation::RenameTree { tree, .. }
            | Operation::RestoreTree { tree, .. } => tree,
        }
    }

    /// Appends the operation.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "what is encoded was checked: its lengths fit their fields"
    )]
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut begin = |kind: u8, tree: TreeId, key: &[u8]| {
            out.push(kind);
            out.extend_from_slice(&tree.0.to_le_bytes());
            out.extend_from_slice(&(key.len() as u16).to_le_bytes());
            out.extend_from_slice(key);
        };
        match *self {
            Operation::Put { tree, key, value } => {
                begin(PUT, tree, key);
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
            Operation::PutBlob { tree, key, location, len, checksum } => {
                begin(PUT_BLOB, tree, key);
                out.extend_from_slice(&location.to_bits().to_le_bytes());
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(&checksum.to_le_bytes());
            }
            Operation::Delete { tree, key } => begin(DELETE, tree, key),
            Operation::DeleteRange { tree, low, high } => {
                begin(DELETE_RANGE, tree, low);
                out.push(u8::from(high.is_some()));
                let high = high.unwrap_or(&[]);
                out.extend_from_slice(&(high.len() as u16).to_le_bytes());
                out.extend_from_slice(high);
            }
            Operation::CreateTree { tree, name } => begin(CREATE_TREE, tree, name.as_bytes()),
            Operation::DropTree { tree } => begin(DROP_TREE, tree, &[]),
            Operation::RenameTree { tree, name } => begin(RENAME_TREE, tree, name.as_bytes()),
            Operation::RestoreTree { tree, name } => begin(RESTORE_TREE, tree, name.as_bytes()),
        }
    }

    /// The operation at the beginning of the bytes, and the rest.
    fn decode(bytes: &'a [u8]) -> Option<(Operation<'a>, &'a [u8])> {
        let mut reader = Reader(bytes);
        let kind = reader.u8()?;
        let tree = TreeId(reader.u32()?);
        let key = reader.short()?;
        let name = || std::str::from_utf8(key).ok();
        let operation = match kind {
            PUT => {
                let len = reader.u32()? as usize;
                Operation::Put { tree, key, value: reader.take(len)? }
            }
            PUT_BLOB => {
                let location =
                    Location::checked_from_bits(reader.u64()?).filter(|location| location.is_blob())?;
                let len = reader.u32().filter(|&len| len > 0)?;
                Operation::PutBlob { tree, key, location, len, checksum: reader.u32()? }
            }
            DELETE => Operation::Delete { tree, key },
            DELETE_RANGE => {
                let bounded = reader.u8()? == 1;
                let high = reader.short()?;
                Operation::DeleteRange { tree, low: key, high: bounded.then_some(high) }
            }
            CREATE_TREE => Operation::CreateTree { tree, name: name()? },
            DROP_TREE => Operation::DropTree { tree },
            RENAME_TREE => Operation::RenameTree { tree, name: name()? },
            RESTORE_TREE => Operation::RestoreTree { tree, name: name()? },
            _ => return None,
        };
        Some((operation, reader.0))
    }
}

/// The operations in some bytes, in order. What is no operation is damage, and ends them.
pub(crate) fn operations(mut bytes: &[u8]) -> impl Iterator<Item = Result<Operation<'_>, Error>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        match Operation::decode(bytes) {
            Some((operation, rest)) => {
                bytes = rest;
                Some(Ok(operation))
            }
            None => {
                bytes = &[];
                let message =
                    "a log record holds something that is no operation; restore the log from a backup";
                Some(Err(Error::new(ErrorKind::Corrupted, message)))
            }
        }
    })
}

/// Reads fields off the front of bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// Bytes with a 16-bit length before them.
    pub(crate) fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn operations_come_back_and_garbage_is_an_error(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..400),
            tree: u32,
            name in ".{0,20}",
            garbage in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let tree = TreeId(tree);
            let location = Location::checked_from_bits(1000 << 24).unwrap();
            let all = [
                Operation::Put { tree, key: &key, value: &value },
                Operation::PutBlob { tree, key: &key, location, len: 70_000, checksum: 5 },
                Operation::Delete { tree, key: &key },
                Operation::DeleteRange { tree, low: &key, high: Some(&value) },
                Operation::DeleteRange { tree, low: &key, high: None },
                Operation::CreateTree { tree, name: &name },
                Operation::DropTree { tree },
                Operation::RenameTree { tree, name: &name },
                Operation::RestoreTree { tree, name: &name },
            ];
            let mut bytes = Vec::new();
            for operation in &all {
                operation.encode(&mut bytes);
            }
            let back: Vec<_> = operations(&bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(&back[..], &all[..]);
            for cut in 0..bytes.len() {
                let _ = operations(&bytes[..cut]).count();
            }
            let _ = operations(&garbage).count();
        }
    }
}
