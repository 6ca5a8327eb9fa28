//! Checks a whole tree: what `check` cannot see on one node.

// Bytes from a disk are met here: nothing is indexed, cut short or added up without a check.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use kestrel_pager::PageId;

use crate::consolidate::consolidate;
use crate::node::Node;
use crate::path::Fences;
use crate::{BlobRef, Corruption, PageView, ReadPages, check, check_delta};

/// Hears what [`check_tree`] finds.
pub trait TreeVisitor<E> {
    /// The check comes to a page that covers the keys from `low` up to, not including, `high` (`None`: without limit), as the
    /// nodes above say. All it says until it comes to another page is about this one.
    fn enter(&mut self, _page: PageId, _low: &[u8], _high: Option<&[u8]>) {}

    /// What a leaf refers to under a key, if that is a large value. Calls [`TreeVisitor::blob`], by default.
    fn blob_of(&mut self, leaf: PageId, _key: &[u8], blob: BlobRef) {
        self.blob(leaf, blob);
    }

    /// A page that the tree reaches, the root first. `false` if it was reached before, by this tree or another: what is
    /// below it is then not visited again. The visitor reports that itself.
    fn page(&mut self, page: PageId) -> bool;

    /// A large value that a leaf refers to.
    fn blob(&mut self, leaf: PageId, blob: BlobRef);

    /// A rule that the tree breaks. The check goes on with the other pages.
    fn damage(&mut self, damage: Corruption);

    /// A page that could not be read. To return the error ends the check; to swallow it goes on with the other pages.
    ///
    /// # Errors
    /// The error, by default.
    fn unreadable(&mut self, _page: PageId, error: E) -> Result<(), E> {
        Err(error)
    }
}

/// What a tree consists of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TreeReport {
    /// Pages, blobs not counted.
    pub pages: u64,
    /// Leaves among them.
    pub leaves: u64,
    /// Levels; one for a tree that is a single leaf.
    pub depth: u32,
    /// Live entries.
    pub entries: u64,
    /// Packed length of all nodes, deltas merged.
    pub used_bytes: u64,
}

/// Checks every node of a tree, its deltas, the order of keys, fences against separators, and levels.
///
/// # Errors
/// What the pages report and the visitor does not swallow. Damage is no error: the visitor hears of it.
pub fn check_tree<P: ReadPages>(
    pages: &P,
    root: PageId,
    visitor: &mut impl TreeVisitor<P::Error>,
) -> Result<TreeReport, P::Error> {
    let mut report = TreeReport::default();
    let mut checker = Checker { pages, visitor, report: &mut report, scratch: Vec::new() };
    checker.node(root, None, &Fences::all())?;
    Ok(report)
}

struct Checker<'c, P, V> {
    pages: &'c P,
    visitor: &'c mut V,
    report: &'c mut TreeReport,
    scratch: Vec<u8>,
}

impl<P: ReadPages, V: TreeVisitor<P::Error>> Checker<'_, P, V> {
    /// Checks a node and what is below it. Recurses no deeper than levels go, which `check` bounds at the root.
    fn node(&mut self, id: PageId, level: Option<u8>, fences: &Fences) -> Result<(), P::Error> {
        self.visitor.enter(id, &fences.low, fences.high.as_deref());
        if !self.visitor.page(id) {
            return Ok(());
        }
        let below = match self.pages.page(id) {
            Err(error) => return self.visitor.unreadable(id, error),
            Ok(page) => match self.one(id, &page, level, fences) {
                Ok(below) => below,
                Err(damage) => {
                    self.visitor.damage(damage.on(id));
                    return Ok(());
                }
            },
        };
        let Some(bytes) = below else { return Ok(()) };
        let node = Node::new(&bytes);
        for index in 0..=node.count() {
            self.node(node.child(index), node.level().checked_sub(1), &fences.of_child(node, index))?;
        }
        Ok(())
    }

    /// Checks one page. Of an inner node it returns a copy: what is below it is to be visited after the page was let go, and
    /// the fences of all children at once could take much more room than the node. Damage that does not hinder the visit of
    /// the children is reported on the way.
    fn one(
        &mut self,
        id: PageId,
        page: &P::Page<'_>,
        level: Option<u8>,
        fences: &Fences,
    ) -> Result<Option<Vec<u8>>, Corruption> {
        check(page.node())?;
        let node = Node::new(page.node());
        if let Some(level) = level.filter(|level| *level != node.level()) {
            return Err(Corruption::new(format!(
                "a node of level {} where one of {level} belongs",
                node.level()
            )));
        }
        count(&mut self.report.pages, 1);
        self.report.depth = self.report.depth.max(u32::from(node.level()).saturating_add(1));
        if node.is_leaf() {
            self.leaf(id, page, fences)?;
            return Ok(None);
        }
        count(&mut self.report.used_bytes, node.packed_len() as u64);
        if page.delta_count() > 0 {
            self.visitor.damage(Corruption::at(id, "inner node: has deltas"));
        }
        if let Err(damage) = fences.check_inner(node) {
            self.visitor.damage(damage.on(id));
        }
        Ok(Some(node.bytes().to_vec()))
    }

    fn leaf(&mut self, id: PageId, page: &P::Page<'_>, fences: &Fences) -> Result<(), Corruption> {
        let base = Node::new(page.node());
        count(&mut self.report.leaves, 1);
        if base.low() != fences.low || base.high() != fences.high.as_deref() {
            self.visitor.damage(Corruption::at(id, "leaf: fences disagree with the nodes above"));
        }
        for newest_first in 0..page.delta_count() {
            check_delta(page.delta(newest_first))?;
        }
        self.scratch.resize(base.bytes().len(), 0);
        let used = consolidate(page, &mut self.scratch)?;
        check(&self.scratch).map_err(|damage| Corruption::new(format!("deltas: {}", damage.detail)))?;
        let node = Node::new(&self.scratch);
        count(&mut self.report.used_bytes, used as u64);
        count(&mut self.report.entries, node.count() as u64);
        for index in 0..node.count() {
            if let Some(blob) = node.entry(index).cell().blob() {
                self.visitor.blob_of(id, &node.key(index), blob);
            }
        }
        Ok(())
    }
}

fn count(figure: &mut u64, more: u64) {
    *figure = figure.saturating_add(more);
}
