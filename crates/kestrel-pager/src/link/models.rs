//! Links and versions on all schedules, and with all values that the memory model lets a load return.
//!
//! Loom sees two things: loads of its own atomics, among them the link and the count in each header, which must come after
//! the header was made; and the order of these. The epoch's part is played by the main thread, which frees only when the
//! others are done, as it has to be the same each time; that a count outlives it is modelled in [`crate::refs`].
//!
//! Tried by hand, each is found: `Relaxed` in [`Link::store`], `Relaxed` in [`Link::load`], a version that is published before
//! its link is set.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::sync::{Arc, OnceLock};

use super::*;
use crate::pool::Pool;
use crate::store::PageStore;
use crate::version::{OwnedVersion, release};
use crate::{CheckpointState, PageId, StoreOptions, Timestamp, TreeId};
use crossbeam_epoch as epoch;
use kestrel_check::loom::{self, thread};

const PAGE: PageId = PageId(3);
const TREE: TreeId = TreeId(1);

/// Has nothing of loom's, so one does for all.
fn pool() -> &'static Arc<Pool> {
    static POOL: OnceLock<Arc<Pool>> = OnceLock::new();
    POOL.get_or_init(|| {
        let storage = kestrel_io::MemoryStorage::new();
        let options = StoreOptions { page_size: 4096 };
        let store = PageStore::create(&storage, options, 7, &CheckpointState::default()).unwrap();
        Pool::new(4096, 4, 1 << 20, Arc::new(store)).unwrap()
    })
}

fn tombstone(ts: u64) -> OwnedVersion {
    OwnedVersion::tombstone(PAGE, Timestamp(ts), pool())
}

fn delta(ts: u64, payload: &[u8]) -> OwnedVersion {
    let mut delta = OwnedVersion::delta(PAGE, TREE, payload, 0, pool());
    delta.header_mut().ts = Timestamp(ts);
    delta
}

/// Timestamps and payloads from a link down to the base; every version is held and let go of on the way.
fn walk(link: &Link, guard: &Guard) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut word = link.load(guard);
    while let Word::Version(version) = word {
        version.hold();
        found.push((version.ts.0, version.payload().to_vec()));
        word = version.header().next.load(guard);
        // SAFETY: the count that was just taken.
        unsafe { release(version.as_ptr()) };
    }
    found
}

/// Takes a word out of a link, and frees what it names once nobody knows it.
fn free(word: Word<'_>) {
    if let Word::Version(version) = word {
        // SAFETY: the chain's count; all other threads have ended.
        unsafe { release(version.as_ptr()) };
    }
}

#[test]
fn whoever_sees_a_version_sees_all_of_it() {
    loom::model(|| {
        let guard = epoch::pin();
        let link = loom::sync::Arc::new(Link::default());
        link.store(tombstone(1).publish(&guard));
        let reader = {
            let link = loom::sync::Arc::clone(&link);
            thread::spawn(move || walk(&link, &epoch::pin()))
        };
        // A commit, and another.
        for (ts, payload) in [(2, b"two".as_slice()), (3, b"three")] {
            let delta = delta(ts, payload);
            delta.version().next.store(link.load(&guard));
            link.store(delta.publish(&guard));
        }
        let found = reader.join().unwrap();
        let all = [(3, b"three".to_vec()), (2, b"two".to_vec()), (1, Vec::new())];
        assert!(!found.is_empty() && all.ends_with(&found), "{found:?}");

        let mut word = link.load(&guard);
        while let Word::Version(version) = word {
            word = version.header().next.load(&guard);
            free(Word::Version(version));
        }
    });
}

#[test]
fn a_reader_under_way_keeps_a_whole_chain() {
    let place = Location::from_bits(0x00ab_cdef_0123_4567 >> 1);
    loom::model(move || {
        let guard = epoch::pin();
        let link = loom::sync::Arc::new(Link::default());
        let old = tombstone(1).publish(&guard);
        let newer = delta(2, b"two");
        newer.version().next.store(old);
        let newer = newer.publish(&guard);
        link.store(newer);
        let reader = {
            let link = loom::sync::Arc::clone(&link);
            thread::spawn(move || {
                let guard = epoch::pin();
                let first = walk(&link, &guard);
                let whole = [(2, b"two".to_vec()), (1, Vec::new())];
                let merged = [(2, Vec::new())];
                assert!(first == whole || first == merged || first.is_empty(), "{first:?}");
                match link.load(&guard) {
                    Word::OnDisk(location) => assert_eq!(location, place),
                    Word::Version(version) => assert_eq!(version.ts, Timestamp(2)),
                    Word::Empty => panic!("the page does not go"),
                }
            })
        };
        // A consolidation, and an eviction of what it made.
        let merged = tombstone(2).publish(&guard);
        link.store(merged);
        link.store(Word::OnDisk(place));
        reader.join().unwrap();
        assert_eq!(link.load(&guard), Word::OnDisk(place));
        for word in [old, newer, merged] {
            free(word);
        }
    });
}
