//! What reading writes to: `docs/design.md`, "What a get writes".

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_epoch as epoch;
use kestrel_io::MemoryStorage;

use super::toy::{self, content};
use crate::link::Word;
use crate::{Change, PageId, Pager, PagerOptions, Snapshot, Timestamp};

/// Enough frames for the sum of what is held to be kept about, as in a pool of usual size.
const OPTIONS: PagerOptions = PagerOptions { frames: 600, delta_bytes: 1 << 20, alone: false };

fn with_a_page() -> (Pager, PageId) {
    let pager = toy::fresh(&Arc::new(MemoryStorage::new()), OPTIONS);
    let page = pager.allocate_page().unwrap();
    pager.publish([Change::Image(toy::image(&pager, page, b"kestrel"))], Timestamp(1));
    pager.snapshots().set_applied(Timestamp(1));
    pager.snapshots().raise_visible(Timestamp(1));
    (pager, page)
}

/// All that readers could share: counts of references, the sum of what is held, the page's chances and references.
fn shared(pager: &Pager, page: PageId) -> (usize, usize, isize, u8, u32) {
    let guard = epoch::pin();
    let Word::Version(image) = pager.link(page).load(&guard) else { panic!("the page is in memory") };
    (
        Arc::strong_count(pager.snapshots()),
        Arc::strong_count(&pager.pool),
        pager.pool.held(),
        image.chances.load(Ordering::Relaxed),
        image.refs.count(),
    )
}

/// Begins, reads, keeps a value; what threads share, seen while all of that is there; and lets go of it.
fn read_once(pager: &Pager, page: PageId) -> (usize, usize, isize, u8, u32) {
    let snapshot = Snapshot::visible(&**pager.snapshots());
    let held = {
        let guard = epoch::pin();
        pager.read_under(&guard, page, snapshot.at()).unwrap().hold(None).unwrap()
    };
    assert_eq!(content(&held), b"kestrel");
    shared(pager, page)
}

#[test]
fn reading_writes_to_nothing_shared_but_the_references_of_what_is_kept() {
    let (pager, page) = with_a_page();
    // The first look gives the page its chances.
    read_once(&pager, page);
    let before = shared(&pager, page);
    for _ in 0..10 {
        let meanwhile = read_once(&pager, page);
        let (.., refs) = before;
        assert_eq!(meanwhile, (before.0, before.1, before.2, before.3, refs + 1));
        assert_eq!(shared(&pager, page), before);
    }
}

#[test]
fn many_held_pages_are_noticed_whoever_holds_them() {
    let (pager, page) = with_a_page();
    let hold = || pager.read(page, Timestamp(1)).unwrap().hold(None);
    let mut held = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let taken = scope.spawn(|| (0..OPTIONS.frames / 16).map_while(|_| hold()).collect::<Vec<_>>());
            held.extend(taken.join().unwrap());
        }
    });
    held.extend((0..OPTIONS.frames).map_while(|_| hold()));
    // One in each group of threads may not be in the sum yet.
    let most = OPTIONS.frames / 8;
    assert!((most..=most + 4).contains(&held.len()), "{} pages are held", held.len());
    drop(held);
    assert!(hold().is_some(), "let go of in another thread");
    assert!(pager.pool.held().abs() <= 4);
}
