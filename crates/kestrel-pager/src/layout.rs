//! What the pager has to know of the nodes that its pages carry, given by the layer above.

use crate::{Error, PinnedPage};

/// A base node and the deltas over it, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// The node.
    pub node: &'a [u8],
    /// The deltas' payloads.
    pub deltas: &'a [&'a [u8]],
}

/// The node format, as far as the pager needs it.
pub trait Layout: Send + Sync + std::fmt::Debug {
    /// Merges a node and its deltas into `out` (a page's capacity); returns the bytes used, packed.
    fn consolidate(&self, layers: Layers<'_>, out: &mut [u8]) -> Result<usize, Error>;

    /// The used bytes of a node, as two runs.
    fn packed_parts<'a>(&self, node: &'a [u8]) -> [&'a [u8]; 2];

    /// Rebuilds a node in `out` from its packed bytes, and checks it wholly: whatever passes may be searched
    /// without further checks. An error says what is wrong.
    fn unpack(&self, packed: &[u8], out: &mut [u8]) -> Result<(), String>;

    /// Height above the leaves.
    fn level(&self, node: &[u8]) -> u8;
}

impl PinnedPage {
    /// Calls `use_layers` with the page's node and deltas.
    pub(crate) fn with_layers<T>(&self, use_layers: impl FnOnce(Layers<'_>) -> T) -> T {
        let mut deltas: [&[u8]; crate::MAX_DELTAS] = [&[]; crate::MAX_DELTAS];
        for (index, slot) in deltas.iter_mut().enumerate().take(self.delta_count()) {
            *slot = self.delta(index);
        }
        use_layers(Layers { node: self.node(), deltas: &deltas[..self.delta_count()] })
    }
}
