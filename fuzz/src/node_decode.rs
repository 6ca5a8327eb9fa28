//! Hostile nodes given to the tree.
//!
//! A tree is built by operations that the input chooses, then the bytes of its pages are changed, or replaced by bytes
//! of the input. What no longer passes `check` is gone, as if its page could not be read. Everything else must bear
//! whatever a tree is asked to do: with errors, but without a panic, and it must end. If nothing was changed,
//! the tree must hold what an ordered map holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};

use kestrel_btree::{
    BlobRef, Cell, ConsolidateError, Corruption, MergedLeaf, Seek, TreeVisitor, check, check_tree,
    consolidate, create_root, find, fits_inline, free_tree_step, leaf_for, level, lookup, max_inline,
    max_key, merge_leaf, packed_len, packed_parts, put, remove, remove_range, split_leaf, unpack,
};
use kestrel_pager::PageId;

use crate::forest::{Forest, Page};
use crate::input::Input;

/// The value under each key: its length and first byte, or a blob's length.
type Model = BTreeMap<Vec<u8>, Value>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    Inline(usize, u8),
    Blob(BlobRef),
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let page_size = [4096, 8192, 65536][input.below(3)];
    let mut forest = Forest::new(page_size, input.below(4));
    let root = create_root(&mut forest).unwrap();
    let mut model = Model::new();
    for _ in 0..input.byte() {
        operate(&mut forest, root, &mut input, Some(&mut model));
    }
    verify(&forest, root, &model);
    forest.max_deltas = input.below(4);
    vandalise(&mut forest, &mut input);
    let pages: Vec<Page> = forest.pages.values().cloned().collect();
    for page in &pages {
        bear(page, &mut input);
    }
    // Damage that makes the checker walk has to let it end.
    let mut heard = Heard::default();
    check_tree(&forest, root, &mut heard).unwrap();
    while !input.is_empty() {
        operate(&mut forest, root, &mut input, None);
        look(&forest, root, &mut input);
    }
}

/// A key that others are likely to be near.
fn key(input: &mut Input<'_>, capacity: usize) -> Vec<u8> {
    let number = input.short();
    let longest = max_key(capacity);
    match input.below(6) {
        0 => number.to_be_bytes().to_vec(),
        1 => format!("/usr/share/doc/package-{:03}/file-{number}", number / 7).into_bytes(),
        2 => {
            let mut key = vec![b'a' + (number % 3) as u8; longest - usize::from(number % 40)];
            let end = key.len();
            key[end - 2..].copy_from_slice(&number.to_be_bytes());
            key
        }
        3 => vec![0; usize::from(number) % (longest + 1)],
        4 => {
            let mut key = number.wrapping_mul(40503).to_be_bytes().to_vec();
            key.resize(longest - usize::from(number % 100), b'x');
            key
        }
        _ => {
            let len = input.below(24);
            input.bytes(len).to_vec()
        }
    }
}

/// One operation. With a model it must succeed; without, the tree is hostile.
fn operate(forest: &mut Forest, root: PageId, input: &mut Input<'_>, model: Option<&mut Model>) {
    let capacity = kestrel_btree::WritePages::capacity(forest);
    let key = key(input, capacity);
    let expected = model.as_ref().map(|model| model.contains_key(&key));
    match input.below(8) {
        0 => {
            let previous = remove(forest, root, &key);
            settle(previous.map(|previous| previous.existed()), expected);
            model.map(|model| model.remove(&key));
        }
        1 => {
            let high = self::key(input, capacity);
            let bounds = [Bound::Included(key.as_slice()), Bound::Excluded(key.as_slice()), Bound::Unbounded];
            let (low, high) =
                (bounds[input.below(3)], [Bound::Excluded(&high[..]), Bound::Unbounded][input.below(2)]);
            let expected = model.map(|model| {
                let before = model.len();
                model.retain(|key, _| !RangeBounds::<[u8]>::contains(&(low, high), key.as_slice()));
                (before - model.len()) as u64
            });
            settle(remove_range(forest, root, low, high), expected);
        }
        2 => settle(split_leaf(forest, root, &key).map(drop), expected.map(drop)),
        3 => settle(merge_leaf(forest, root, &key).map(drop), expected.map(drop)),
        4 if model.is_none() && input.one_in(16) => {
            let _ = free_tree_step(forest, root, input.below(50));
        }
        _ => {
            let len = usize::from(input.short()) % (max_inline(capacity) + 400);
            let fill = input.byte();
            let value = if fits_inline(capacity, key.len(), len) {
                Value::Inline(len, fill)
            } else {
                Value::Blob(forest.blob(len as u32))
            };
            let bytes = vec![fill; len];
            let cell = match value {
                Value::Inline(..) => Cell::Inline(&bytes),
                Value::Blob(blob) => Cell::Blob(blob),
            };
            settle(put(forest, root, &key, cell).map(|previous| previous.existed()), expected);
            model.map(|model| model.insert(key, value));
        }
    }
}

fn settle<T: PartialEq + std::fmt::Debug>(result: Result<T, Corruption>, expected: Option<T>) {
    if let Some(expected) = expected {
        assert_eq!(result, Ok(expected));
    }
}

#[derive(Default)]
struct Heard {
    pages: BTreeSet<PageId>,
    damages: Vec<Corruption>,
}

impl TreeVisitor<Corruption> for Heard {
    fn page(&mut self, page: PageId) -> bool {
        self.pages.insert(page)
    }

    fn blob(&mut self, _: PageId, _: BlobRef) {}

    fn damage(&mut self, damage: Corruption) {
        self.damages.push(damage);
    }

    fn unreadable(&mut self, _: PageId, error: Corruption) -> Result<(), Corruption> {
        self.damages.push(error);
        Ok(())
    }
}

fn verify(forest: &Forest, root: PageId, model: &Model) {
    let mut heard = Heard::default();
    let report = check_tree(forest, root, &mut heard).unwrap();
    assert_eq!(heard.damages, []);
    assert_eq!(heard.pages, forest.pages.keys().copied().collect());
    assert_eq!(report.entries, model.len() as u64);
    for (key, value) in model {
        let (page, found) = find(forest, root, key).unwrap().expect("a key was lost");
        match (found.resolve(&page), value) {
            (Cell::Inline(bytes), Value::Inline(len, fill)) => {
                assert!(bytes.len() == *len && bytes.iter().all(|byte| byte == fill));
            }
            (Cell::Blob(found), Value::Blob(blob)) => assert_eq!(found, *blob),
            (found, value) => panic!("{found:?} instead of {value:?}"),
        }
    }
}

/// Changes bytes of pages and deltas; what does not pass the checks is dropped.
fn vandalise(forest: &mut Forest, input: &mut Input<'_>) {
    let capacity = kestrel_btree::WritePages::capacity(forest);
    for _ in 0..input.below(32) {
        let Some((&id, _)) = forest.pages.iter().nth(input.below(forest.pages.len().max(1))) else { return };
        let Some(page) = forest.pages.get_mut(&id) else { return };
        match input.below(8) {
            0 => {
                let len = usize::from(input.short()) % capacity;
                let mut node = vec![0; capacity];
                if unpack(input.bytes(len), &mut node).is_ok() {
                    page.node = node;
                }
            }
            1 => {
                let len = input.byte().into();
                page.deltas.insert(0, input.bytes(len).to_vec());
            }
            2 if !page.deltas.is_empty() => {
                let index = input.below(page.deltas.len());
                change(&mut page.deltas[index], input);
            }
            3 => {
                let other =
                    forest.pages.values().nth(input.below(forest.pages.len())).map(|page| page.node.clone());
                if let (Some(page), Some(other)) = (forest.pages.get_mut(&id), other) {
                    page.node = other;
                }
            }
            _ => change(&mut page.node, input),
        }
    }
    forest.pages.retain(|_, page| page.is_checked());
}

fn change(bytes: &mut [u8], input: &mut Input<'_>) {
    let at = if input.one_in(2) { input.below(64) } else { input.below(bytes.len().max(1)) };
    let len = input.below(5);
    let new = input.bytes(len);
    for (old, new) in bytes.iter_mut().skip(at).zip(new) {
        *old = *new;
    }
}

/// What every page that passed the checks has to bear.
fn bear(page: &Page, input: &mut Input<'_>) {
    let capacity = page.node.len();
    let [front, heap] = packed_parts(&page.node);
    let packed = [front, heap].concat();
    assert_eq!(packed.len(), packed_len(&page.node));
    let mut unpacked = vec![0xAA; capacity];
    unpack(&packed, &mut unpacked).expect("what was packed can be unpacked");
    check(&unpacked).expect("and is a node again");
    if level(&page.node) > 0 {
        return;
    }
    let Ok(merged) = MergedLeaf::new(&page) else { return };
    let mut previous: Option<Vec<u8>> = None;
    for index in 0..merged.len() {
        let mut key = Vec::new();
        merged.key_into(index, &page, &mut key);
        assert!(merged.low_fence(&page) <= key.as_slice());
        assert!(merged.high_fence(&page).is_none_or(|high| key.as_slice() < high));
        assert!(previous.as_ref().is_none_or(|previous| *previous < key), "keys out of order");
        let found = merged.found(index, &page);
        let looked_up = lookup(&page, &key).expect("a key that is listed can be looked up");
        assert_eq!(found.resolve(&page), looked_up.resolve(&page));
        assert_eq!(merged.lower_bound(&page, &key), index);
        previous = Some(key);
    }
    let mut out = vec![0xAA; capacity];
    match consolidate(&page, &mut out) {
        Ok(used) => {
            assert_eq!(used, packed_len(&out));
            check(&out).expect("a consolidated node is sound");
            let consolidated = &Page { node: out, deltas: Vec::new() };
            assert_eq!(MergedLeaf::new(&consolidated).unwrap().len(), merged.len());
        }
        // Deltas made up by a fuzzer may lie about whether keys existed, or be too large.
        Err(ConsolidateError::Overfull | ConsolidateError::Corrupt(_)) => assert!(!page.deltas.is_empty()),
    }
    let probe = key(input, capacity);
    let _ = (lookup(&page, &probe), merged.lower_bound(&page, &probe));
}

/// Looks for a key, and walks a few leaves on as a cursor does.
fn look(forest: &Forest, root: PageId, input: &mut Input<'_>) {
    let capacity = kestrel_btree::WritePages::capacity(forest);
    let mut fence = key(input, capacity);
    let _ = find(forest, root, &fence)
        .map(|found| found.map(|(page, found)| format!("{:?}", found.resolve(&page))));
    for seek in [Seek::First, Seek::Last, Seek::Before(&fence)] {
        let _ = leaf_for(forest, root, seek);
    }
    for _ in 0..4 {
        let Ok((_, page)) = leaf_for(forest, root, Seek::At(&fence)) else { return };
        let Ok(merged) = MergedLeaf::new(&page) else { return };
        let Some(high) = merged.high_fence(&page) else { return };
        fence = high.to_vec();
    }
}
