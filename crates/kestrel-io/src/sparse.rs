//! The bytes of a file in memory: chunks that exist only where something was written or claimed. Copies share chunks until
//! one of them writes, so that a copy of a whole disk costs little.
//!
//! Invariant: every byte at or past `len` inside a chunk is zero, so growing the file never shows old bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::space::Space;

/// A sparse array of bytes in chunks of `CHUNK` bytes; each chunk is paid for from a [`Space`].
#[derive(Debug)]
pub(crate) struct Sparse<const CHUNK: usize> {
    space: Space,
    len: u64,
    chunks: BTreeMap<u64, Arc<[u8]>>,
}

impl<const CHUNK: usize> Sparse<CHUNK> {
    pub(crate) fn new(space: Space) -> Self {
        Self { space, len: 0, chunks: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads what lies between `offset` and the end; returns how much that was.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let within = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for piece in pieces::<CHUNK>(offset, within) {
            let target = &mut buffer[piece.from..piece.from + piece.len];
            match self.chunks.get(&piece.chunk) {
                Some(chunk) => target.copy_from_slice(&chunk[piece.at..piece.at + piece.len]),
                None => target.fill(0),
            }
        }
        within
    }

    /// Writes all of `buffer`, or nothing if there is no room.
    pub(crate) fn write(&mut self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let end = end_of(offset, buffer.len() as u64)?;
        self.claim_chunks(offset, buffer.len() as u64)?;
        for piece in pieces::<CHUNK>(offset, buffer.len()) {
            if let Some(chunk) = self.chunks.get_mut(&piece.chunk) {
                Arc::make_mut(chunk)[piece.at..piece.at + piece.len]
                    .copy_from_slice(&buffer[piece.from..piece.from + piece.len]);
            }
        }
        if !buffer.is_empty() {
            self.len = self.len.max(end);
        }
        Ok(())
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let kept = len.div_ceil(CHUNK as u64);
            let cut = self.chunks.split_off(&kept);
            self.space.release(cut.len() as u64 * CHUNK as u64);
            let within = (len % CHUNK as u64) as usize;
            if within > 0
                && let Some(chunk) = self.chunks.get_mut(&(len / CHUNK as u64))
            {
                Arc::make_mut(chunk)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// Claims the chunks of a range and grows the file to its end.
    pub(crate) fn preallocate(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let end = end_of(offset, len)?;
        self.claim_chunks(offset, len)?;
        self.len = self.len.max(end);
        Ok(())
    }

    /// The byte ranges from `offset` on that have chunks, in order, cut at the length.
    pub(crate) fn claimed_from(&self, offset: u64) -> impl Iterator<Item = (u64, u64)> {
        let len = self.len;
        self.chunks.range(offset / CHUNK as u64..).filter_map(move |(&index, _)| {
            let start = (index * CHUNK as u64).max(offset);
            let end = ((index + 1) * CHUNK as u64).min(len);
            (start < end).then_some((start, end))
        })
    }

    /// The same bytes, paid for from another space, which must not refuse.
    pub(crate) fn copy_to(&self, space: Space) -> io::Result<Self> {
        space.claim(self.chunks.len() as u64 * CHUNK as u64)?;
        Ok(Self { space, len: self.len, chunks: self.chunks.clone() })
    }

    fn claim_chunks(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let range = offset / CHUNK as u64..=(offset + (len - 1)) / CHUNK as u64;
        let present = self.chunks.range(range.clone()).count() as u64;
        let missing = range.end() - range.start() + 1 - present;
        let bytes = missing.checked_mul(CHUNK as u64).ok_or(io::ErrorKind::StorageFull)?;
        self.space.claim(bytes)?;
        if missing > 0 {
            let zeros: Arc<[u8]> = vec![0; CHUNK].into();
            for index in range {
                self.chunks.entry(index).or_insert_with(|| Arc::clone(&zeros));
            }
        }
        Ok(())
    }
}

impl<const CHUNK: usize> Drop for Sparse<CHUNK> {
    fn drop(&mut self) {
        self.space.release(self.chunks.len() as u64 * CHUNK as u64);
    }
}

/// The end of a range, refused where no file system could hold it.
fn end_of(offset: u64, len: u64) -> io::Result<u64> {
    offset
        .checked_add(len)
        .filter(|&end| end <= i64::MAX as u64)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the range ends beyond the largest file"))
}

/// The part of a range that lies in one chunk.
struct Piece {
    chunk: u64,
    /// Where it starts in the chunk.
    at: usize,
    /// Where it starts in the caller's buffer.
    from: usize,
    len: usize,
}

fn pieces<const CHUNK: usize>(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut from = 0;
    std::iter::from_fn(move || {
        if from == len {
            return None;
        }
        let position = offset + from as u64;
        let at = (position % CHUNK as u64) as usize;
        let piece = Piece { chunk: position / CHUNK as u64, at, from, len: (CHUNK - at).min(len - from) };
        from += piece.len;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Preallocate(u64, u64),
        Read(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..200, prop::collection::vec(1u8.., 0..60)).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            (0u64..250).prop_map(Step::SetLen),
            (0u64..200, 0u64..60).prop_map(|(at, len)| Step::Preallocate(at, len)),
            (0u64..300, 0usize..80).prop_map(|(at, len)| Step::Read(at, len)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(steps in prop::collection::vec(step(), 1..40)) {
            let space = Space::new(None);
            let mut sparse = Sparse::<16>::new(space.clone());
            let mut model: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        sparse.write(&bytes, at).unwrap();
                        let end = at as usize + bytes.len();
                        if !bytes.is_empty() && model.len() < end {
                            model.resize(end, 0);
                        }
                        if !bytes.is_empty() {
                            model[at as usize..end].copy_from_slice(&bytes);
                        }
                    }
                    Step::SetLen(len) => {
                        sparse.set_len(len);
                        model.resize(len as usize, 0);
                    }
                    Step::Preallocate(at, len) => {
                        sparse.preallocate(at, len).unwrap();
                        model.resize(model.len().max((at + len) as usize), 0);
                    }
                    Step::Read(at, len) => {
                        let mut buffer = vec![0xEE; len];
                        let n = sparse.read(&mut buffer, at);
                        let from = (at as usize).min(model.len());
                        let expected = &model[from..(from + len).min(model.len())];
                        prop_assert_eq!(&buffer[..n], expected);
                    }
                }
                let mut all = vec![0; model.len()];
                prop_assert_eq!(sparse.read(&mut all, 0), model.len());
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(space.used(), sparse.chunks.len() as u64 * 16);
            }
            drop(sparse);
            prop_assert_eq!(space.used(), 0);
        }
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let space = Space::new(Some(32));
        let mut sparse = Sparse::<16>::new(space.clone());
        sparse.write(&[1; 20], 0).unwrap();
        assert_eq!(sparse.write(&[2; 20], 16).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut all = [0; 64];
        assert_eq!(sparse.read(&mut all, 0), 20);
        assert_eq!(all[..20], [1; 20]);
        assert_eq!(space.used(), 32);
    }

    #[test]
    fn far_offsets_cost_one_chunk_and_absurd_ones_are_refused() {
        let space = Space::new(None);
        let mut sparse = Sparse::<16>::new(space.clone());
        sparse.write(&[7], 5 << 40).unwrap();
        assert_eq!(space.used(), 16);
        assert_eq!(sparse.write(&[7], u64::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(sparse.preallocate(1, u64::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
