//! A key as it comes out of a scan.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::comparison::compare_as_bytes;

/// A key, owned. Compares as its bytes do, which is the order of a tree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new(bytes: Vec<u8>) -> Key {
        Key(bytes)
    }

    /// The bytes, without copying them.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// The bytes, without copying them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from(self.0)
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Vec<u8> {
        key.0
    }
}

impl From<Key> for Bytes {
    fn from(key: Key) -> Bytes {
        key.into_bytes()
    }
}

compare_as_bytes!(Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_key_compares_with_bytes_and_text() {
        let key = Key::new(b"ab\x00".to_vec());
        assert_eq!(key, b"ab\x00");
        assert_eq!(key, *b"ab\x00");
        assert_eq!(key, "ab\0");
        assert_eq!(key, vec![b'a', b'b', 0]);
        assert_ne!(key, b"ab"[..]);
        assert_eq!(format!("{key:?}"), r#"b"ab\x00""#);
        let map = BTreeMap::from([(key.clone(), 1)]);
        assert_eq!(map.get(&b"ab\x00"[..]), Some(&1));
        assert_eq!(key.clone().into_vec(), key.into_bytes());
    }
}
