//! Every call of a workload is a crash point.

use std::sync::Arc;

use kestrel_io::{CrashStorage, Storage};
use parking_lot::Mutex;

use super::judge::{check, judge, judge_in};
use super::scene::{Record, Scene};
use super::spy::{BeforeChanges, Spy};
use super::subsets::each_image;
use super::workload::{Op, Shape, draw};
use super::{Size, Summary, in_units};

/// One image of so many is not only looked at: it is worked with, closed, opened again.
const WORKED_WITH: u64 = 8;

/// Which commit follows on a recovery.
fn another() -> Vec<Op> {
    vec![Op::Create(3), Op::Put(3, b"after".to_vec(), b"the crash".as_slice().into())]
}

pub(super) fn run(size: Size, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    let workloads = size.choose(4, 12, 240);
    let shape = size.choose(Shape::SHORT, Shape::USUAL, Shape::USUAL);
    let limit = size.choose(32, usize::MAX, usize::MAX);
    in_units(workloads, progress, |unit, summary| {
        workload(size.rotation() * workloads + unit, shape, limit, summary);
    })
}

fn workload(number: u64, shape: Shape, limit: usize, summary: &mut Summary) {
    let storage = CrashStorage::new();
    let found = Arc::new(Mutex::new(Summary::default()));
    // The record comes to be with the scene, which needs the storage first.
    let record: Arc<Mutex<Option<Arc<Mutex<Record>>>>> = Arc::default();
    let mut point = 0;
    let mut look = {
        let (storage, found, record) = (storage.clone(), Arc::clone(&found), Arc::clone(&record));
        move || {
            if let Some(record) = &*record.lock() {
                let record = record.lock().clone();
                at_point(&storage, &record, (number, point), limit, &mut found.lock());
                point += 1;
            }
        }
    };
    let watch = Arc::new(BeforeChanges(Mutex::new(Box::new(look.clone()))));
    let mut scene = Scene::new(Arc::new(Spy { below: Arc::new(storage.clone()), watch }));
    *record.lock() = Some(Arc::clone(&scene.record));
    if let Err(error) = scene.run(&draw(number, shape)) {
        summary.finding(format!("workload {number} fails without a fault: {error}"));
    }
    look();
    *record.lock() = None;
    drop(scene);
    summary.count("workloads", 1);
    *summary += std::mem::take(&mut *found.lock());
}

fn at_point(
    storage: &CrashStorage,
    record: &Record,
    (workload, point): (u64, u64),
    limit: usize,
    summary: &mut Summary,
) {
    let mut images = 0;
    each_image(storage, workload << 32 | point, limit, |image, how| {
        let outcome = if (images + point) % WORKED_WITH == 0 {
            work_with(&image, record)
        } else {
            judge(&image, record).map(drop)
        };
        if let Err(wrong) = outcome {
            summary.finding(format!(
                "workload {workload}, crash point {point} ({} states, durable {}), {how}: {wrong}",
                record.states.len(),
                record.durable
            ));
        }
        images += 1;
    });
    summary.count("crash points", 1);
    summary.count("images", images);
}

/// Opens, commits, closes, opens again, twice: nothing gets lost by what comes after a recovery.
fn work_with(image: &CrashStorage, record: &Record) -> Result<(), String> {
    let storage: Arc<dyn Storage> = Arc::new(image.clone());
    let mut after = Record::new();
    after.reopened(judge_in(Arc::clone(&storage), record, drop)?);
    for cycle in 0..2 {
        let mut scene = Scene::new(Arc::clone(&storage));
        *scene.record.lock() = after.clone();
        let steps = [super::workload::Step::Commit(another(), super::workload::Wait::Disk)];
        scene.run(&steps).map_err(|error| format!("after recovery {cycle}, a commit fails: {error}"))?;
        let db = scene.database().map_err(|error| error.to_string())?;
        let now = scene.record.lock().clone();
        check(&db, &now).map_err(|wrong| format!("after recovery {cycle} and a commit: {wrong}"))?;
        scene.db = None;
        if cycle == 0 {
            db.close().map_err(|error| format!("after recovery, closing fails: {error}"))?;
            after = now;
        } else {
            let left = image.crash_with(|_| 0);
            image.stop_at(image.operations().total());
            judge(&left, &now).map_err(|wrong| format!("after recovery, a commit and a crash: {wrong}"))?;
        }
    }
    Ok(())
}
