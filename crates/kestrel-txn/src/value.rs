//! Values as they are given to users.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use kestrel_pager::Held;

/// The bytes stored under a key. Cheap to clone; independent of the transaction that read it.
///
/// A small value usually points into a page of the buffer pool, which stays in memory as long as the value lives: copy
/// what is to be kept for long.
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Held { page: Held, range: Range<u32> },
    Owned(Arc<[u8]>),
    Large(Arc<Vec<u8>>),
}

impl Value {
    pub(crate) fn held(page: Held, range: Range<usize>) -> Value {
        debug_assert!(range.end <= page.len());
        Value(Repr::Held { page, range: range.start as u32..range.end as u32 })
    }

    pub(crate) fn owned(bytes: Vec<u8>) -> Value {
        Value(if bytes.len() > 4096 { Repr::Large(Arc::new(bytes)) } else { Repr::Owned(bytes.into()) })
    }

    /// The bytes, copied if somebody else has them too or they lie in a page.
    #[must_use]
    pub fn into_owned(self) -> Vec<u8> {
        match self.0 {
            Repr::Large(bytes) => Arc::try_unwrap(bytes).unwrap_or_else(|shared| shared.to_vec()),
            _ => self.to_vec(),
        }
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Held { page, range } => page.get(range.start as usize..range.end as usize).unwrap_or(&[]),
            Repr::Owned(bytes) => bytes,
            Repr::Large(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Value {}
