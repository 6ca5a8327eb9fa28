//! The tree against an ordered map: random operations on all page sizes, with and without deltas.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use kestrel_pager::PageId;
use proptest::prelude::*;

use crate::toy::{ToyPages, Value, verify};
use crate::{
    FreeStep, WritePages, create_root, fits_inline, free_tree_step, max_inline, max_key, merge_leaf, put,
    remove, remove_range, split_leaf,
};

/// A key by a few small numbers, so that operations meet each other.
#[derive(Clone, Copy, Debug)]
struct KeySeed {
    kind: u8,
    number: u16,
}

impl KeySeed {
    fn key(self, capacity: usize) -> Vec<u8> {
        let number = usize::from(self.number);
        let longest = max_key(capacity);
        match self.kind {
            0 => (number as u64).to_be_bytes().to_vec(),
            1 => format!("/usr/share/doc/package-{:03}/file-{}", number / 7, number).into_bytes(),
            // Few, long, alike up to their last bytes.
            2 => {
                let mut key = vec![b'a' + (number % 3) as u8; longest - number % 40];
                let end = key.len();
                key[end - 2..].copy_from_slice(&self.number.to_be_bytes());
                key
            }
            // Zeros, whose heads are all alike, from the empty key on.
            3 => vec![0; number % 64],
            4 => vec![0; longest - number % 16],
            // Long keys that differ early, which make long separators impossible but leaves small.
            5 => {
                let mut key = self.number.wrapping_mul(40503).to_be_bytes().to_vec();
                key.resize(longest - number % 100, b'x');
                key
            }
            _ => vec![(number >> 8) as u8 % 4, number as u8 % 8],
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Share(u8),
    Largest,
    Blob,
}

#[derive(Clone, Debug)]
enum Op {
    Put(KeySeed, Size),
    /// Some keys one after the other.
    Load(KeySeed, u8, Size),
    Remove(KeySeed),
    RemoveRange(KeySeed, KeySeed, u8),
    Split(KeySeed),
    Merge(KeySeed),
    Publish,
}

fn key_seed() -> impl Strategy<Value = KeySeed> {
    (0_u8..7, 0_u16..600).prop_map(|(kind, number)| KeySeed { kind, number })
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![6 => (0_u8..20).prop_map(Size::Share), 1 => (0_u8..=255).prop_map(Size::Share), 1 => Just(Size::Largest), 1 => Just(Size::Blob)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (key_seed(), size()).prop_map(|(key, size)| Op::Put(key, size)),
        6 => (key_seed(), 1_u8..60, size()).prop_map(|(key, count, size)| Op::Load(key, count, size)),
        6 => key_seed().prop_map(Op::Remove),
        1 => (key_seed(), key_seed(), 0_u8..9).prop_map(|(a, b, kind)| Op::RemoveRange(a, b, kind)),
        1 => key_seed().prop_map(Op::Split),
        1 => key_seed().prop_map(Op::Merge),
        2 => Just(Op::Publish),
    ]
}

struct Run {
    pages: ToyPages,
    root: PageId,
    model: BTreeMap<Vec<u8>, Value>,
    counter: u8,
}

impl Run {
    fn new(page_size: usize, max_ops: usize) -> Run {
        let mut pages = ToyPages::new(page_size, max_ops);
        let root = create_root(&mut pages).unwrap();
        Run { pages, root, model: BTreeMap::new(), counter: 0 }
    }

    fn put(&mut self, key: Vec<u8>, size: Size) {
        let capacity = self.pages.capacity();
        self.counter = self.counter.wrapping_add(1);
        let len = match size {
            Size::Share(share) => max_inline(capacity).saturating_sub(key.len()) * usize::from(share) / 256,
            Size::Largest => max_inline(capacity).saturating_sub(key.len()),
            Size::Blob => usize::MAX,
        };
        let value = if fits_inline(capacity, key.len(), len) {
            Value::Inline(vec![self.counter; len])
        } else {
            Value::Blob(self.pages.blob(100_000))
        };
        let previous = put(&mut self.pages, self.root, &key, value.cell()).unwrap();
        assert_eq!(previous.existed(), self.model.insert(key, value).is_some());
    }

    fn remove_range(&mut self, a: &[u8], b: &[u8], kind: u8) {
        let bound = |key, kind| match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        };
        let (lower, upper) = (bound(a, kind / 3), bound(b, kind % 3));
        let doomed: Vec<Vec<u8>> = self
            .model
            .keys()
            .filter(|key| RangeBounds::<[u8]>::contains(&(lower, upper), key.as_slice()))
            .cloned()
            .collect();
        let removed = remove_range(&mut self.pages, self.root, lower, upper).unwrap();
        assert_eq!(removed, doomed.len() as u64);
        for key in doomed {
            self.model.remove(&key);
        }
    }

    fn apply(&mut self, op: &Op) {
        let capacity = self.pages.capacity();
        match op {
            Op::Put(key, size) => self.put(key.key(capacity), *size),
            Op::Load(first, count, size) => {
                for step in 0..u16::from(*count) {
                    let key = KeySeed { number: first.number + step, ..*first };
                    self.put(key.key(capacity), *size);
                }
            }
            Op::Remove(key) => {
                let key = key.key(capacity);
                let previous = remove(&mut self.pages, self.root, &key).unwrap();
                assert_eq!(previous.existed(), self.model.remove(&key).is_some());
            }
            Op::RemoveRange(a, b, kind) => self.remove_range(&a.key(capacity), &b.key(capacity), *kind),
            Op::Split(key) => {
                split_leaf(&mut self.pages, self.root, &key.key(capacity)).unwrap();
            }
            Op::Merge(key) => {
                merge_leaf(&mut self.pages, self.root, &key.key(capacity)).unwrap();
            }
            Op::Publish => self.pages.publish(),
        }
    }

    fn free_whole_tree(mut self, budget: usize) {
        let mut steps = 0;
        while free_tree_step(&mut self.pages, self.root, budget).unwrap() == FreeStep::More {
            steps += 1;
            assert!(steps < 100_000, "freeing makes progress");
            if steps % 16 == 1 {
                let mut heard = crate::toy::Heard::default();
                crate::check_tree(&self.pages, self.root, &mut heard).unwrap();
                assert_eq!(heard.damages, Vec::new());
                assert_eq!(heard.pages.len(), self.pages.pages.len());
            }
        }
        assert!(self.pages.pages.is_empty());
        assert!(self.pages.blobs.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_an_ordered_map(
        page_size in prop_oneof![6 => Just(4096_usize), 1 => Just(8192), 1 => Just(16384), 1 => Just(65536)],
        max_ops in prop_oneof![Just(0_usize), Just(3), Just(20)],
        ops in proptest::collection::vec(op(), 1..150),
    ) {
        let mut run = Run::new(page_size, max_ops);
        for (index, op) in ops.iter().enumerate() {
            run.apply(op);
            if index % 40 == 39 {
                verify(&run.pages, run.root, &run.model);
            }
        }
        verify(&run.pages, run.root, &run.model);
        run.pages.publish();
        verify(&run.pages, run.root, &run.model);
        run.free_whole_tree(3);
    }
}

fn scrambled(number: u64) -> u64 {
    (number ^ 0x9e37_79b9)
        .wrapping_mul(0xd134_2543_de82_ef95)
        .rotate_left(29)
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// Loads keys; returns the average fill of the pages, taken at many sizes of the tree over its last doubling, since
/// leaves under a uniform load split all at about the same time.
fn fill(page_size: usize, value: usize, max_ops: usize, keys: &[Vec<u8>]) -> f64 {
    let mut run = Run::new(page_size, max_ops);
    let (mut sum, mut samples) = (0.0, 0);
    let mut next = keys.len() / 2;
    for (index, key) in keys.iter().enumerate() {
        let value = Value::Inline(vec![index as u8; value]);
        put(&mut run.pages, run.root, key, value.cell()).unwrap();
        run.model.insert(key.clone(), value);
        if max_ops > 0 && index % 32 == 0 {
            run.pages.publish();
        }
        if index + 1 == next || index + 1 == keys.len() {
            next += next / 16;
            let report = crate::check_tree(&run.pages, run.root, &mut crate::toy::Heard::default()).unwrap();
            sum += report.used_bytes as f64 / (report.pages * run.pages.capacity() as u64) as f64;
            samples += 1;
        }
    }
    verify(&run.pages, run.root, &run.model);
    sum / f64::from(samples)
}

/// As many keys as fill about `pages` leaves.
fn numbers(pages: usize, page_size: usize, value: usize, of: impl Fn(u64) -> u64) -> Vec<Vec<u8>> {
    (0..(pages * page_size / (12 + value)) as u64).map(|number| of(number).to_be_bytes().to_vec()).collect()
}

#[test]
fn ascending_loads_fill_leaves() {
    for page_size in [4096, 8192, 16384, 65536] {
        for value in [0, 8, 100] {
            let filled = fill(page_size, value, 0, &numbers(60, page_size, value, |number| number));
            println!("fill {filled:.3}");
            assert!(filled >= 0.9, "{page_size} {value}: {filled}");
        }
    }
    let names: Vec<_> =
        (0..30_000).map(|number| format!("/var/lib/dpkg/info/{number:08}.list").into_bytes()).collect();
    let filled = fill(4096, 20, 0, &names);
    println!("fill {filled:.3}");
    assert!(filled >= 0.9, "names: {filled}");
}

#[test]
fn ascending_loads_inside_the_tree_fill_leaves() {
    let mut names = vec![b"a".to_vec(), b"z".to_vec()];
    names.extend((0..30_000).map(|number| format!("m/{number:08}").into_bytes()));
    let filled = fill(4096, 20, 0, &names);
    println!("fill {filled:.3}");
    assert!(filled >= 0.9, "{filled}");
}

#[test]
fn random_loads_fill_two_thirds_of_leaves() {
    for page_size in [4096, 8192, 16384, 65536] {
        for value in [8, 100] {
            let filled = fill(page_size, value, 0, &numbers(40, page_size, value, scrambled));
            println!("fill {filled:.3}");
            assert!(filled >= 0.65, "{page_size} {value}: {filled}");
        }
    }
    let filled = fill(4096, 20, 4, &numbers(40, 4096, 20, scrambled));
    println!("fill {filled:.3}");
    assert!(filled >= 0.65, "with deltas: {filled}");
    let filled = fill(4096, 600, 0, &numbers(500, 4096, 600, scrambled));
    println!("fill {filled:.3}");
    assert!(filled >= 0.65, "large values: {filled}");
}

#[test]
fn descending_loads_fill_leaves() {
    let filled = fill(4096, 8, 0, &numbers(100, 4096, 8, |number| u64::MAX - number));
    println!("fill {filled:.3}");
    assert!(filled >= 0.75, "{filled}");
}
