//! The power goes off in recovery, and in the recovery from that.
//!
//! A *recovery* here is all that an opening, a commit and a close do. What a crash left is recovered, and before each change that
//! this makes, it crashes; each image of that is recovered, and before each change crashes again; what that leaves
//! is judged.

use std::sync::Arc;

use kestrel_io::CrashStorage;
use parking_lot::Mutex;

use super::judge::judge;
use super::scene::{Record, Scene};
use super::spy::{BeforeChanges, Spy};
use super::subsets::each_image;
use super::workload::{Op, Shape, Step, Wait, draw};
use super::{Size, Summary, in_units};
use crate::Random;

/// How many images of each crash go on.
const WIDTH: [usize; 2] = [3, 2];

pub(super) fn run(size: Size, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    let workloads = size.choose(1, 10, 100);
    let crashes = size.choose(1, 2, 6);
    in_units(workloads, progress, |unit, summary| {
        let number = size.rotation() * workloads + unit;
        summary.count("workloads", 1);
        for crash in 0..crashes {
            workload(number, crash, summary);
        }
    })
}

/// Runs a workload up to a call that is drawn, and recovers from that.
fn workload(number: u64, crash: u64, summary: &mut Summary) {
    let steps = draw(1000 + number, Shape::USUAL);
    let calls = {
        let storage = CrashStorage::new();
        let _ = Scene::new(Arc::new(storage.clone())).run(&steps);
        storage.operations().total()
    };
    let storage = CrashStorage::new();
    let mut random = Random::of(number, crash);
    let stop = random.below(calls);
    storage.stop_at(stop);
    let mut scene = Scene::new(Arc::new(storage.clone()));
    let _ = scene.run(&steps);
    let record = scene.record.lock().clone();
    let image = storage.crash(random.word());
    let mut place = vec![format!("workload {number}, crash at call {stop}")];
    recover(&image, &record, 0, &mut place, &mut random, summary);
}

fn steps() -> [Step; 2] {
    let ops = vec![Op::Create(0), Op::Put(0, b"recovered".to_vec(), vec![7; 300].into())];
    [Step::Commit(ops, Wait::Disk), Step::Reopen]
}

/// Recovers, crashing before each change on the way.
fn recover(
    image: &CrashStorage,
    record: &Record,
    depth: usize,
    place: &mut Vec<String>,
    random: &mut Random,
    summary: &mut Summary,
) {
    // What is found now must be found by every recovery of this image, too.
    let mut start = record.clone();
    match judge(&copy(image), record) {
        Ok(found) => start.reopened(found),
        Err(wrong) => return summary.finding(format!("{}: {wrong}", place.join(", "))),
    }
    let mut images: Vec<(CrashStorage, Record, String)> = Vec::new();
    let storage = copy(image);
    let kept: Arc<Mutex<Vec<(CrashStorage, Record, String)>>> = Arc::default();
    let known: Arc<Mutex<Option<Arc<Mutex<Record>>>>> = Arc::default();
    let mut call = 0_u64;
    let seed = random.word();
    let look = {
        let (storage, kept, known) = (storage.clone(), Arc::clone(&kept), Arc::clone(&known));
        move || {
            let Some(record) = known.lock().as_ref().map(|record| record.lock().clone()) else { return };
            let seed = seed ^ call;
            let mut all = Vec::new();
            each_image(&storage, seed, 16, |image, how| all.push((image, how.to_owned())));
            let mut random = Random::new(seed);
            for (image, how) in draw_some(all, WIDTH[depth], &mut random) {
                kept.lock().push((image, record.clone(), format!("change {call}, {how}")));
            }
            call += 1;
        }
    };
    let watch = Arc::new(BeforeChanges(Mutex::new(Box::new(look))));
    let mut scene = Scene::new(Arc::new(Spy { below: Arc::new(storage.clone()), watch }));
    *scene.record.lock() = start.clone();
    *known.lock() = Some(Arc::clone(&scene.record));
    if let Err(error) = scene.run(&steps()) {
        summary.finding(format!("{}: recovery, a commit or closing fails: {error}", place.join(", ")));
    }
    *known.lock() = None;
    drop(scene);
    images.append(&mut kept.lock());
    summary.count(["crashes in recovery", "crashes in the recovery from that"][depth], images.len() as u64);
    for (image, record, how) in images {
        place.push(how);
        if depth + 1 < WIDTH.len() {
            recover(&image, &record, depth + 1, place, random, summary);
        } else if let Err(wrong) = judge(&image, &record) {
            summary.finding(format!("{}: {wrong}", place.join(", ")));
        }
        place.pop();
    }
}

fn copy(image: &CrashStorage) -> CrashStorage {
    image.crash_with(|n| n - 1)
}

/// The first, the last, and others.
fn draw_some<T>(mut all: Vec<T>, count: usize, random: &mut Random) -> Vec<T> {
    let mut drawn = Vec::new();
    while drawn.len() < count && !all.is_empty() {
        let index = match drawn.len() {
            0 => 0,
            1 => all.len() - 1,
            _ => random.index(all.len()),
        };
        drawn.push(all.swap_remove(index));
    }
    drawn
}
