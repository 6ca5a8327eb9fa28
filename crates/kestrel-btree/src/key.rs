//! Keys as nodes see them: without the node's prefix, cut into a head and a tail.
//!
//! The order of suffixes is that of (head, tail, length): the head is padded with zero bytes, so a suffix shorter
//! than a head differs from its zero-extended neighbours by its length alone.

use std::cmp::Ordering;

use crate::format::HEAD_LEN;

/// The first four bytes as a number that compares like them; missing bytes are zero.
#[inline]
pub(crate) fn head(suffix: &[u8]) -> u32 {
    if let Some(chunk) = suffix.first_chunk::<HEAD_LEN>() {
        return u32::from_be_bytes(*chunk);
    }
    let mut padded = [0; HEAD_LEN];
    padded[..suffix.len()].copy_from_slice(suffix);
    u32::from_be_bytes(padded)
}

/// What the head does not hold.
#[inline]
pub(crate) fn tail(suffix: &[u8]) -> &[u8] {
    suffix.get(HEAD_LEN..).unwrap_or(&[])
}

/// Bytes of a suffix in the heap.
#[inline]
pub(crate) fn tail_len(suffix_len: usize) -> usize {
    suffix_len.saturating_sub(HEAD_LEN)
}

/// Appends a suffix, given in its stored form.
pub(crate) fn append_suffix(out: &mut Vec<u8>, head: u32, suffix_len: usize, tail: &[u8]) {
    out.extend_from_slice(&head.to_be_bytes()[..suffix_len.min(HEAD_LEN)]);
    out.extend_from_slice(tail);
}

/// Compares what follows two equal heads.
#[inline]
pub(crate) fn compare_rest(tail_a: &[u8], len_a: usize, tail_b: &[u8], len_b: usize) -> Ordering {
    tail_a.cmp(tail_b).then(len_a.cmp(&len_b))
}

pub(crate) fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The prefix of all keys between two fences; none when the upper one is infinite.
pub(crate) fn fence_prefix_len(low: &[u8], high: Option<&[u8]>) -> usize {
    high.map_or(0, |high| common_prefix_len(low, high))
}

/// The shortest key that is greater than `below` and at most `above`.
pub(crate) fn separator<'a>(below: &[u8], above: &'a [u8]) -> &'a [u8] {
    debug_assert!(below < above);
    let shared = common_prefix_len(below, above);
    above.get(..shared + 1).unwrap_or(above)
}

/// The least key greater than this one.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare_stored(a: &[u8], b: &[u8]) -> Ordering {
        head(a).cmp(&head(b)).then_with(|| compare_rest(tail(a), a.len(), tail(b), b.len()))
    }

    proptest! {
        #[test]
        fn stored_keys_compare_like_bytes(
            a in proptest::collection::vec(0_u8..3, 0..8),
            b in proptest::collection::vec(0_u8..3, 0..8),
        ) {
            prop_assert_eq!(compare_stored(&a, &b), a.cmp(&b));
            let mut whole = Vec::new();
            append_suffix(&mut whole, head(&a), a.len(), tail(&a));
            prop_assert_eq!(&whole, &a);
            if a < b {
                let between = separator(&a, &b);
                prop_assert!(a.as_slice() < between && between <= b.as_slice());
                prop_assert!(successor(&a) <= b);
            }
        }
    }
}
