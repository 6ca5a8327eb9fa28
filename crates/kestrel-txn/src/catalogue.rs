//! The catalogue: which trees there are, what they are called, and how many entries they have, at every timestamp that a
//! snapshot may ask for. It lives in memory; checkpoints store its state, the log the operations that change it.

use kestrel_check::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use kestrel_check::sync::{Mutex, RwLock};
use kestrel_pager::{LiveSet, PageId, Timestamp, TreeId};

use crate::draft::tree_not_found;
use crate::operation::Reader;
use crate::{Error, record};

const VERSION: u32 = 1;
const DROPPED: u8 = 1;
/// A history shorter than this is not worth a look at the snapshots.
const TRIM_MIN: usize = 64;

/// A tree as a snapshot sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeInfo {
    /// By which it is known as long as it lives.
    pub id: TreeId,
    /// By which people know it; can be changed.
    pub name: String,
    /// How many keys it holds.
    pub entries: u64,
}

/// One tree, from its creation until its last page was freed.
#[derive(Debug)]
pub(crate) struct TreeState {
    pub(crate) id: TreeId,
    pub(crate) root: PageId,
    created: Timestamp,
    /// The maximum while it lives.
    dropped: AtomicU64,
    names: Mutex<History<Arc<str>>>,
    /// Written by every commit, so it is kept off the cache line of what every get reads.
    entries: CachePadded<Mutex<History<u64>>>,
}

/// A tree that was looked up once. Reading through it takes no lock and counts no reference: a tree's root stays where it is
/// for as long as the tree lives, and whether it lives in a snapshot can be seen from two timestamps.
#[derive(Clone)]
pub struct TreeRef(pub(crate) Arc<TreeState>);

impl TreeRef {
    /// Which tree it is.
    #[must_use]
    pub fn id(&self) -> TreeId {
        self.0.id
    }

    #[inline]
    pub(crate) fn root_at(&self, at: Timestamp) -> Result<PageId, Error> {
        if self.0.lives_at(at) { Ok(self.0.root) } else { Err(tree_not_found(&self.0.id.to_string())) }
    }
}

impl std::fmt::Debug for TreeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TreeRef").field(&self.0.id).finish()
    }
}

/// Values by the timestamp from which they hold, ascending.
#[derive(Debug)]
struct History<T> {
    values: Vec<(Timestamp, T)>,
    /// It is trimmed when it has become so long.
    trim_at: usize,
}

impl<T: Clone> History<T> {
    fn new(from: Timestamp, value: T) -> History<T> {
        History { values: vec![(from, value)], trim_at: TRIM_MIN }
    }

    fn at(&self, at: Timestamp) -> Option<T> {
        let behind = self.values.partition_point(|(from, _)| *from <= at);
        self.values.get(behind.checked_sub(1)?).map(|(_, value)| value.clone())
    }

    fn newest(&self) -> Option<T> {
        self.values.last().map(|(_, value)| value.clone())
    }

    fn push(&mut self, ts: Timestamp, value: T) {
        self.values.push((ts, value));
    }

    fn is_long(&self) -> bool {
        self.values.len() >= self.trim_at
    }

    /// Forgets what no snapshot can ask for.
    fn trim(&mut self, live: &LiveSet) {
        let until: Vec<Timestamp> = self.values.iter().skip(1).map(|(from, _)| *from).collect();
        let mut index = 0;
        self.values.retain(|(from, _)| {
            index += 1;
            until.get(index - 1).is_none_or(|until| live.is_needed(*from, *until))
        });
        self.trim_at = TRIM_MIN.max(2 * self.values.len());
    }
}

impl TreeState {
    fn new(id: TreeId, root: PageId, name: &str, created: Timestamp, entries: u64) -> TreeState {
        TreeState {
            id,
            root,
            created,
            dropped: AtomicU64::new(u64::MAX),
            names: Mutex::new(History::new(created, name.into())),
            entries: CachePadded::new(Mutex::new(History::new(created, entries))),
        }
    }

    fn dropped(&self) -> Timestamp {
        Timestamp(self.dropped.load(Ordering::Acquire))
    }

    fn lives_at(&self, at: Timestamp) -> bool {
        self.created <= at && at < self.dropped()
    }

    pub(crate) fn entries_at(&self, at: Timestamp) -> u64 {
        self.entries.lock().at(at).unwrap_or(0)
    }

    fn name_at(&self, at: Timestamp) -> Arc<str> {
        self.names.lock().at(at).unwrap_or_default()
    }

    fn info(&self, at: Timestamp) -> TreeInfo {
        TreeInfo { id: self.id, name: self.name_at(at).to_string(), entries: self.entries_at(at) }
    }
}

/// What a transaction does to the catalogue.
#[derive(Debug, Default)]
pub(crate) struct TreeChanges {
    pub(crate) created: BTreeMap<TreeId, (PageId, String)>,
    pub(crate) dropped: BTreeSet<TreeId>,
    pub(crate) renamed: BTreeMap<TreeId, String>,
    /// By how much numbers of entries change.
    pub(crate) entries: BTreeMap<TreeId, i64>,
}

/// All trees.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    trees: RwLock<BTreeMap<TreeId, Arc<TreeState>>>,
    next_id: AtomicU32,
}

impl Catalogue {
    pub(crate) fn new() -> Catalogue {
        Catalogue { trees: RwLock::default(), next_id: AtomicU32::new(TreeId::CATALOGUE.0 + 1) }
    }

    /// An id that no tree ever had.
    pub(crate) fn allocate_id(&self) -> TreeId {
        TreeId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// In recovery: an id that is taken.
    pub(crate) fn note_id(&self, id: TreeId) {
        self.next_id.fetch_max(id.0.saturating_add(1), Ordering::Relaxed);
    }

    /// The tree, if it exists at a timestamp.
    pub(crate) fn get(&self, id: TreeId, at: Timestamp) -> Option<Arc<TreeState>> {
        self.trees.read().get(&id).filter(|tree| tree.lives_at(at)).cloned()
    }

    /// What a tree is called at a timestamp, if it exists then.
    pub(crate) fn name(&self, id: TreeId, at: Timestamp) -> Option<String> {
        self.get(id, at).map(|tree| tree.name_at(at).to_string())
    }

    /// Keeps everybody else out.
    #[cfg(test)]
    pub(crate) fn lock_for_tests(&self) -> impl Sized + '_ {
        self.trees.write()
    }

    /// All trees at a timestamp, by name.
    pub(crate) fn list(&self, at: Timestamp) -> Vec<TreeInfo> {
        let trees = self.trees.read();
        let mut all: Vec<TreeInfo> =
            trees.values().filter(|tree| tree.lives_at(at)).map(|tree| tree.info(at)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The tree of that name. Takes time proportional to the number of trees.
    pub(crate) fn find(&self, name: &str, at: Timestamp) -> Option<TreeId> {
        let trees = self.trees.read();
        trees.values().find(|tree| tree.lives_at(at) && &*tree.name_at(at) == name).map(|tree| tree.id)
    }

    /// Makes a commit's changes. Under the commit gate, before `applied` reaches it.
    pub(crate) fn apply(&self, changes: &TreeChanges, ts: Timestamp, live: impl Fn() -> LiveSet) {
        if !changes.created.is_empty() {
            let mut trees = self.trees.write();
            for (&id, (root, name)) in &changes.created {
                trees.insert(id, Arc::new(TreeState::new(id, *root, name, ts, 0)));
            }
        }
        let trees = self.trees.read();
        for (id, name) in &changes.renamed {
            if let Some(tree) = trees.get(id) {
                tree.names.lock().push(ts, name.as_str().into());
            }
        }
        for (id, &more) in changes.entries.iter().filter(|(_, more)| **more != 0) {
            let Some(tree) = trees.get(id) else { continue };
            let mut entries = tree.entries.lock();
            let before = entries.newest().unwrap_or(0);
            let after = before.checked_add_signed(more);
            debug_assert!(after.is_some(), "{id} has {before} entries, {more} come");
            entries.push(ts, after.unwrap_or(0));
            if entries.is_long() {
                entries.trim(&live());
            }
        }
        for id in &changes.dropped {
            if let Some(tree) = trees.get(id) {
                tree.dropped.store(ts.0, Ordering::Release);
            }
        }
    }

    /// A tree that was dropped, that no snapshot sees any more, and that still has pages.
    pub(crate) fn next_to_free(&self, oldest: Timestamp) -> Option<Arc<TreeState>> {
        self.trees.read().values().find(|tree| tree.dropped() <= oldest).cloned()
    }

    /// The trees that were dropped before `at`, and may still have pages.
    pub(crate) fn being_freed(&self, at: Timestamp) -> Vec<Arc<TreeState>> {
        self.trees
            .read()
            .values()
            .filter(|tree| tree.created <= at && tree.dropped() <= at)
            .cloned()
            .collect()
    }

    /// A dropped tree has lost its last page.
    pub(crate) fn forget(&self, id: TreeId) {
        self.trees.write().remove(&id);
    }

    /// The catalogue at a timestamp, as bytes: `| version u32 | next id u32 | count u32 |`, then for each tree
    /// `| id u32 | root u32 | flags u8 (1: dropped, pages left) | entries u64 | name length u16 | name |`.
    pub(crate) fn encode(&self, at: Timestamp) -> Vec<u8> {
        let trees = self.trees.read();
        let known: Vec<_> = trees.values().filter(|tree| tree.created <= at).collect();
        let mut out = Vec::new();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.next_id.load(Ordering::Relaxed).to_le_bytes());
        out.extend_from_slice(&(known.len() as u32).to_le_bytes());
        for tree in known {
            let name = tree.name_at(at);
            out.extend_from_slice(&tree.id.0.to_le_bytes());
            out.extend_from_slice(&tree.root.0.to_le_bytes());
            out.push(if tree.lives_at(at) { 0 } else { DROPPED });
            out.extend_from_slice(&tree.entries_at(at).to_le_bytes());
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        out
    }

    /// The catalogue that a checkpoint at `at` stored. No bytes are an empty one.
    pub(crate) fn decode(bytes: &[u8], at: Timestamp) -> Result<Catalogue, Error> {
        if bytes.is_empty() {
            return Ok(Catalogue::new());
        }
        Self::decode_fields(bytes, at)
            .ok_or_else(|| record::damaged("the catalogue of trees is not readable"))
    }

    #[deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::indexing_slicing)]
    fn decode_fields(bytes: &[u8], at: Timestamp) -> Option<Catalogue> {
        let mut reader = Reader(bytes);
        if reader.u32()? != VERSION {
            return None;
        }
        let catalogue = Catalogue::new();
        catalogue.next_id.store(reader.u32()?, Ordering::Relaxed);
        let count = reader.u32()?;
        let mut trees = catalogue.trees.write();
        for _ in 0..count {
            let id = TreeId(reader.u32()?);
            let root = PageId(reader.u32()?);
            let flags = reader.u8()?;
            let entries = reader.u64()?;
            let name = std::str::from_utf8(reader.short()?).ok()?;
            let tree = TreeState::new(id, root, name, at, entries);
            if flags & DROPPED != 0 {
                tree.dropped.store(at.0, Ordering::Release);
            }
            trees.insert(id, Arc::new(tree));
        }
        drop(trees);
        reader.0.is_empty().then_some(catalogue)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_timestamp_has_its_catalogue() {
        let catalogue = Catalogue::new();
        let (a, b) = (catalogue.allocate_id(), catalogue.allocate_id());
        let oldest = || kestrel_pager::Snapshots::new(Timestamp(0)).live_set();
        let mut create = TreeChanges::default();
        create.created.insert(a, (PageId(1), "a".into()));
        create.created.insert(b, (PageId(2), "b".into()));
        create.entries.insert(a, 5);
        catalogue.apply(&create, Timestamp(3), oldest);
        let mut change = TreeChanges::default();
        change.renamed.insert(a, "c".into());
        change.dropped.insert(b);
        change.entries.insert(a, -2);
        catalogue.apply(&change, Timestamp(7), oldest);
        let names =
            |at| catalogue.list(Timestamp(at)).into_iter().map(|t| (t.name, t.entries)).collect::<Vec<_>>();
        assert_eq!(names(2), []);
        assert_eq!(names(6), [("a".into(), 5), ("b".into(), 0)]);
        assert_eq!(names(7), [("c".into(), 3)]);
        assert_eq!((catalogue.find("a", Timestamp(6)), catalogue.find("a", Timestamp(7))), (Some(a), None));
        assert_eq!(catalogue.next_to_free(Timestamp(6)).map(|tree| tree.id), None);
        assert_eq!(catalogue.next_to_free(Timestamp(7)).map(|tree| tree.id), Some(b));
        for at in [6, 7] {
            let bytes = catalogue.encode(Timestamp(at));
            let back = Catalogue::decode(&bytes, Timestamp(9)).unwrap();
            assert_eq!(back.list(Timestamp(9)), catalogue.list(Timestamp(at)));
            assert_eq!(back.allocate_id(), TreeId(3));
            for cut in 1..bytes.len() {
                assert!(Catalogue::decode(&bytes[..cut], Timestamp(9)).is_err());
            }
        }
    }
}
