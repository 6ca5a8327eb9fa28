//! Readers, a writer and the background's work at once, in a pool much smaller than the data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kestrel_io::MemoryStorage;

use super::toy::{self, content};
use crate::{Change, CheckpointState, Fault, MAX_DELTAS, PageId, Pager, PagerOptions, Timestamp, TreeId};

const PAGES: u32 = 64;

/// The number of commits that a page's bytes tell of, one byte each; or a panic.
fn commits(pager: &Pager, page: PageId, at: Timestamp) -> Vec<u8> {
    loop {
        match pager.read(page, at) {
            Ok(state) => {
                let mut all = content(state.node()).to_vec();
                for index in (0..state.delta_count()).rev() {
                    all.extend_from_slice(state.delta(index));
                }
                return all;
            }
            Err(Fault::Missing(_)) => panic!("{page} is gone at {at}"),
            Err(Fault::NotResident(_)) => pager.load(page, at).unwrap(),
        }
    }
}

/// Each commit appends its timestamp's last byte to every page of a group, so all pages of a group agree in every state.
fn write(pager: &Pager, ts: Timestamp) {
    let group = ts.0 % 8;
    let mut changes = Vec::new();
    for index in 0..PAGES / 8 {
        let page = PageId(group as u32 * (PAGES / 8) + index);
        let head = pager.head(page).unwrap();
        if (head.deltas as usize) < MAX_DELTAS && head.accumulated < 1000 {
            changes.push(Change::Delta(pager.new_delta(page, TreeId(1), &[ts.0 as u8], 1)));
        } else {
            let mut all = commits(pager, page, pager.snapshots().applied());
            all.push(ts.0 as u8);
            if all.len() > 500 {
                all.drain(..400);
            }
            changes.push(Change::Image(toy::image(pager, page, &all)));
        }
    }
    pager.publish(changes, ts);
    pager.snapshots().set_applied(ts);
    pager.snapshots().raise_visible(ts);
}

#[test]
fn readers_see_whole_commits_whatever_the_background_does() {
    let rounds = if cfg!(miri) { 20 } else { 4000 };
    let storage = Arc::new(MemoryStorage::new());
    let options =
        PagerOptions { frames: if cfg!(miri) { 48 } else { 40 }, delta_bytes: 1 << 20, alone: false };
    let pager = toy::fresh(&storage, options);
    for _ in 0..PAGES {
        let page = pager.allocate_page().unwrap();
        pager.publish([Change::Image(toy::image(&pager, page, &[]))], Timestamp(1));
    }
    pager.snapshots().set_applied(Timestamp(1));
    pager.snapshots().raise_visible(Timestamp(1));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2_u32 {
            let (pager, done) = (&pager, &done);
            scope.spawn(move || {
                let mut round = reader;
                while !done.load(Ordering::Relaxed) {
                    let snapshot = pager.snapshots().begin_visible();
                    let group = round % 8;
                    let first = PageId(group * (PAGES / 8));
                    let expected = commits(pager, first, snapshot.at());
                    for index in 0..PAGES / 8 {
                        let page = PageId(first.0 + index);
                        assert_eq!(commits(pager, page, snapshot.at()), expected, "{page} at {snapshot:?}");
                    }
                    round = round.wrapping_add(1);
                }
            });
        }
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                pager.prune(100);
                pager.evict(8).unwrap();
                pager.consolidate(PageId(round % PAGES)).unwrap();
                if round % 50 == 49 {
                    let mut writer = pager.store().begin_checkpoint().unwrap();
                    // No gate here: `applied` first, so that every page of a commit it contains is in the set.
                    let snapshot = pager.snapshots().begin_applied();
                    let dirty = pager.take_dirty();
                    let state =
                        CheckpointState { timestamp: snapshot.at(), next_page: PAGES, ..Default::default() };
                    pager.write_dirty(&dirty, snapshot.at(), &mut writer, |_| {}).unwrap();
                    pager.restore_dirty(&dirty);
                    writer.finish(&state).unwrap();
                }
                round += 1;
            }
        });
        for round in 0..rounds {
            write(&pager, Timestamp(2 + round));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(pager.store().verify_claims(), Vec::<String>::new());
}
