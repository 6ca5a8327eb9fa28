//! A value as it comes out of a tree.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

use crate::comparison::compare_as_bytes;

/// More bytes than this are cut off in a value's `Debug` form.
const DEBUG_BYTES_MAX: usize = 64;

/// A value: bytes that stay as they are, whatever happens to the key, the transaction or the database.
///
/// It is not a copy: a small value points into the page that it was found in, and keeps that page in memory. To keep
/// very many for long, copy them ([`into_vec`](Value::into_vec)): their pages count against the memory budget.
#[derive(Clone)]
pub struct Value(kestrel_txn::Value);

impl Value {
    pub(crate) fn new(value: kestrel_txn::Value) -> Value {
        Value(value)
    }

    /// The bytes, copied unless they are owned already.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_owned()
    }

    /// The bytes without copying them, for whatever speaks [`Bytes`]. They keep in memory what the value kept.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Value> for Bytes {
    fn from(value: Value) -> Bytes {
        value.into_bytes()
    }
}

impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Vec<u8> {
        value.into_vec()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

compare_as_bytes!(Value);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get(..DEBUG_BYTES_MAX) {
            Some(start) if self.len() > DEBUG_BYTES_MAX => {
                write!(f, "b\"{}\"... ({} bytes)", start.escape_ascii(), self.len())
            }
            _ => write!(f, "b\"{}\"", self.escape_ascii()),
        }
    }
}
