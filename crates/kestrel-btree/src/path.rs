//! The way from a root to a leaf, remembered by operations that change inner nodes.

use kestrel_pager::PageId;

use crate::find::{Seek, step};
use crate::key::fence_prefix_len;
use crate::node::Node;
use crate::{Corruption, PageView, WritePages};

/// The range of keys that a node covers.
#[derive(Clone, Debug)]
pub(crate) struct Fences {
    pub(crate) low: Vec<u8>,
    /// `None` when there is no limit.
    pub(crate) high: Option<Vec<u8>>,
}

impl Fences {
    /// All keys.
    pub(crate) fn all() -> Fences {
        Fences { low: Vec::new(), high: None }
    }

    /// What all keys between the fences begin with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.low[..fence_prefix_len(&self.low, self.high.as_deref())]
    }

    /// Checks that an inner node's separators lie between its fences and that it has their prefix.
    pub(crate) fn check_inner(&self, node: Node<'_>) -> Result<(), Corruption> {
        let last = node.count().checked_sub(1);
        let below = last.is_some() && node.key(0) <= self.low;
        let above = last.zip(self.high.as_ref()).is_some_and(|(last, high)| node.key(last) >= *high);
        if below || above || self.prefix() != node.prefix() {
            return Err(Corruption::new("inner node: disagrees with the nodes above about its range"));
        }
        Ok(())
    }

    /// The fences of an inner node's child.
    pub(crate) fn of_child(&self, node: Node<'_>, index: usize) -> Fences {
        let low = index.checked_sub(1).map_or_else(|| self.low.clone(), |before| node.key(before));
        let high = if index < node.count() { Some(node.key(index)) } else { self.high.clone() };
        Fences { low, high }
    }
}

#[derive(Clone)]
/// An inner node on the way.
pub(crate) struct Step {
    pub(crate) page: PageId,
    /// The index of the child that the way goes on to.
    pub(crate) child: usize,
    /// What the inner node covers.
    pub(crate) fences: Fences,
}

/// A leaf and the inner nodes above it, the root first.
pub(crate) struct Path {
    pub(crate) steps: Vec<Step>,
    pub(crate) leaf: PageId,
    /// What the leaf covers, which its own fences repeat.
    pub(crate) fences: Fences,
}

/// Goes down to the leaf that covers a key. On the way it makes sure that every node agrees with those above it about
/// what it covers, so that changes of structure can rely on it.
pub(crate) fn path_to<P: WritePages>(pages: &mut P, root: PageId, key: &[u8]) -> Result<Path, P::Error> {
    let mut steps = Vec::new();
    let mut parent = None;
    let mut id = root;
    let mut fences = Fences::all();
    loop {
        let page = pages.fetch(id)?;
        let node = Node::new(page.node());
        let Some(child) = step(id, page.node(), &mut parent, Seek::At(key))? else {
            if node.low() != fences.low || node.high() != fences.high.as_deref() {
                return Err(Corruption::at(id, "leaf: fences disagree with the nodes above").into());
            }
            return Ok(Path { steps, leaf: id, fences });
        };
        fences.check_inner(node).map_err(|damage| damage.on(id))?;
        let index = node.child_index(key);
        let below = fences.of_child(node, index);
        steps.push(Step { page: id, child: index, fences });
        fences = below;
        id = child;
    }
}
