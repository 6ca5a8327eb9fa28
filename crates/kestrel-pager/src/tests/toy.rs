//! A node is a length and as many bytes; a delta is bytes to be appended.

use std::sync::Arc;

use kestrel_io::{MemoryStorage, Storage};

use crate::{
    CheckpointState, Error, Layers, Layout, OwnedFrame, PageId, PageStore, Pager, PagerOptions, StoreOptions,
    TreeId,
};

#[derive(Debug)]
pub(crate) struct Toy;

pub(crate) fn content(node: &[u8]) -> &[u8] {
    let len = u32::from_le_bytes(node[..4].try_into().unwrap()) as usize;
    &node[4..4 + len]
}

pub(crate) fn write(node: &mut [u8], bytes: &[u8]) -> usize {
    node[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    node[4..4 + bytes.len()].copy_from_slice(bytes);
    4 + bytes.len()
}

impl Layout for Toy {
    fn consolidate(&self, layers: Layers<'_>, out: &mut [u8]) -> Result<usize, Error> {
        let mut all = content(layers.node).to_vec();
        for delta in layers.deltas.iter().rev() {
            all.extend_from_slice(delta);
        }
        Ok(write(out, &all))
    }

    fn packed_parts<'a>(&self, node: &'a [u8]) -> [&'a [u8]; 2] {
        [&node[..4 + content(node).len()], &[]]
    }

    fn unpack(&self, packed: &[u8], out: &mut [u8]) -> Result<(), String> {
        let len = packed.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
        if len.is_none_or(|len| len + 4 != packed.len()) {
            return Err("length".into());
        }
        out[..packed.len()].copy_from_slice(packed);
        Ok(())
    }

    fn level(&self, _node: &[u8]) -> u8 {
        0
    }
}

pub(crate) const OPTIONS: PagerOptions = PagerOptions { frames: 16, delta_bytes: 1 << 20, alone: false };

pub(crate) fn fresh(storage: &Arc<MemoryStorage>, options: PagerOptions) -> Pager {
    let state = CheckpointState::default();
    let store =
        PageStore::create(&**storage as &dyn Storage, StoreOptions { page_size: 4096 }, 7, &state).unwrap();
    Pager::new(store, &state, options, Box::new(Toy)).unwrap()
}

pub(crate) fn reopen(storage: &Arc<MemoryStorage>, options: PagerOptions) -> Pager {
    let (store, state) = PageStore::open(&**storage as &dyn Storage).unwrap();
    Pager::new(store, &state, options, Box::new(Toy)).unwrap()
}

pub(crate) fn image(pager: &Pager, page: PageId, bytes: &[u8]) -> OwnedFrame {
    let mut frame = pager.take_frame(page, TreeId(1)).unwrap();
    write(frame.payload_mut(), bytes);
    frame
}
