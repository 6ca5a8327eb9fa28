//! The n-th call of the storage fails, for every n, in every way that it can, once or from then on.
//!
//! Required: an error of the kind that fits; the state of before the call; reads go on where it is not the disk's reads that fail; after
//! a write or sync of the log or the data file that failed, no more commits until the database is opened again; then every
//! acknowledged commit is there, and the rest of the workload runs.

use std::io;
use std::sync::Arc;

use kestrel_io::{CrashStorage, Fault, FaultEffect, Operation};
use kestreldb::{Database, Error, ErrorKind};
use parking_lot::Mutex;

use super::judge::{check, judge, read, verify};
use super::scene::{Record, Scene};
use super::spy::{Spy, Told, Watch};
use super::workload::{Op, Shape, Step, draw};
use super::{Size, Summary, in_units};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    name: &'static str,
    effect: FaultEffect,
}

const WAYS: [Way; 7] = [
    Way { name: "EIO", effect: FaultEffect::Error(io::ErrorKind::Other) },
    Way { name: "EIO, half written", effect: FaultEffect::Torn },
    Way { name: "ENOSPC", effect: FaultEffect::Error(io::ErrorKind::StorageFull) },
    Way { name: "EDQUOT", effect: FaultEffect::Error(io::ErrorKind::QuotaExceeded) },
    Way { name: "short", effect: FaultEffect::Short },
    Way { name: "EINTR", effect: FaultEffect::Error(io::ErrorKind::Interrupted) },
    Way { name: "sync fails", effect: FaultEffect::Error(io::ErrorKind::Other) },
];

impl Way {
    fn concerns(self, operation: Operation) -> bool {
        let sync = matches!(operation, Operation::SyncData | Operation::SyncDirectory);
        match self.name {
            "EIO" => !sync,
            "sync fails" => sync,
            "EIO, half written" => operation == Operation::Write,
            "ENOSPC" | "EDQUOT" => matches!(
                operation,
                Operation::Create | Operation::Write | Operation::SetLen | Operation::Preallocate
            ),
            _ => matches!(operation, Operation::Read | Operation::Write),
        }
    }

    /// Whether nobody may notice: it is tried again.
    fn is_silent(self, lasting: bool) -> bool {
        self.effect == FaultEffect::Short || (self.name == "EINTR" && !lasting)
    }
}

pub(super) fn run(size: Size, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    let workloads = size.choose(1, 20, 200);
    let shape = size.choose(Shape { steps: 4, ..Shape::SHORT }, Shape::SHORT, Shape::SHORT);
    in_units(workloads, progress, |unit, summary| {
        workload(size.rotation() * workloads + unit, shape, summary);
    })
}

fn workload(number: u64, shape: Shape, summary: &mut Summary) {
    let steps = draw(2000 + number, shape);
    // Which calls there are, if none fails.
    let calls: Arc<Calls> = Arc::default();
    let spy = Spy { below: Arc::new(CrashStorage::new()), watch: Arc::clone(&calls) };
    let mut scene = Scene::new(Arc::new(spy));
    if let Err(error) = scene.run(&steps) {
        return summary.finding(format!("workload {number} fails without a fault: {error}"));
    }
    drop(scene);
    let operations = std::mem::take(&mut *calls.all.lock());
    summary.count("workloads", 1);
    for (n, &operation) in operations.iter().enumerate() {
        for way in WAYS.into_iter().filter(|way| way.concerns(operation)) {
            for lasting in [false, true] {
                summary.count(way.name, 1);
                let fault = Planned { n: n as u64, operation, way, lasting };
                if let Err(wrong) = fail_one(&steps, fault, summary) {
                    let once = if lasting { "from then on" } else { "once" };
                    summary.finding(format!(
                        "workload {number}, call {n} ({operation:?}), {} {once}: {wrong}",
                        way.name
                    ));
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Planned {
    n: u64,
    operation: Operation,
    way: Way,
    lasting: bool,
}

/// Notes all calls, and those that failed.
#[derive(Default)]
struct Calls {
    all: Mutex<Vec<Operation>>,
    failed: Mutex<Vec<(Operation, String, io::ErrorKind)>>,
}

impl Watch for Calls {
    fn before(&self, (operation, ..): Told<'_>) {
        self.all.lock().push(operation);
    }

    fn failed(&self, (operation, name, ..): Told<'_>, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::AlreadyExists {
            self.failed.lock().push((operation, name.to_owned(), error.kind()));
        }
    }
}

fn fail_one(steps: &[Step], planned: Planned, summary: &mut Summary) -> Result<(), String> {
    let storage = CrashStorage::new();
    // The number is counted over all calls, but lasting failures go on to hit calls of the same sort only.
    storage.fail_from(
        planned.n,
        Fault {
            operation: Some(planned.operation),
            after: 0,
            lasting: planned.lasting,
            effect: planned.way.effect,
        },
    );
    let calls: Arc<Calls> = Arc::default();
    let below = Arc::new(storage.clone());
    let mut scene = Scene::new(Arc::new(Spy { below, watch: Arc::clone(&calls) }));
    for (at, step) in steps.iter().enumerate() {
        let Err(error) = scene.step(step) else { continue };
        if planned.way.is_silent(planned.lasting) {
            return Err(format!("step {at} fails, and should have tried again: {error}"));
        }
        summary.count("errors", 1);
        let failed = std::mem::take(&mut *calls.failed.lock());
        let wrong = |wrong: String| format!("step {at} fails ({error}), then {wrong}");
        fitting(&error, &failed)?;
        if let Some(db) = scene.db.clone() {
            still_readable(&db, &scene.record.lock(), planned, &storage).map_err(wrong)?;
            storage.clear_faults();
            still_readable(&db, &scene.record.lock(), planned, &storage).map_err(wrong)?;
            if must_be_read_only(&failed) {
                summary.count("read-only since then", 1);
                refuses(&mut scene).map_err(wrong)?;
            }
        }
        storage.clear_faults();
        // What a crash leaves of it, before anything is closed.
        for seed in 0..3 {
            judge(&storage.crash(planned.n * 3 + seed), &scene.record.lock())
                .map_err(|after| wrong(format!("after a crash, {after}")))?;
        }
        // And what is left without one.
        scene.db = None;
        let db = scene.database().map_err(|error| wrong(format!("it cannot be opened again: {error}")))?;
        let mut record = scene.record.lock();
        let found = check(&db, &record).map_err(|after| wrong(format!("opened again, {after}")))?;
        record.reopened(found);
        drop(record);
        return scene
            .run(&steps[at + 1..])
            .map_err(|error| wrong(format!("the rest of the workload fails: {error}")))
            .and_then(|()| end(&mut scene));
    }
    storage.clear_faults();
    summary.count("went unnoticed", 1);
    end(&mut scene)
}

/// The whole state, after the last step and after a power cut.
fn end(scene: &mut Scene) -> Result<(), String> {
    let db = scene.database().map_err(|error| format!("in the end, it cannot be opened: {error}"))?;
    db.flush().map_err(|error| format!("in the end, it cannot be flushed: {error}"))?;
    let record = scene.record.lock().clone();
    let last = Record { durable: record.states.len() - 1, ..record };
    check(&db, &last).map(drop).map_err(|wrong| format!("in the end, {wrong}"))
}

/// The kind of an error fits what failed below.
fn fitting(error: &Error, failed: &[(Operation, String, io::ErrorKind)]) -> Result<(), String> {
    let full =
        |kind: &io::ErrorKind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let fits = match error.kind() {
        ErrorKind::Io | ErrorKind::ReadOnly => true,
        ErrorKind::DiskFull => failed.iter().any(|(_, _, kind)| full(kind)),
        _ => false,
    };
    if fits && !error.to_string().is_empty() {
        Ok(())
    } else {
        Err(format!("an error of a kind that does not fit: {error:?}"))
    }
}

/// What can be read is one of the states that may be visible. Reads fail only where the disk's reads do.
fn still_readable(
    db: &Database,
    record: &Record,
    planned: Planned,
    storage: &CrashStorage,
) -> Result<(), String> {
    let reads_fail = planned.lasting
        && matches!(planned.operation, Operation::Read | Operation::Len)
        && storage.has_faults();
    match read(db) {
        Err(error) if reads_fail && error.kind() == ErrorKind::Io => Ok(()),
        Err(error) => Err(format!("it cannot be read any more: {error}")),
        Ok(Err(wrong)) => Err(wrong),
        // What failed is not visible.
        Ok(Ok(found)) if record.states[record.durable..].contains(&found) => match verify(db) {
            // It is right to say what a failed call left half done.
            Ok(damages) => {
                let left_over = |damage: &String| {
                    damage.contains("superblock") || damage.contains("does not refer to this file")
                };
                match damages.iter().find(|damage| !reads_fail && !left_over(damage)) {
                    Some(damage) => Err(format!("verification finds {damage}")),
                    None => Ok(()),
                }
            }
            Err(error) if reads_fail && error.kind() == ErrorKind::Io => Ok(()),
            Err(error) => Err(format!("it cannot be verified any more: {error}")),
        },
        Ok(Ok(found)) => Err(super::judge::difference(&found, record)),
    }
}

/// Whether nobody knows any more what the log or the data file hold.
fn must_be_read_only(failed: &[(Operation, String, io::ErrorKind)]) -> bool {
    failed.iter().any(|(operation, name, kind)| match operation {
        Operation::SyncData => name.starts_with("kestrel.log.") || name == "kestrel.data",
        Operation::Write => name.starts_with("kestrel.log.") && *kind != io::ErrorKind::Interrupted,
        _ => false,
    })
}

fn refuses(scene: &mut Scene) -> Result<(), String> {
    let step = Step::Commit(
        vec![Op::Create(0), Op::Put(0, b"late".to_vec(), vec![1].into())],
        super::workload::Wait::Disk,
    );
    match scene.step(&step) {
        Err(error) if error.kind() == ErrorKind::ReadOnly => Ok(()),
        Err(error) => Err(format!("a commit is refused, but with {error:?}")),
        Ok(()) => Err("it takes a commit".to_owned()),
    }
}
