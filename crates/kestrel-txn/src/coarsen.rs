//! Making do with less memory: many keys and ranges become few ranges that hold them all.
//!
//! Whatever was claimed stays claimed, so no conflict is ever missed; what lies between becomes claimed as well, which may
//! cost somebody a retry. So the smallest gaps are closed first: those between neighbours in one tree before those
//! between trees, and of the former those between keys that, taken as numbers, are close.

use crate::key_range::{KeyRange, successor};

/// A key (`low`, `high` and `closed`) or a range, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    low: &'a [u8],
    high: &'a [u8],
    /// `high` belongs to it.
    closed: bool,
}

impl<'a> Span<'a> {
    pub(crate) fn point(place: &'a [u8]) -> Span<'a> {
        Span { low: place, high: place, closed: true }
    }

    pub(crate) fn range(range: &'a KeyRange) -> Span<'a> {
        Span { low: &range.low, high: &range.high, closed: false }
    }

    fn end(&self) -> (&'a [u8], bool) {
        (self.high, self.closed)
    }

    fn to_range(self) -> KeyRange {
        let high = if self.closed { successor(self.high) } else { self.high.to_vec() };
        KeyRange { low: self.low.to_vec(), high }
    }

    fn tree(&self) -> &'a [u8] {
        self.low.get(..4).unwrap_or(self.low)
    }
}

/// Sorts spans and joins those that overlap or meet.
fn unite(spans: &mut Vec<Span<'_>>) {
    spans.sort_unstable_by(|a, b| a.low.cmp(b.low));
    spans.dedup_by(|next, last| {
        let meet = next.low <= last.high;
        if meet && next.end() > last.end() {
            (last.high, last.closed) = next.end();
        }
        meet
    });
}

/// Sorted ranges that hold all spans, and nothing else.
pub(crate) fn exact(mut spans: Vec<Span<'_>>) -> Vec<KeyRange> {
    unite(&mut spans);
    spans.into_iter().map(Span::to_range).collect()
}

/// Sorted ranges that hold all spans, and take about so many bytes at most, or are one.
pub(crate) fn coarse(mut spans: Vec<Span<'_>>, room: usize) -> Vec<KeyRange> {
    unite(&mut spans);
    loop {
        let bytes: usize =
            spans.iter().map(|span| span.low.len() + span.high.len() + 1 + size_of::<KeyRange>()).sum();
        if bytes <= room || spans.len() <= 1 {
            return spans.into_iter().map(Span::to_range).collect();
        }
        // Less than there are: so it ends. What is left may have longer keys than the average.
        let most = (spans.len() * room / bytes).clamp(1, spans.len() - 1);
        close_gaps(&mut spans, most);
    }
}

/// Closes the smallest gaps, until so many spans are left.
fn close_gaps(spans: &mut Vec<Span<'_>>, most: usize) {
    let gaps = gaps(spans);
    let count = spans.len() - most;
    let mut sorted = gaps.clone();
    let (_, &mut threshold, _) = sorted.select_nth_unstable(count - 1);
    let mut at_threshold = count - gaps.iter().filter(|gap| **gap < threshold).count();
    let mut index = 0;
    spans.dedup_by(|next, last| {
        let gap = gaps[index];
        index += 1;
        let close = gap < threshold || (gap == threshold && at_threshold > 0);
        if close {
            at_threshold -= usize::from(gap == threshold);
            (last.high, last.closed) = next.end();
        }
        close
    });
}

/// How far each span but the first is from the one before.
fn gaps(spans: &[Span<'_>]) -> Vec<u64> {
    let mut gaps = Vec::with_capacity(spans.len());
    for spans in spans.chunk_by(|a, b| a.tree() == b.tree()) {
        let (first, last) = (spans[0].low, spans[spans.len() - 1].low);
        // What all keys begin with says nothing about how far they are apart.
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        gaps.push(u64::MAX);
        for pair in spans.windows(2) {
            let far = number(pair[1].low, common).saturating_sub(number(pair[0].high, common));
            gaps.push(far.min(u64::MAX - 1));
        }
    }
    gaps.remove(0);
    gaps
}

/// The first bytes behind a common prefix as a number.
fn number(place: &[u8], common: usize) -> u64 {
    let mut bytes = [0; 8];
    let rest = place.get(common..).unwrap_or(&[]);
    let len = rest.len().min(8);
    bytes[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_range::{any_contains, place};
    use kestrel_pager::TreeId;
    use proptest::prelude::*;

    #[test]
    fn clusters_and_trees_stay_apart() {
        let keys: Vec<Vec<u8>> = (0..2000_u32)
            .map(|n| {
                let cluster = if n % 2 == 0 { "user/a" } else { "user/z" };
                place(TreeId(1 + n / 1000), format!("{cluster}{:05}", n * 7919 % 1000).as_bytes())
            })
            .collect();
        let ranges = coarse(keys.iter().map(|key| Span::point(key)).collect(), 600);
        assert!(ranges.len() >= 4 && ranges.iter().map(KeyRange::bytes).sum::<usize>() <= 700);
        for tree in [TreeId(1), TreeId(2)] {
            assert!(any_contains(&ranges, &place(tree, b"user/a00500")));
            for free in [&b"user/m"[..], b"user/b", b"user/", b"user/zz"] {
                assert!(!any_contains(&ranges, &place(tree, free)), "{free:?}");
            }
        }
        let one = coarse(keys.iter().map(|key| Span::point(key)).collect(), 1);
        assert_eq!(one.len(), 1);
    }

    proptest! {
        #[test]
        fn all_that_was_claimed_stays_claimed(
            points in proptest::collection::vec((0..3_u32, proptest::collection::vec(0..4_u8, 0..4)), 0..40),
            ranges in proptest::collection::vec((0..3_u32, proptest::collection::vec(0..4_u8, 0..4),
                proptest::collection::vec(0..4_u8, 0..4)), 0..10),
            room in 0..3000_usize,
        ) {
            let points: Vec<Vec<u8>> = points.iter().map(|(tree, key)| place(TreeId(*tree), key)).collect();
            let ranges: Vec<KeyRange> = ranges.iter().filter(|(_, low, high)| low < high)
                .map(|(tree, low, high)| KeyRange::new(TreeId(*tree), low, Some(high))).collect();
            let spans = || points.iter().map(|point| Span::point(point)).chain(ranges.iter().map(Span::range)).collect();
            let (exact, coarse) = (exact(spans()), coarse(spans(), room));
            for list in [&exact, &coarse] {
                prop_assert!(list.is_sorted_by(|a, b| a.low < a.high && a.high <= b.low));
                for point in &points {
                    prop_assert!(any_contains(list, point));
                }
                for range in &ranges {
                    prop_assert!(list.iter().any(|wide| wide.common(range).as_ref() == Some(range)));
                }
            }
            prop_assert!(coarse.len() <= 1 || coarse.iter().map(KeyRange::bytes).sum::<usize>() <= room.max(1));
            // Nothing is claimed exactly that was not.
            for tree in 0..3 {
                for key in [&[][..], &[0], &[1, 1], &[2, 0, 3], &[3, 3, 3, 0]] {
                    let key = place(TreeId(tree), key);
                    let claimed = points.contains(&key) || ranges.iter().any(|range| range.low <= key && key < range.high);
                    prop_assert_eq!(any_contains(&exact, &key), claimed);
                }
            }
        }
    }
}
