//! Random histories against a map of all states that a snapshot may ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use kestrel_io::MemoryStorage;
use proptest::prelude::*;

use super::toy::{self, OPTIONS, content};
use crate::{Change, CheckpointState, Fault, MAX_DELTAS, PageId, Pager, Snapshot, Timestamp, TreeId};

/// Pages by id, as of one commit.
type Pages = BTreeMap<u32, Vec<u8>>;

struct World {
    storage: Arc<MemoryStorage>,
    pager: Pager,
    pages: Pages,
    snapshots: Vec<(Snapshot, Pages)>,
    now: Timestamp,
    /// The last checkpoint.
    durable: Pages,
}

#[derive(Clone, Debug)]
enum Step {
    Create(Vec<u8>),
    Replace(usize, Vec<u8>),
    Append(usize, Vec<u8>),
    Free(usize),
    Snapshot,
    DropSnapshot(usize),
    Consolidate(usize),
    Evict(usize),
    Prune(usize),
    Checkpoint,
    Reopen,
    Spill(Vec<u8>),
    Blob(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        4 => bytes().prop_map(Step::Create),
        4 => (any::<usize>(), bytes()).prop_map(|(at, bytes)| Step::Replace(at, bytes)),
        12 => (any::<usize>(), bytes()).prop_map(|(at, bytes)| Step::Append(at, bytes)),
        2 => any::<usize>().prop_map(Step::Free),
        2 => Just(Step::Snapshot),
        2 => any::<usize>().prop_map(Step::DropSnapshot),
        3 => any::<usize>().prop_map(Step::Consolidate),
        3 => (1_usize..20).prop_map(Step::Evict),
        3 => (1_usize..50).prop_map(Step::Prune),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => bytes().prop_map(Step::Spill),
        1 => (1_usize..20_000).prop_map(Step::Blob),
    ]
}

impl World {
    fn new() -> World {
        let storage = Arc::new(MemoryStorage::new());
        let pager = toy::fresh(&storage, OPTIONS);
        World {
            storage,
            pager,
            pages: Pages::new(),
            snapshots: Vec::new(),
            now: Timestamp(0),
            durable: Pages::new(),
        }
    }

    fn pick(&self, at: usize) -> Option<PageId> {
        let ids: Vec<u32> =
            self.pages.iter().filter(|(_, bytes)| bytes.len() < 4000).map(|(&id, _)| id).collect();
        (!ids.is_empty()).then(|| PageId(ids[at % ids.len()]))
    }

    fn publish(&mut self, change: Change) {
        self.now = self.now.next();
        self.pager.publish([change], self.now);
        self.pager.snapshots().set_applied(self.now);
        self.pager.snapshots().raise_visible(self.now);
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Create(bytes) => {
                let page = self.pager.allocate_page().unwrap();
                let frame = toy::image(&self.pager, page, &bytes);
                self.publish(Change::Image(frame));
                self.pages.insert(page.0, bytes);
            }
            Step::Replace(at, bytes) => {
                let Some(page) = self.pick(at) else { return };
                let frame = toy::image(&self.pager, page, &bytes);
                self.publish(Change::Image(frame));
                self.pages.insert(page.0, bytes);
            }
            Step::Append(at, bytes) => {
                let Some(page) = self.pick(at) else { return };
                let head = self.pager.head(page).unwrap();
                let room = head.accumulated as usize + bytes.len() <= self.pager.capacity();
                if (head.deltas as usize) < MAX_DELTAS && room {
                    let delta = self.pager.new_delta(page, TreeId(1), &bytes, bytes.len() as u32);
                    self.publish(Change::Delta(delta));
                    self.pages.get_mut(&page.0).unwrap().extend_from_slice(&bytes);
                } else {
                    while !self.pager.consolidate(page).unwrap() {}
                    assert_eq!(self.pager.head(page).unwrap().deltas, 0);
                }
            }
            Step::Free(at) => {
                let Some(page) = self.pick(at) else { return };
                self.publish(Change::Free(page));
                self.pages.remove(&page.0);
            }
            Step::Snapshot => {
                if self.snapshots.len() < 4 {
                    let snapshot = self.pager.snapshots().begin_visible();
                    assert_eq!(snapshot.at(), self.now);
                    self.snapshots.push((snapshot, self.pages.clone()));
                }
            }
            Step::DropSnapshot(at) => {
                if !self.snapshots.is_empty() {
                    let at = at % self.snapshots.len();
                    self.snapshots.swap_remove(at);
                }
            }
            Step::Consolidate(at) => {
                let Some(page) = self.pick(at) else { return };
                while !self.pager.consolidate(page).unwrap() {}
            }
            Step::Evict(count) => {
                self.pager.evict(count).unwrap();
            }
            Step::Prune(limit) => {
                self.pager.prune(limit);
            }
            Step::Checkpoint => self.checkpoint(),
            Step::Reopen => {
                self.snapshots.clear();
                self.pager = toy::reopen(&self.storage, OPTIONS);
                self.pages = self.durable.clone();
                self.now = self.pager.snapshots().visible();
                assert_eq!(self.pager.store().verify_claims(), Vec::<String>::new());
            }
            Step::Spill(bytes) => {
                let page = self.pager.allocate_page().unwrap();
                let frame = toy::image(&self.pager, page, &bytes);
                let (location, len) = self.pager.spill(std::slice::from_ref(&frame)).unwrap()[0];
                drop(frame);
                let back = self.pager.unspill(page, TreeId(1), location).unwrap();
                assert_eq!(content(back.payload()), bytes);
                self.publish(Change::Spilled { page, tree: TreeId(1), location, len });
                self.pages.insert(page.0, bytes);
            }
            Step::Blob(len) => {
                let page = self.pager.allocate_page().unwrap();
                let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
                let (location, checksum) = self.pager.write_blob(page, TreeId(1), &bytes).unwrap();
                self.publish(Change::Blob { page, tree: TreeId(1), location, len: len as u32 });
                assert_eq!(self.pager.read_blob(page, self.now, len as u32, checksum).unwrap(), bytes);
                self.publish(Change::Free(page));
            }
        }
    }

    fn checkpoint(&mut self) {
        let mut writer = self.pager.store().begin_checkpoint().unwrap();
        let dirty = self.pager.take_dirty();
        let snapshot = self.pager.snapshots().begin_applied();
        let next_page = self.pager.page_limit();
        let state = CheckpointState { timestamp: snapshot.at(), next_page, ..CheckpointState::default() };
        self.pager.write_dirty(&dirty, snapshot.at(), &mut writer, |_| {}).unwrap();
        writer.finish(&state).unwrap();
        self.durable = self.pages.clone();
    }

    fn check(&self) {
        let now = [(self.now, &self.pages)];
        for (at, pages) in now.into_iter().chain(self.snapshots.iter().map(|(s, pages)| (s.at(), pages))) {
            for id in 0..self.pager.page_limit() {
                assert_eq!(read(&self.pager, PageId(id), at), pages.get(&id).cloned(), "page {id} at {at}");
            }
        }
    }
}

fn read(pager: &Pager, page: PageId, at: Timestamp) -> Option<Vec<u8>> {
    loop {
        match pager.read(page, at) {
            Ok(state) => {
                let mut all = content(state.node()).to_vec();
                for index in (0..state.delta_count()).rev() {
                    all.extend_from_slice(state.delta(index));
                }
                return Some(all);
            }
            Err(Fault::Missing(_)) => return None,
            Err(Fault::NotResident(_)) => pager.load(page, at).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_sees_its_own_state(steps in proptest::collection::vec(step(), 1..if cfg!(miri) { 40 } else { 150 })) {
        let mut world = World::new();
        for step in steps {
            world.apply(step);
            world.check();
        }
    }
}

#[test]
fn a_long_reader_costs_one_segment_a_page() {
    let mut world = World::new();
    for index in 0..4 {
        world.apply(Step::Create(vec![index; 10]));
    }
    world.apply(Step::Snapshot);
    for round in 0..if cfg!(miri) { 60 } else { 2000_usize } {
        world.apply(Step::Replace(round, vec![round as u8; 20]));
        world.pager.prune(64);
        assert!(
            world.pager.statistics().superseded <= 4 + 1,
            "round {round}: {:?}",
            world.pager.statistics()
        );
    }
    world.check();
    world.snapshots.clear();
    world.pager.prune(64);
    assert_eq!(world.pager.statistics().superseded, 0);
}

#[test]
fn values_outlive_the_pager_and_hold_their_frame() {
    let mut world = World::new();
    world.apply(Step::Create(b"kept".to_vec()));
    let page = world.pick(0).unwrap();
    let held = world.pager.read(page, world.now).unwrap().hold(None).unwrap();
    for round in 0..if cfg!(miri) { 20 } else { 100_usize } {
        world.apply(Step::Create(vec![round as u8; 10]));
        world.apply(Step::Evict(10));
    }
    world.apply(Step::Free(0));
    world.pager.prune(64);
    drop(world);
    assert_eq!(content(&held), b"kept");
}

#[test]
fn a_pool_of_held_frames_is_an_error_and_recovers() {
    let mut world = World::new();
    let private: Vec<_> = (0..OPTIONS.frames)
        .map(|index| world.pager.take_frame(PageId(index as u32), TreeId(1)).unwrap())
        .collect();
    let error = world.pager.take_frame(PageId(99), TreeId(1)).unwrap_err();
    assert!(matches!(error, crate::Error::BudgetExhausted { .. }), "{error}");
    drop(private);
    world.apply(Step::Create(vec![1]));
    world.check();
}
