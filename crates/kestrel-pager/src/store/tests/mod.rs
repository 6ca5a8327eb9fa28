//! The page store as a whole: a small workload with a model of what it must hold.

mod crash;
mod damage;
mod reuse;
mod round_trip;
mod threads;

use std::collections::BTreeMap;
use std::io;

use kestrel_io::Storage;

use super::*;

/// Steele, Lea and Flood's SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    pub(super) fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// What a page must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) at: Location,
    /// Length and checksum of a blob.
    pub(super) blob: Option<(u32, u32)>,
    pub(super) timestamp: Timestamp,
    pub(super) bytes: Vec<u8>,
}

impl Content {
    pub(super) fn blob_len(&self) -> Option<u32> {
        self.blob.map(|(len, _)| len)
    }
}

/// All pages, as of a checkpoint.
pub(super) type Pages = BTreeMap<PageId, Content>;

pub(super) const DATABASE: u128 = 0x1234_5678_9abc_def0_0fed_cba9;
pub(super) const PAGE_SIZE: u32 = 4096;

pub(super) fn create(storage: &dyn Storage, page_size: u32) -> Result<PageStore, Error> {
    let state = CheckpointState { user: b"first".to_vec(), ..CheckpointState::default() };
    PageStore::create(storage, StoreOptions { page_size }, DATABASE, &state)
}

pub(super) fn image(page: u32, timestamp: u64, bytes: &[u8]) -> ImageWrite<'_> {
    let (first, second) = bytes.split_at(bytes.len() / 3);
    ImageWrite {
        page: PageId(page),
        tree: TreeId(page % 7),
        timestamp: Timestamp(timestamp),
        parts: [first, second],
    }
}

/// A store, the pages it should hold now, and those of its newest checkpoint.
pub(super) struct Workload {
    pub(super) store: PageStore,
    pub(super) random: Random,
    pub(super) pages: Pages,
    pub(super) round: u64,
    pub(super) page_max: u32,
    pub(super) blob_max: u64,
}

impl Workload {
    pub(super) fn new(store: PageStore, seed: u64) -> Workload {
        Workload {
            store,
            random: Random(seed),
            pages: Pages::new(),
            round: 0,
            page_max: 600,
            blob_max: 20_000,
        }
    }

    /// Goes on with an opened store.
    pub(super) fn resume(store: PageStore, state: &CheckpointState, pages: Pages, seed: u64) -> Workload {
        Workload { pages, round: state.lsn, ..Workload::new(store, seed) }
    }

    pub(super) fn state(&self) -> CheckpointState {
        CheckpointState {
            lsn: self.round,
            timestamp: Timestamp(self.round * 10),
            next_page: self.page_max,
            user: vec![self.round as u8; self.round as usize * 100 % 3000],
        }
    }

    /// One round: `changes` pages are written, replaced or removed, and a checkpoint says so. After an error, `pages`
    /// is what the checkpoint would have held.
    pub(super) fn round(&mut self, changes: u64) -> Result<(), Error> {
        self.round += 1;
        let timestamp = self.round * 10;
        let mut changed = BTreeMap::new();
        for _ in 0..changes {
            let page = self.random.below(self.page_max.into()) as u32;
            let bytes = match self.random.below(20) {
                0 => None,
                1 => Some((true, self.random.below(self.blob_max))),
                _ => Some((false, self.random.below(u64::from(self.store.image_capacity()) + 1))),
            };
            let bytes = bytes.map(|(blob, len)| (blob, self.random.bytes(len)));
            changed.insert(page, bytes);
        }
        let changed: Vec<_> = changed.into_iter().collect();
        let mut writer = self.store.begin_checkpoint()?;
        for batch in changed.chunks(16) {
            let images: Vec<_> = batch
                .iter()
                .filter_map(|(page, content)| match content {
                    Some((false, bytes)) => Some(image(*page, timestamp, bytes)),
                    _ => None,
                })
                .collect();
            let claim = if self.random.below(2) == 0 { Claim::Live } else { Claim::Both };
            let mut locations = self.store.write_images(&images, claim)?.into_iter();
            for (page, content) in batch {
                let timestamp = Timestamp(timestamp);
                let content = match content {
                    None => None,
                    Some((false, bytes)) => {
                        let at = locations.next().unwrap();
                        Some(Content { at, blob: None, timestamp, bytes: bytes.clone() })
                    }
                    Some((true, bytes)) => {
                        let (at, checksum) =
                            self.store.write_blob(PageId(*page), TreeId(page % 7), timestamp, bytes)?;
                        let blob = Some((bytes.len() as u32, checksum));
                        Some(Content { at, blob, timestamp, bytes: bytes.clone() })
                    }
                };
                writer.set(PageId(*page), content.as_ref().map(|c| (c.at, c.blob_len())));
                let old = match content {
                    Some(content) => self.pages.insert(PageId(*page), content),
                    None => self.pages.remove(&PageId(*page)),
                };
                if let Some(old) = old {
                    self.store.release_live(old.at, old.blob_len());
                }
            }
        }
        let state = CheckpointState {
            lsn: self.round,
            timestamp: Timestamp(timestamp),
            next_page: self.page_max,
            user: vec![self.round as u8; self.round as usize * 100 % 3000],
        };
        writer.finish(&state)
    }

    /// Reads everything, and checks the claims.
    pub(super) fn check(&self) {
        check(&self.store, &self.pages);
        let owned = self.pages.values().map(|content| (content.at, content.blob_len()));
        assert_eq!(self.store.verify_live_claims(owned), Vec::<String>::new());
    }
}

/// Panics unless the store's newest checkpoint holds just these pages.
pub(super) fn check(store: &PageStore, pages: &Pages) {
    assert_eq!(store.verify_claims(), Vec::<String>::new());
    let mut found = BTreeMap::new();
    store.for_each_durable(|page, entry| {
        found.insert(page, (entry.location, entry.blob_len));
    });
    let expected: BTreeMap<_, _> = pages.iter().map(|(page, c)| (*page, (c.at, c.blob_len()))).collect();
    assert_eq!(found, expected);
    for (page, content) in pages {
        read(store, *page, content).unwrap();
    }
}

/// Reads a page; its bytes must be those of the model unless there is an error.
pub(super) fn read(store: &PageStore, page: PageId, content: &Content) -> Result<(), Error> {
    match content.blob {
        Some((len, checksum)) => {
            assert_eq!(store.read_blob(page, content.at, len, checksum)?, content.bytes);
        }
        None => {
            let mut out = vec![9; 17];
            let header = store.read_image(page, content.at, &mut out)?;
            let expected = ImageHeader {
                tree: TreeId(page.0 % 7),
                timestamp: content.timestamp,
                len: content.bytes.len() as u32,
            };
            assert_eq!(header, expected);
            assert_eq!(out, content.bytes);
        }
    }
    Ok(())
}
