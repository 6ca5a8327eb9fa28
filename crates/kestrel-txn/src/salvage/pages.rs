//! Which leaves count.
//!
//! A page that an intact part of the directory names is *certain*: that image, by its checksum, is its state at the checkpoint; and
//! all leaves of a tree that the directory names are the tree, so inner nodes are not needed. Where a part of the directory is
//! lost, images are looked for in the whole file: of each page of that part the newest that is not newer than the checkpoint. An
//! image that is newer belongs to a structure that later changes made, of which other parts may not be on disk; what it says is in
//! the log. That nothing proves an image to be the newest makes it *doubtful*: a leaf is taken only where no certain or newer one
//! covers its keys. An image without a timestamp was written for a transaction that may never have been committed: it is the last
//! choice, and only if an inner node refers to its page.

use std::collections::{BTreeMap, HashMap, HashSet};

use kestrel_btree::{check, children, leaf_bounds, unpack};
use kestrel_pager::{
    DirectoryEntry, FileSurvey, FoundImage, Location, PageId, Sighting, SurveyedCheckpoint, Timestamp, TreeId,
};

use super::SalvageReport;
use crate::catalogue::{Catalogue, TreeInfo};
use crate::{Damage, KeyBounds};

/// Where a leaf that counts lies.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Certain(PageId, DirectoryEntry),
    Found(FoundImage),
}

/// One tree, as far as it is left.
#[derive(Default)]
pub(super) struct TreeLeaves {
    pub(super) name: String,
    /// How many entries the checkpoint counted.
    pub(super) noted: Option<u64>,
    /// By lowest key: up to where, and where it lies. They do not overlap.
    pub(super) leaves: BTreeMap<Vec<u8>, (Option<Vec<u8>>, Source)>,
}

impl TreeLeaves {
    /// Takes a leaf, unless it covers keys that another one covers.
    fn add(&mut self, low: &[u8], high: Option<&[u8]>, source: Source) -> bool {
        let before = self.leaves.range(..=low.to_vec()).next_back();
        let free_below = before.is_none_or(|(_, (end, _))| end.as_deref().is_some_and(|end| end <= low));
        let behind = self.leaves.range(low.to_vec()..).next();
        let free_above = behind.is_none_or(|(next, _)| high.is_some_and(|high| high <= next.as_slice()));
        let free = free_below && free_above;
        if free {
            self.leaves.insert(low.to_vec(), (high.map(<[u8]>::to_vec), source));
        }
        free
    }

    /// The keys that no leaf covers.
    fn gaps(&self) -> Vec<KeyBounds> {
        let mut gaps = Vec::new();
        let mut at = Some(Vec::new());
        for (low, (high, _)) in &self.leaves {
            if let Some(from) = at.take().filter(|from| from < low) {
                gaps.push(KeyBounds { low: from, high: Some(low.clone()) });
            }
            at.clone_from(high);
        }
        gaps.extend(at.map(|low| KeyBounds { low, high: None }));
        gaps
    }
}

/// What is left of the pages.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) trees: BTreeMap<TreeId, TreeLeaves>,
    /// Large values that the directory names.
    pub(super) blobs: HashMap<PageId, (Location, u32)>,
    /// Large values that were found, by length and checksum.
    pub(super) found_blobs: HashMap<(u32, u32), Location>,
    /// Pages that were read.
    pub(super) read: u64,
    /// Whether the trees' names are known, and with them which trees there are.
    named: bool,
    /// The tree of each page that an inner node refers to.
    parents: HashMap<PageId, TreeId>,
}

impl Pages {
    pub(super) fn read(
        file: &FileSurvey,
        checkpoint: Option<SurveyedCheckpoint>,
        fallback: Option<Vec<u8>>,
        report: &mut SalvageReport,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Pages {
        let mut pages = Pages::default();
        let checkpoint = checkpoint.unwrap_or_else(|| SurveyedCheckpoint {
            unknown: std::iter::once(0..u32::MAX).collect(),
            state: kestrel_pager::CheckpointState { timestamp: Timestamp::MAX, ..Default::default() },
            ..SurveyedCheckpoint::default()
        });
        if checkpoint.has_root {
            pages.take_catalogue(&checkpoint.state.user, checkpoint.state.timestamp);
        }
        let damaged = pages.take_certain(file, &checkpoint.entries, progress);
        let mut names = None;
        if !checkpoint.unknown.is_empty() {
            names = pages.take_found(file, &checkpoint, report, progress);
        }
        for catalogue in fallback.into_iter().chain(names) {
            if !pages.named {
                pages.take_names(&catalogue);
            }
        }
        if !pages.named {
            let detail = "the list of trees is gone: trees of which no page was found are lost as a whole";
            report.lost.push(Damage::new(detail));
        }
        for (page, damage) in damaged {
            let tree = pages.parents.get(&page).and_then(|tree| pages.trees.get(tree));
            report.damages.push(match tree {
                Some(tree) => damage.of(&tree.name, None),
                None => damage,
            });
        }
        for tree in pages.trees.values() {
            for keys in tree.gaps() {
                let damage = Damage::new("no intact page holds these keys, if there were any");
                report.lost.push(damage.of(&tree.name, Some(keys)));
            }
        }
        pages
    }

    fn listed(user: &[u8], at: Timestamp) -> Option<Vec<TreeInfo>> {
        Some(Catalogue::decode(user, at).ok()?.list(at))
    }

    /// The catalogue of the checkpoint itself: these trees exist and no others.
    fn take_catalogue(&mut self, user: &[u8], at: Timestamp) {
        let Some(trees) = Self::listed(user, at) else { return };
        self.named = true;
        for TreeInfo { id, name, entries } in trees {
            self.trees.insert(id, TreeLeaves { name, noted: Some(entries), leaves: BTreeMap::new() });
        }
    }

    /// A catalogue of some other time: names only.
    fn take_names(&mut self, user: &[u8]) {
        for TreeInfo { id, name, .. } in Self::listed(user, Timestamp(1)).unwrap_or_default() {
            if let Some(tree) = self.trees.get_mut(&id) {
                tree.name = name;
            }
        }
    }

    /// Whether pages of a tree are wanted.
    fn tree(&mut self, id: TreeId) -> Option<&mut TreeLeaves> {
        if !self.named && !self.trees.contains_key(&id) {
            let name = format!("tree-{}", id.0);
            self.trees.insert(id, TreeLeaves { name, ..TreeLeaves::default() });
        }
        self.trees.get_mut(&id)
    }

    /// Reads every page that the directory names. Returns those that are damaged.
    fn take_certain(
        &mut self,
        file: &FileSurvey,
        entries: &BTreeMap<PageId, DirectoryEntry>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Vec<(PageId, Damage)> {
        let mut damaged = Vec::new();
        let mut node = Node::new(file);
        for (done, (&page, entry)) in (0_u64..).zip(entries) {
            progress(done, 2 * entries.len() as u64);
            if let Some(len) = entry.blob_len {
                self.blobs.insert(page, (entry.location, len));
                let read = file.read_blob(page, entry.location, len, entry.checksum);
                damaged.extend(read.err().map(|error| (page, Damage::from(error).on(page))));
                continue;
            }
            let header = match file.read_image(page, entry, &mut node.packed) {
                Ok(header) => header,
                Err(error) => {
                    damaged.push((page, Damage::from(error).on(page)));
                    continue;
                }
            };
            self.read += 1;
            let overlaps = || "it covers keys that another page of its tree covers, too".to_owned();
            let taken = node.open().and_then(|()| {
                let fits = self.take(header.tree, &node.bytes, Source::Certain(page, *entry));
                if fits { Ok(()) } else { Err(overlaps()) }
            });
            damaged.extend(taken.err().map(|detail| (page, Damage::new(detail).on(page))));
        }
        damaged
    }

    /// Takes a page; `false` if it is a leaf that does not fit the others.
    fn take(&mut self, id: TreeId, node: &[u8], source: Source) -> bool {
        let Some(tree) = self.tree(id) else { return true };
        match leaf_bounds(node) {
            Some((low, high)) => tree.add(low, high, source),
            None => {
                self.parents.extend(children(node).map(|child| (child, id)));
                true
            }
        }
    }

    /// Looks for images in the whole file. Returns the newest catalogue that was found.
    fn take_found(
        &mut self,
        file: &FileSurvey,
        checkpoint: &SurveyedCheckpoint,
        report: &mut SalvageReport,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Option<Vec<u8>> {
        let mut newest: HashMap<PageId, FoundImage> = HashMap::new();
        let mut catalogue: Option<(u32, Vec<u8>)> = None;
        let wanted = |page: PageId| checkpoint.unknown.iter().any(|range| range.contains(&page.0));
        file.scan(|done, sighting| match sighting {
            None => progress(done / 2, file.file_bytes()),
            Some(Sighting::Root(user)) => {
                if let Ok(decoded) = Catalogue::decode(&user, Timestamp(1)) {
                    let next = decoded.allocate_id().0;
                    if catalogue.as_ref().is_none_or(|(best, _)| *best < next) {
                        catalogue = Some((next, user));
                    }
                }
            }
            Some(Sighting::Image(found)) => match found.blob_checksum {
                Some(checksum) => {
                    self.found_blobs.insert((found.header.len, checksum), found.location);
                }
                None if wanted(found.page) && found.header.timestamp <= checkpoint.state.timestamp => {
                    let best = newest.entry(found.page).or_insert(found);
                    if best.header.timestamp < found.header.timestamp {
                        *best = found;
                    }
                }
                None => {}
            },
        });
        // A page that the directory lost may be a leaf whose tree is certain not to be: of trees that are known only.
        let mut candidates: Vec<FoundImage> = newest.into_values().collect();
        candidates.sort_by_key(|found| (std::cmp::Reverse(found.header.timestamp), found.page));
        let mut node = Node::new(file);
        // Inner nodes first: they say which pages without a timestamp there were.
        let mut inner = HashSet::new();
        for found in &candidates {
            let opened = file.read_found(found, &mut node.packed).is_ok() && node.open().is_ok();
            if opened && leaf_bounds(&node.bytes).is_none() {
                inner.insert(found.page);
                self.read += 1;
                self.take(found.header.tree, &node.bytes, Source::Found(*found));
            }
        }
        for found in candidates.iter().filter(|found| !inner.contains(&found.page)) {
            let uncommitted = found.header.timestamp == Timestamp(0);
            if uncommitted && self.parents.get(&found.page) != Some(&found.header.tree) {
                continue;
            }
            let opened = file.read_found(found, &mut node.packed).is_ok() && node.open().is_ok();
            if !opened || !self.take(found.header.tree, &node.bytes, Source::Found(*found)) {
                continue;
            }
            self.read += 1;
            let bounds = leaf_bounds(&node.bytes).filter(|_| self.trees.contains_key(&found.header.tree));
            if let Some((low, high)) = bounds {
                let keys = KeyBounds { low: low.to_vec(), high: high.map(<[u8]>::to_vec) };
                report.doubtful.push(doubt(found, &self.trees[&found.header.tree].name, keys));
            }
        }
        catalogue.map(|(_, user)| user)
    }
}

fn doubt(found: &FoundImage, tree: &str, keys: KeyBounds) -> Damage {
    let age = if found.header.timestamp == Timestamp(0) {
        "the image may hold what was never committed".to_owned()
    } else {
        format!("the image is of commit {}, and there may have been a newer one", found.header.timestamp.0)
    };
    let place = Some(found.location.offset());
    Damage::in_file(crate::damage::DATA_FILE, place, age).on(found.page).of(tree, Some(keys))
}

/// A node read from the file.
pub(super) struct Node {
    pub(super) packed: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

impl Node {
    pub(super) fn new(file: &FileSurvey) -> Node {
        Node { packed: Vec::new(), bytes: vec![0; file.page_size() as usize - 64] }
    }

    /// Unpacks and checks what was read.
    pub(super) fn open(&mut self) -> Result<(), String> {
        let unpacked = unpack(&self.packed, &mut self.bytes).and_then(|()| check(&self.bytes));
        unpacked.map_err(|damage| damage.detail)
    }
}
