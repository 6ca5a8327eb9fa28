//! The children of an inner node as a list that can be changed freely and written back, splitting upwards.

use std::ops::Range;

use kestrel_pager::PageId;

use crate::format::{HEADER_LEN, MAX_LEVEL};
use crate::node::Node;
use crate::path::{Fences, Step};
use crate::write::{Full, NodeWriter, inner_cost};
use crate::{Corruption, PageView, WritePages, edit};

/// An inner node's children and the separators between them, one less.
pub(crate) struct Children {
    pub(crate) level: u8,
    pub(crate) pages: Vec<PageId>,
    pub(crate) separators: Vec<Vec<u8>>,
}

impl Children {
    pub(crate) fn read(node: Node<'_>) -> Children {
        debug_assert!(!node.is_leaf());
        let separators = (0..node.count()).map(|index| node.key(index)).collect();
        let pages = (0..=node.count()).map(|index| node.child(index)).collect();
        Children { level: node.level(), pages, separators }
    }

    /// Reads the children of an inner node by its id; makes sure that it covers what the caller takes it to.
    pub(crate) fn of<P: WritePages>(
        pages: &mut P,
        id: PageId,
        fences: &Fences,
    ) -> Result<Children, P::Error> {
        let page = pages.fetch(id)?;
        let node = Node::new(page.node());
        if node.is_leaf() {
            return Err(Corruption::at(id, "a leaf in the place of an inner node").into());
        }
        fences.check_inner(node).map_err(|damage| damage.on(id))?;
        Ok(Children::read(node))
    }

    /// The fences of a child.
    pub(crate) fn fences_of(&self, index: usize, fences: &Fences) -> Fences {
        let before = index.checked_sub(1).and_then(|before| self.separators.get(before));
        Fences {
            low: before.unwrap_or(&fences.low).clone(),
            high: self.separators.get(index).or(fences.high.as_ref()).cloned(),
        }
    }

    /// Adds a child behind child `index`.
    pub(crate) fn insert(&mut self, index: usize, separator: Vec<u8>, child: PageId) {
        self.separators.insert(index, separator);
        self.pages.insert(index + 1, child);
    }

    /// Takes away the children of a range that is not empty, except the first, which then covers what they covered.
    pub(crate) fn join(&mut self, range: Range<usize>) {
        self.separators.drain(range.start..range.end - 1);
        self.pages.drain(range.start + 1..range.end);
    }

    /// Appends the children of the right neighbour, whose low fence is `separator`.
    pub(crate) fn append(&mut self, separator: Vec<u8>, right: Children) {
        debug_assert_eq!(self.level, right.level);
        self.separators.push(separator);
        self.separators.extend(right.separators);
        self.pages.extend(right.pages);
    }

    /// Packed length of a node with these separators.
    fn size(&self, separators: Range<usize>, prefix_len: usize) -> usize {
        let costs = self.separators[separators].iter().map(|key| inner_cost(key.len() - prefix_len));
        HEADER_LEN + 4 + prefix_len + costs.sum::<usize>()
    }

    /// Packed length of a node with all children.
    pub(crate) fn packed_len(&self, fences: &Fences) -> usize {
        self.size(0..self.separators.len(), fences.prefix().len())
    }

    /// Writes a node with some of the children.
    fn write(&self, children: Range<usize>, fences: &Fences, out: &mut [u8]) -> Result<(), Corruption> {
        let overfull = |Full| Corruption::new("inner node: separators exceed a page");
        let separators = &self.separators[children.start..children.end - 1];
        let mut writer =
            NodeWriter::inner(out, self.level, fences.prefix(), separators.len()).map_err(overfull)?;
        for separator in separators {
            writer.push_separator(separator).map_err(overfull)?;
        }
        for (index, page) in self.pages[children].iter().enumerate() {
            writer.set_child(index, *page);
        }
        writer.finish();
        Ok(())
    }

    /// Writes a node with all children.
    pub(crate) fn write_all(&self, fences: &Fences, out: &mut [u8]) -> Result<(), Corruption> {
        self.write(0..self.pages.len(), fences, out)
    }

    /// Distributes the children over two nodes that together cover `fences`; returns the separator between them.
    pub(crate) fn write_halves<P: WritePages>(
        &self,
        pages: &mut P,
        fences: Fences,
        left: PageId,
        right: PageId,
        appended: bool,
    ) -> Result<Vec<u8>, P::Error> {
        if self.pages.len() < 4 {
            return Err(Corruption::at(left, "inner node: full of impossibly long separators").into());
        }
        let middle = self.split_point(&fences, pages.capacity(), appended);
        let separator = self.separators[middle - 1].clone();
        let Fences { low, high } = fences;
        let fences = Fences { low: separator.clone(), high };
        let out = pages.edit(right)?;
        self.write(middle..self.pages.len(), &fences, out).map_err(|damage| damage.on(right))?;
        let fences = Fences { low, high: Some(separator.clone()) };
        let out = pages.edit(left)?;
        self.write(0..middle, &fences, out).map_err(|damage| damage.on(left))?;
        Ok(separator)
    }

    /// How many children stay in the left node of a split; `appended`: the last child was just added at the right end
    /// of the tree, so more will follow it and the left node is left full.
    fn split_point(&self, fences: &Fences, capacity: usize, appended: bool) -> usize {
        let prefix_len = fences.prefix().len();
        let count = self.pages.len();
        if appended && self.size(0..count - 3, prefix_len) + crate::max_key(capacity) <= capacity {
            return count - 2;
        }
        let total = self.size(0..self.separators.len(), prefix_len);
        let mut left = HEADER_LEN + 4 + prefix_len;
        let mut best = (usize::MAX, 2);
        // The separator in the middle goes up: it is counted on neither side.
        for middle in 0..self.separators.len() {
            let cost = inner_cost(self.separators[middle].len() - prefix_len);
            let right = total - cost - (left - HEADER_LEN - 4 - prefix_len);
            let enough = middle >= 1 && middle + 2 < count;
            if enough && left.max(right) < best.0 {
                best = (left.max(right), middle + 1);
            }
            left += cost;
        }
        best.1
    }
}

/// Adds a child to the inner node at the end of `steps`, behind the child that the way took.
pub(crate) fn insert_child<P: WritePages>(
    pages: &mut P,
    steps: Vec<Step>,
    separator: Vec<u8>,
    child: PageId,
) -> Result<(), P::Error> {
    let Some(parent) = steps.last() else {
        return Err(Corruption::new("a page without parent was split").into());
    };
    let (page, index, fences) = (parent.page, parent.child, parent.fences.clone());
    if edit::insert_child(pages.edit(page)?, index, &separator, child).is_ok() {
        return Ok(());
    }
    let mut children = Children::of(pages, page, &fences)?;
    children.insert(index, separator, child);
    store(pages, steps, children)
}

/// Writes the children of the inner node at the end of `steps`. If they do not fit, the node is split, and its parent
/// gets the new node, and so on; the root's content moves down instead.
pub(crate) fn store<P: WritePages>(
    pages: &mut P,
    mut steps: Vec<Step>,
    mut children: Children,
) -> Result<(), P::Error> {
    let capacity = pages.capacity();
    while let Some(Step { page, fences, child }) = steps.pop() {
        let count = children.pages.len();
        if children.packed_len(&fences) <= capacity {
            children.write_all(&fences, pages.edit(page)?).map_err(|damage| damage.on(page))?;
            return Ok(());
        }
        let appended = fences.high.is_none() && child + 2 == count;
        let right = pages.allocate()?;
        let left = if steps.is_empty() { pages.allocate()? } else { page };
        let separator = children.write_halves(pages, fences, left, right, appended)?;
        if steps.is_empty() {
            return raise_root(pages, page, children.level, left, separator, right);
        }
        let Some(parent) = steps.last() else { break };
        if edit::insert_child(pages.edit(parent.page)?, parent.child, &separator, right).is_ok() {
            return Ok(());
        }
        let index = parent.child;
        children = Children::of(pages, parent.page, &parent.fences)?;
        children.insert(index, separator, right);
    }
    Ok(())
}

/// Makes the root the parent of the two nodes of `level` to which its content has moved.
pub(crate) fn raise_root<P: WritePages>(
    pages: &mut P,
    root: PageId,
    level: u8,
    left: PageId,
    separator: Vec<u8>,
    right: PageId,
) -> Result<(), P::Error> {
    if level >= MAX_LEVEL {
        return Err(Corruption::at(root, "tree deeper than any number of pages explains").into());
    }
    let children = Children { level: level + 1, pages: vec![left, right], separators: vec![separator] };
    children.write(0..2, &Fences::all(), pages.edit(root)?).map_err(|damage| damage.on(root))?;
    Ok(())
}
