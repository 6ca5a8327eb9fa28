//! The B+tree's node format, as the pager wants it.

use kestrel_btree::{ConsolidateError, PageView, check, consolidate, level, packed_parts, unpack};
use kestrel_pager::{Error, Layers, Layout};

/// Nodes of [`kestrel_btree`].
#[derive(Debug)]
pub(crate) struct NodeLayout;

struct View<'a>(Layers<'a>);

impl PageView for View<'_> {
    fn node(&self) -> &[u8] {
        self.0.node
    }

    fn delta_count(&self) -> usize {
        self.0.deltas.len()
    }

    fn delta(&self, newest_first: usize) -> &[u8] {
        self.0.deltas[newest_first]
    }
}

impl Layout for NodeLayout {
    fn consolidate(&self, layers: Layers<'_>, out: &mut [u8]) -> Result<usize, Error> {
        consolidate(&View(layers), out).map_err(|error| {
            let (page, detail) = match error {
                ConsolidateError::Overfull => (None, "a leaf and its deltas exceed a page".to_owned()),
                ConsolidateError::Corrupt(damage) => (damage.page, damage.detail),
            };
            Error::Corrupted { page, offset: 0, detail }
        })
    }

    fn packed_parts<'a>(&self, node: &'a [u8]) -> [&'a [u8]; 2] {
        packed_parts(node)
    }

    fn unpack(&self, packed: &[u8], out: &mut [u8]) -> Result<(), String> {
        unpack(packed, out).and_then(|()| check(out)).map_err(|damage| damage.detail)
    }

    fn level(&self, node: &[u8]) -> u8 {
        level(node)
    }
}
