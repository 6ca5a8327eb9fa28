//! A claim set: keys and ranges that a transaction read, or wrote, made for being compared with others. It never changes,
//! so those who compare share it without a lock.
//!
//! Keys are compared by 64-bit hashes, in sorted arrays; where these are equal, so are the keys, or it is no collision.

use std::sync::Arc;

use crate::coarsen::{Span, coarse, exact};
use crate::key_range::{KeyRange, any_contains};

/// If one side has so many times fewer keys, they are looked up one by one.
const FEW: usize = 16;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct ClaimSet {
    /// Places, each preceded by its length, in order of arrival.
    places: Vec<u8>,
    /// Sorted by hash.
    points: Vec<Point>,
    /// Sorted; none overlaps or meets another.
    ranges: Vec<KeyRange>,
    /// It holds more than was claimed.
    pub(crate) is_coarse: bool,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u64,
    at: u32,
    len: u32,
}

/// Where two sets meet: a key's place, or a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Collision {
    Key(Vec<u8>),
    Range(KeyRange),
}

/// Appends a place to such bytes as [`ClaimSet::new`] takes.
pub(crate) fn push_place(places: &mut Vec<u8>, tree: kestrel_pager::TreeId, key: &[u8]) {
    debug_assert!(key.len() <= usize::from(u16::MAX));
    places.extend_from_slice(&(key.len() as u16).to_le_bytes());
    places.extend_from_slice(&tree.0.to_be_bytes());
    places.extend_from_slice(key);
}

/// The places in such bytes, each with where it begins.
pub(crate) fn places(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        let (from, to) = (at + 2, at + 6 + usize::from(len));
        let place = bytes.get(from..to)?;
        at = to;
        Some((from, place))
    })
}

impl ClaimSet {
    /// Of places as [`push_place`] writes them, and of ranges in any order.
    pub(crate) fn new(bytes: Vec<u8>, ranges: Vec<KeyRange>, is_coarse: bool) -> ClaimSet {
        let mut points: Vec<Point> = places(&bytes)
            .map(|(at, place)| Point { hash: hash(place), at: at as u32, len: place.len() as u32 })
            .collect();
        points.sort_unstable_by_key(|point| point.hash);
        let ranges = if ranges.len() > 1 { exact(ranges.iter().map(Span::range).collect()) } else { ranges };
        let mut set = ClaimSet { places: bytes, points, ranges, is_coarse };
        let places = &set.places;
        set.points.dedup_by(|a, b| a.hash == b.hash && a.place(places) == b.place(places));
        set
    }

    /// One set that holds several, in about so many bytes.
    pub(crate) fn merged(sets: &[Arc<ClaimSet>], room: usize) -> ClaimSet {
        let points = sets.iter().flat_map(|set| set.points().map(Span::point));
        let ranges = sets.iter().flat_map(|set| set.ranges.iter().map(Span::range));
        let ranges = coarse(points.chain(ranges).collect(), room);
        ClaimSet { ranges, is_coarse: true, ..ClaimSet::default() }
    }

    fn points(&self) -> impl Iterator<Item = &[u8]> {
        self.points.iter().map(|point| point.place(&self.places))
    }

    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<ClaimSet>()
            + self.places.capacity()
            + self.points.capacity() * size_of::<Point>()
            + self.ranges.iter().map(KeyRange::bytes).sum::<usize>()
    }

    /// Where a key of this set meets a key or range of another.
    pub(crate) fn key_collision(&self, other: &ClaimSet) -> Option<Collision> {
        let equal = self.equal_key(other);
        let within = || self.points().find(|place| any_contains(&other.ranges, place));
        equal
            .or_else(|| if other.ranges.is_empty() { None } else { within() })
            .map(|key| Collision::Key(key.to_vec()))
    }

    /// Where a range of this set meets a key or range of another.
    pub(crate) fn range_collision(&self, other: &ClaimSet) -> Option<Collision> {
        if self.ranges.is_empty() {
            return None;
        }
        if let Some(key) = other.points().find(|place| any_contains(&self.ranges, place)) {
            return Some(Collision::Key(key.to_vec()));
        }
        let (mut mine, mut others) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(a), Some(b)) = (mine.peek(), others.peek()) {
            if let Some(common) = a.common(b) {
                return Some(Collision::Range(common));
            }
            if a.high <= b.high {
                mine.next()
            } else {
                others.next()
            };
        }
        None
    }

    /// A key that both sets hold.
    fn equal_key<'a>(&'a self, other: &'a ClaimSet) -> Option<&'a [u8]> {
        let (few, many) = if self.points.len() <= other.points.len() { (self, other) } else { (other, self) };
        if few.points.len() * FEW < many.points.len() {
            return few.points.iter().find_map(|point| {
                let from = many.points.partition_point(|other| other.hash < point.hash);
                few.equal_among(point, many, from)
            });
        }
        let mut from = 0;
        few.points.iter().find_map(|point| {
            while many.points.get(from).is_some_and(|other| other.hash < point.hash) {
                from += 1;
            }
            few.equal_among(point, many, from)
        })
    }

    /// The place of a point if another set has it, too, in a run of equal hashes.
    fn equal_among(&self, point: &Point, other: &ClaimSet, from: usize) -> Option<&[u8]> {
        let place = point.place(&self.places);
        let run = other.points[from..].iter().take_while(|other| other.hash == point.hash);
        run.map(|point| point.place(&other.places)).any(|other| other == place).then_some(place)
    }
}

impl Point {
    fn place<'a>(&self, places: &'a [u8]) -> &'a [u8] {
        &places[self.at as usize..][..self.len as usize]
    }
}

/// Eight bytes at a time are folded in by a multiplication whose upper half is not lost.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ (product >> 64) as u64
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let state =
        words.iter().fold(!(bytes.len() as u64), |state, word| fold(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(state, u64::from_le_bytes(last)), FACTOR >> 1)
}
