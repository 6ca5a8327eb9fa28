//! Verification: reads everything, and checks every rule that can be checked.
//!
//! First all trees as a snapshot shows them, which others may change meanwhile; then, while no checkpoint is written, what the
//! files hold: in `verify_files.rs`.

use std::collections::{HashMap, HashSet};

use kestrel_btree::ReadPages;
use kestrel_btree::{BlobRef, Corruption, TreeVisitor, check_tree};
use kestrel_pager::{PageId, Timestamp};

use crate::core::Core;
use crate::damage::DATA_FILE;
use crate::page::{Page, ReadError, SnapshotPages};
use crate::{Damage, Error, KeyBounds};

/// What [`Engine::verify`](crate::Engine::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// What is wrong. Empty: nothing.
    pub damages: Vec<Damage>,
    /// Pages that were looked at, large values not counted.
    pub pages: u64,
    /// Keys in all trees.
    pub entries: u64,
    /// Trees.
    pub trees: u64,
}

/// Pages that are loaded when they are not in memory.
struct LoadingPages<'p>(SnapshotPages<'p>);

impl ReadPages for LoadingPages<'_> {
    type Error = ReadError;
    type Page<'a>
        = Page<'a>
    where
        Self: 'a;

    fn page(&self, id: PageId) -> Result<Page<'_>, ReadError> {
        loop {
            match self.0.page(id) {
                Err(ReadError::NotResident(page)) => {
                    self.0.pager.load(page, self.0.at).map_err(Error::from)?;
                }
                other => return other,
            }
        }
    }
}

/// What the check of a tree comes across.
struct Visitor<'v> {
    tree: &'v str,
    /// The keys of the page that it is at.
    keys: KeyBounds,
    seen: &'v mut HashSet<PageId>,
    blobs: Vec<(Vec<u8>, BlobRef)>,
    report: &'v mut VerifyReport,
    progress: &'v mut dyn FnMut(u64, u64),
    total: u64,
}

impl Visitor<'_> {
    fn note(&mut self, damage: Damage) {
        self.report.damages.push(damage.of(self.tree, Some(self.keys.clone())));
    }
}

impl TreeVisitor<ReadError> for Visitor<'_> {
    fn enter(&mut self, _page: PageId, low: &[u8], high: Option<&[u8]>) {
        self.keys = KeyBounds { low: low.to_vec(), high: high.map(<[u8]>::to_vec) };
    }

    fn page(&mut self, page: PageId) -> bool {
        let fresh = self.seen.insert(page);
        if !fresh {
            self.note(Damage::new("it is referred to twice").on(page));
        }
        (self.progress)(self.seen.len() as u64, self.total.max(self.seen.len() as u64));
        fresh
    }

    fn blob(&mut self, _leaf: PageId, _blob: BlobRef) {}

    fn blob_of(&mut self, leaf: PageId, key: &[u8], blob: BlobRef) {
        if !self.seen.insert(blob.page) {
            let damage =
                Damage::new("it refers to a large value that something else refers to as well").on(leaf);
            self.report.damages.push(damage.of(self.tree, Some(KeyBounds::one(key))));
        }
        self.blobs.push((key.to_vec(), blob));
    }

    fn damage(&mut self, damage: Corruption) {
        let Corruption { page, detail } = damage;
        self.note(Damage { page: page.map(|page| page.0), ..Damage::new(detail) });
    }

    fn unreadable(&mut self, page: PageId, error: ReadError) -> Result<(), ReadError> {
        let damage = match error {
            ReadError::Failed(error) => Damage::from(&error),
            ReadError::NotResident(_) => Damage::new("it cannot be brought into memory"),
        };
        self.note(damage.on(page));
        Ok(())
    }
}

impl Core {
    pub(crate) fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, Error> {
        let mut report = VerifyReport::default();
        let mut seen = HashSet::new();
        let snapshot = self.snapshots().begin_visible();
        let at = snapshot.at();
        let total = self.pager.statistics().pages;
        for tree in self.catalogue.list(at) {
            let Some(state) = self.catalogue.get(tree.id, at) else { continue };
            let mut visitor = Visitor {
                tree: &tree.name,
                keys: KeyBounds::all(),
                seen: &mut seen,
                blobs: Vec::new(),
                report: &mut report,
                progress,
                total,
            };
            let found = check_tree(&self.loading_pages(at), state.root, &mut visitor)?;
            let blobs = std::mem::take(&mut visitor.blobs);
            for (key, blob) in blobs {
                if let Err(error) = self.pager.read_blob(blob.page, at, blob.len, blob.checksum) {
                    let damage = Damage::from(error).on(blob.page);
                    report.damages.push(damage.of(&tree.name, Some(KeyBounds::one(&key))));
                }
            }
            if found.entries != tree.entries {
                let detail = format!("it holds {} entries, {} are noted", found.entries, tree.entries);
                report.damages.push(Damage::new(detail).of(&tree.name, None));
            }
            report.trees += 1;
            report.entries += found.entries;
            report.pages += found.pages;
        }
        self.find_leaks(at, &mut seen, &mut report);
        drop(snapshot);
        self.verify_files(&mut report)?;
        progress(total, total);
        Ok(report)
    }

    fn loading_pages(&self, at: Timestamp) -> LoadingPages<'_> {
        LoadingPages(SnapshotPages { pager: &self.pager, at })
    }

    /// Pages that exist and that no tree leads to. Where a tree is damaged, they may be what cannot be reached.
    fn find_leaks(&self, at: Timestamp, seen: &mut HashSet<PageId>, report: &mut VerifyReport) {
        if !report.damages.is_empty() {
            return;
        }
        for tree in self.catalogue.being_freed(at) {
            // What is left of it is nobody's any more: only that it is there counts.
            let _ = check_tree(&self.loading_pages(at), tree.root, &mut Collector(seen));
        }
        self.pager.for_each_page(at, |page| {
            // Of a tree that was dropped and that nobody remembers any more the snapshot may still have pages: they are freed since.
            if !seen.contains(&page) && self.pager.head(page).is_some() {
                let damage =
                    Damage { file: Some(DATA_FILE.to_owned()), ..Damage::new("no tree leads to it") };
                report.damages.push(damage.on(page));
            }
        });
    }

    /// To which tree pages belong in the newest visible state, and which keys they cover.
    pub(crate) fn locate(&self, wanted: &HashSet<PageId>) -> HashMap<PageId, (String, KeyBounds)> {
        let snapshot = self.snapshots().begin_visible();
        let mut finder = Finder { wanted, tree: String::new(), seen: HashSet::new(), found: HashMap::new() };
        for tree in self.catalogue.list(snapshot.at()) {
            let Some(state) = self.catalogue.get(tree.id, snapshot.at()) else { continue };
            finder.tree = tree.name;
            let _ = check_tree(&self.loading_pages(snapshot.at()), state.root, &mut finder);
        }
        finder.found
    }
}

/// Notes pages, and hears nothing else.
struct Collector<'s>(&'s mut HashSet<PageId>);

impl TreeVisitor<ReadError> for Collector<'_> {
    fn page(&mut self, page: PageId) -> bool {
        self.0.insert(page)
    }

    fn blob(&mut self, _leaf: PageId, blob: BlobRef) {
        self.0.insert(blob.page);
    }

    fn damage(&mut self, _damage: Corruption) {}

    fn unreadable(&mut self, _page: PageId, _error: ReadError) -> Result<(), ReadError> {
        Ok(())
    }
}

/// Looks for pages.
struct Finder<'f> {
    wanted: &'f HashSet<PageId>,
    tree: String,
    seen: HashSet<PageId>,
    found: HashMap<PageId, (String, KeyBounds)>,
}

impl TreeVisitor<ReadError> for Finder<'_> {
    fn enter(&mut self, page: PageId, low: &[u8], high: Option<&[u8]>) {
        if self.wanted.contains(&page) {
            let keys = KeyBounds { low: low.to_vec(), high: high.map(<[u8]>::to_vec) };
            self.found.insert(page, (self.tree.clone(), keys));
        }
    }

    fn page(&mut self, page: PageId) -> bool {
        self.found.len() < self.wanted.len() && self.seen.insert(page)
    }

    fn blob(&mut self, _leaf: PageId, _blob: BlobRef) {}

    fn blob_of(&mut self, _leaf: PageId, key: &[u8], blob: BlobRef) {
        if self.wanted.contains(&blob.page) {
            self.found.insert(blob.page, (self.tree.clone(), KeyBounds::one(key)));
        }
    }

    fn damage(&mut self, _damage: Corruption) {}

    fn unreadable(&mut self, _page: PageId, _error: ReadError) -> Result<(), ReadError> {
        Ok(())
    }
}
