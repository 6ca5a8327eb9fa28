//! Verification: reads everything, and checks every rule that can be checked.

use std::collections::HashSet;

use kestrel_btree::ReadPages;
use kestrel_btree::{BlobRef, Corruption, TreeVisitor, check_tree};
use kestrel_pager::PageId;

use crate::Error;
use crate::core::Core;
use crate::page::{Page, ReadError, SnapshotPages};

/// What [`Engine::verify`](crate::Engine::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// What is wrong, in words. Empty: nothing.
    pub damages: Vec<String>,
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

struct Visitor<'v> {
    tree: String,
    seen: &'v mut HashSet<PageId>,
    blobs: Vec<BlobRef>,
    report: &'v mut VerifyReport,
    progress: &'v mut dyn FnMut(u64, u64),
    total: u64,
}

impl TreeVisitor<ReadError> for Visitor<'_> {
    fn page(&mut self, page: PageId) -> bool {
        let fresh = self.seen.insert(page);
        if !fresh {
            self.report.damages.push(format!("tree {:?}: {page} is referred to twice", self.tree));
        }
        (self.progress)(self.seen.len() as u64, self.total.max(self.seen.len() as u64));
        fresh
    }

    fn blob(&mut self, leaf: PageId, blob: BlobRef) {
        if !self.seen.insert(blob.page) {
            self.report.damages.push(format!("tree {:?}: {leaf} refers to a large value twice", self.tree));
        }
        self.blobs.push(blob);
    }

    fn damage(&mut self, damage: Corruption) {
        self.report.damages.push(format!("tree {:?}: {damage}", self.tree));
    }

    fn unreadable(&mut self, page: PageId, error: ReadError) -> Result<(), ReadError> {
        self.report.damages.push(format!("tree {:?}: {page}: {}", self.tree, Error::from(error)));
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
            let pages = LoadingPages(SnapshotPages { pager: &self.pager, at });
            let mut visitor = Visitor {
                tree: tree.name.clone(),
                seen: &mut seen,
                blobs: Vec::new(),
                report: &mut report,
                progress,
                total,
            };
            let found = check_tree(&pages, state.root, &mut visitor)?;
            let blobs = std::mem::take(&mut visitor.blobs);
            for blob in blobs {
                if let Err(error) = self.pager.read_blob(blob.page, at, blob.len, blob.checksum) {
                    report.damages.push(format!("tree {:?}: {error}", tree.name));
                }
            }
            if found.entries != tree.entries {
                let (counted, noted) = (found.entries, tree.entries);
                report
                    .damages
                    .push(format!("tree {:?} holds {counted} entries, {noted} are noted", tree.name));
            }
            report.trees += 1;
            report.entries += found.entries;
            report.pages += found.pages;
        }
        self.verify_files(&mut report);
        progress(total, total);
        Ok(report)
    }

    /// Images on disk are read even if they are in memory, as they are what the next opening finds.
    fn verify_files(&self, report: &mut VerifyReport) {
        // No checkpoint may let go of what is being read.
        let _none = self.checkpointing.lock();
        let mut entries = Vec::new();
        self.pager.store().for_each_durable(|page, entry| entries.push((page, entry)));
        for (page, entry) in entries {
            let read = match entry.blob_len {
                None => self.pager.store().read_image(page, entry.location, &mut Vec::new()).map(|_| ()),
                Some(len) => {
                    self.pager.store().read_blob(page, entry.location, len, entry.checksum).map(|_| ())
                }
            };
            if let Err(error) = read {
                report.damages.push(error.to_string());
            }
        }
        report.damages.extend(self.pager.store().verify_claims());
    }
}
