//! Which keys a call is about.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// An interval of keys, owned. Bounds that cross make it empty.
///
/// Calls take anything that [turns into one](IntoKeyRange), so it is seldom named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRange {
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
}

/// What can say which keys are meant: `..`, `"a".."b"`, `&low[..]..=&high[..]`, `id.to_be_bytes()..`, a pair of
/// [`Bound`]s or a [`KeyRange`], over any type of key that is bytes or text.
///
/// ```
/// use kestreldb::{IntoKeyRange, KeyRange};
///
/// assert_eq!(("a".."c").into_key_range(), (b"a".to_vec()..b"c".to_vec()).into_key_range());
/// assert_eq!((..).into_key_range(), KeyRange::prefix(""));
/// ```
pub trait IntoKeyRange {
    /// The keys meant.
    fn into_key_range(self) -> KeyRange;
}

impl KeyRange {
    /// The keys between two bounds.
    #[must_use]
    pub fn new(low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> KeyRange {
        KeyRange { low, high }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> KeyRange {
        let prefix = prefix.as_ref();
        // The first key behind all of them: the prefix without its trailing 0xFF bytes, the last byte one higher.
        let high = match prefix.iter().rposition(|&byte| byte != u8::MAX) {
            Some(last) => {
                let mut next = prefix[..=last].to_vec();
                next[last] += 1;
                Bound::Excluded(next)
            }
            None => Bound::Unbounded,
        };
        let low = if prefix.is_empty() { Bound::Unbounded } else { Bound::Included(prefix.to_vec()) };
        KeyRange { low, high }
    }

    /// Whether the key lies in the interval.
    #[must_use]
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        RangeBounds::<[u8]>::contains(&(self.low(), self.high()), key.as_ref())
    }

    /// Whether no key can lie in the interval.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        use Bound::{Excluded, Included};
        match (self.low(), self.high()) {
            (Included(low), Included(high)) => low > high,
            (Included(low), Excluded(high)) | (Excluded(low), Included(high)) => low >= high,
            // Nothing lies between a key and the same key with a zero behind it.
            (Excluded(low), Excluded(high)) => {
                low >= high || high.split_last().is_some_and(|(&last, rest)| last == 0 && rest == low)
            }
            (Bound::Unbounded, Excluded(high)) => high.is_empty(),
            _ => false,
        }
    }

    /// The lower end.
    #[must_use]
    pub fn low(&self) -> Bound<&[u8]> {
        self.low.as_ref().map(Vec::as_slice)
    }

    /// The upper end.
    #[must_use]
    pub fn high(&self) -> Bound<&[u8]> {
        self.high.as_ref().map(Vec::as_slice)
    }
}

fn owned(key: impl AsRef<[u8]>) -> Vec<u8> {
    key.as_ref().to_vec()
}

impl IntoKeyRange for KeyRange {
    fn into_key_range(self) -> KeyRange {
        self
    }
}

impl IntoKeyRange for &KeyRange {
    fn into_key_range(self) -> KeyRange {
        self.clone()
    }
}

impl IntoKeyRange for RangeFull {
    fn into_key_range(self) -> KeyRange {
        KeyRange::new(Bound::Unbounded, Bound::Unbounded)
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for Range<K> {
    fn into_key_range(self) -> KeyRange {
        KeyRange::new(Bound::Included(owned(self.start)), Bound::Excluded(owned(self.end)))
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeInclusive<K> {
    fn into_key_range(self) -> KeyRange {
        KeyRange::new(Bound::Included(owned(self.start())), Bound::Included(owned(self.end())))
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeFrom<K> {
    fn into_key_range(self) -> KeyRange {
        KeyRange::new(Bound::Included(owned(self.start)), Bound::Unbounded)
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeTo<K> {
    fn into_key_range(self) -> KeyRange {
        KeyRange::new(Bound::Unbounded, Bound::Excluded(owned(self.end)))
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeToInclusive<K> {
    fn into_key_range(self) -> KeyRange {
        KeyRange::new(Bound::Unbounded, Bound::Included(owned(self.end)))
    }
}

impl<K: AsRef<[u8]>, L: AsRef<[u8]>> IntoKeyRange for (Bound<K>, Bound<L>) {
    fn into_key_range(self) -> KeyRange {
        KeyRange::new(self.0.map(owned), self.1.map(owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(range: impl IntoKeyRange) -> KeyRange {
        range.into_key_range()
    }

    #[test]
    fn every_shape_of_range_and_key_is_understood() {
        let expected = KeyRange::new(Bound::Included(b"ab".to_vec()), Bound::Excluded(b"cd".to_vec()));
        assert_eq!(range("ab".."cd"), expected);
        assert_eq!(range("ab".to_owned().."cd".to_owned()), expected);
        assert_eq!(range(b"ab"..b"cd"), expected);
        assert_eq!(range(*b"ab"..*b"cd"), expected);
        assert_eq!(range(b"ab".to_vec()..b"cd".to_vec()), expected);
        assert_eq!(range(&b"ab"[..]..&b"cd"[..]), expected);
        assert_eq!(range((Bound::Included("ab"), Bound::Excluded(b"cd".to_vec()))), expected);
        assert_eq!(range(&expected), expected);
        assert_eq!(range("ab"..).low(), Bound::Included(&b"ab"[..]));
        assert_eq!(range(.."ab").high(), Bound::Excluded(&b"ab"[..]));
        assert_eq!(range(..="ab").high(), Bound::Included(&b"ab"[..]));
        assert_eq!(range("a"..="b").high(), Bound::Included(&b"b"[..]));
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_lacks_it() {
        assert_eq!(KeyRange::prefix("ab").high(), Bound::Excluded(&b"ac"[..]));
        assert_eq!(KeyRange::prefix([1, 0xFF, 0xFF]).high(), Bound::Excluded(&[2][..]));
        assert_eq!(KeyRange::prefix([0xFF, 0xFF]).high(), Bound::Unbounded);
        assert_eq!(KeyRange::prefix([]), range(..));
        for key in [&[1, 0xFF][..], &[1, 0xFF, 0], &[1, 0xFF, 0xFF, 0xFF]] {
            assert!(KeyRange::prefix([1, 0xFF]).contains(key));
        }
        for key in [&[1][..], &[1, 0xFE, 0xFF], &[2]] {
            assert!(!KeyRange::prefix([1, 0xFF]).contains(key));
        }
    }

    #[test]
    fn ranges_that_hold_nothing_are_known() {
        assert!(range("b".."a").is_empty() && range("a".."a").is_empty());
        assert!(range(.."").is_empty());
        assert!(range((Bound::Excluded("a"), Bound::Excluded("a\0"))).is_empty());
        assert!(!range("a"..="a").is_empty() && !range(..).is_empty() && !range(..="").is_empty());
        assert!(!range((Bound::Excluded("a"), Bound::Excluded("a\u{1}"))).is_empty());
    }
}
