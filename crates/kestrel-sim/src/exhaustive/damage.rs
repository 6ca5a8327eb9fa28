//! A database at rest, what was done to its files, and what it may show then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kestrel_io::{CrashStorage, Operation};
use kestreldb::{Database, Error, ErrorKind, ReadTxn};
use parking_lot::Mutex;

use super::log_map::LogMap;
use super::scene::{Scene, builder};
use super::spy::{Spy, Told, Watch};
use super::workload::{Op, Shape, Step, TREES, Wait, draw};
use crate::model::{Contents, Entries};

/// Nothing takes longer.
const TIME_MAX: Duration = Duration::from_secs(1);

/// An intact database with changes that are only in the log, and an older copy of its files.
pub(super) struct Original {
    pub(super) storage: CrashStorage,
    pub(super) older: CrashStorage,
    /// Its states from the newest checkpoint on.
    states: Vec<Contents>,
    pub(super) log: LogMap,
    /// What opening, reading and verifying it reads: names and ranges.
    pub(super) read: Vec<(String, u64, u64)>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Harm {
    pub(super) file: String,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// How a damaged database took it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// All is right: the bytes are not in use, or there twice.
    Right,
    /// It cannot be opened, and says why.
    Refused,
    /// Some of it cannot be read, and says why.
    Detected,
    /// The newest commits are gone, which nobody can tell from a torn tail.
    Cut,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Right => "right: not in use, or there twice",
            Outcome::Refused => "refused at opening",
            Outcome::Detected => "found when read",
            Outcome::Cut => "looks like a torn tail",
        }
    }
}

impl Original {
    /// The database of a number: a workload, without anything pending; the last step is a commit.
    pub(super) fn make(number: u64) -> Result<Original, String> {
        let mut steps = draw(3000 + number, Shape { steps: 40, keys: 50, large: 6 });
        steps.retain(|step| *step != Step::Reopen);
        let storage = CrashStorage::new();
        let mut scene = Scene::new(Arc::new(storage.clone()));
        let failed = |error: Error| format!("database {number} cannot be made: {error}");
        let half = steps.len() * 2 / 3;
        scene.run(&steps[..half]).map_err(failed)?;
        scene.run(&[Step::Checkpoint]).map_err(failed)?;
        let older = storage.crash_with(|n| n - 1);
        scene.run(&steps[half..]).map_err(failed)?;
        scene.run(&[Step::Checkpoint]).map_err(failed)?;
        let contents = scene.record.lock().newest().clone();
        scene.run(&tail(&contents)).map_err(failed)?;
        let storage = storage.crash_with(|_| 0);
        let states = std::mem::take(&mut scene.record.lock().states);
        drop(scene);
        let log = LogMap::read(&storage);
        if log.commits() != 6 {
            return Err(format!("database {number} has {} commits in its log instead of 6", log.commits()));
        }
        let states = states.into_iter().rev().take(log.commits() + 1).collect();
        let mut original = Original { storage, older, states, log, read: Vec::new() };
        original.read = original.reads()?;
        Ok(original)
    }

    pub(super) fn copy(&self) -> CrashStorage {
        self.storage.crash_with(|n| n - 1)
    }

    fn reads(&self) -> Result<Vec<(String, u64, u64)>, String> {
        let watch: Arc<Reads> = Arc::default();
        let copy = self.copy();
        let spy = Spy { below: Arc::new(copy.clone()), watch: Arc::clone(&watch) };
        let db = builder().open_with_storage(Arc::new(spy)).map_err(|error| error.to_string())?;
        let whole = Harm { file: String::new(), start: 0, end: 0 };
        match self.look(&db, &whole)? {
            Outcome::Right => {}
            other => return Err(format!("an intact database is {other:?}")),
        }
        copy.stop_at(copy.operations().total());
        Ok(std::mem::take(&mut *watch.0.lock()))
    }

    /// Whether a byte is ever read.
    pub(super) fn is_read(&self, file: &str, at: u64) -> bool {
        self.read.iter().any(|(name, start, end)| name == file && (*start..*end).contains(&at))
    }

    /// Opens what was made of a copy, and judges.
    pub(super) fn judge(&self, image: &CrashStorage, harm: &Harm) -> Result<Outcome, String> {
        let begun = Instant::now();
        let outcome = match builder().create(false).open_with_storage(Arc::new(image.clone())) {
            Err(error) => named(&error, harm).map(|()| Outcome::Refused),
            Ok(db) => {
                let outcome = self.look(&db, harm);
                image.stop_at(image.operations().total());
                drop(db);
                outcome
            }
        };
        if begun.elapsed() > TIME_MAX {
            return Err(format!("it took {:?}", begun.elapsed()));
        }
        outcome
    }

    fn look(&self, db: &Database, harm: &Harm) -> Result<Outcome, String> {
        let snapshot = db.begin_read().map_err(|error| format!("no snapshot can be had: {error}"))?;
        let report = db.verify().map_err(|error| format!("it cannot be verified: {error}"))?;
        let (cut, proven) = self.may_vanish(harm);
        let mut seen = Err("nothing was compared".to_owned());
        for (lost, state) in self.states.iter().enumerate() {
            if lost != 0 && (proven || lost != cut) {
                continue;
            }
            seen = compare(&snapshot, state).map(|errors| (lost, errors));
            if seen.is_ok() {
                break;
            }
        }
        let (lost, errors) = seen?;
        for error in &errors {
            named(error, harm)?;
        }
        if !errors.is_empty() && report.damages.is_empty() {
            return Err(format!("verification finds nothing, and yet {}", errors[0]));
        }
        // What only follows from a damage (a tree has fewer entries) names its tree; the damage itself, its file.
        if !report.damages.is_empty() && report.damages.iter().all(|damage| damage.file.is_none()) {
            return Err(format!("verification names no file: {}", report.damages[0]));
        }
        Ok(match (lost, report.damages.is_empty()) {
            (0, true) => Outcome::Right,
            (_, false) => Outcome::Detected,
            _ => Outcome::Cut,
        })
    }

    /// How many of the newest commits may be gone, and whether that would be noticed.
    fn may_vanish(&self, harm: &Harm) -> (usize, bool) {
        let Some(base) = harm.file.strip_prefix("kestrel.log.").and_then(|base| base.parse::<u64>().ok())
        else {
            return (0, true);
        };
        self.log.harm(base + harm.start, base + harm.end).unwrap_or((0, true))
    }
}

/// Commits that stay in the log only, each of which changes the state: one by one durable, then some in a group.
fn tail(contents: &Contents) -> Vec<Step> {
    let mut steps = Vec::new();
    for (number, wait) in
        (0_u8..).zip([Wait::Disk, Wait::Disk, Wait::Disk, Wait::Nothing, Wait::Nothing, Wait::Nothing])
    {
        let key = format!("key {:03}", 7 * number).into_bytes();
        let mut ops = vec![Op::Put(0, key.clone(), vec![number; 100 * usize::from(number)].into())];
        ops.push(Op::Put(1, b"tail".to_vec(), vec![number; 9].into()));
        if contents.contains_key(TREES[2]) {
            ops.push(Op::Delete(2, key));
        }
        steps.push(Step::Commit(ops, wait));
    }
    steps.push(Step::Flush);
    steps
}

/// Compares all that a snapshot shows with a state: what cannot be read, or what is wrong.
fn compare(snapshot: &ReadTxn, state: &Contents) -> Result<Vec<Error>, String> {
    let trees = snapshot.trees().map_err(|error| error.to_string())?;
    if !trees.iter().map(|info| &info.name).eq(state.keys()) {
        return Err("there are other trees".to_owned());
    }
    let mut errors = Vec::new();
    for (name, entries) in state {
        let tree = match snapshot.existing_tree(name) {
            Ok(Some(tree)) => tree,
            Ok(None) => return Err(format!("tree {name} is listed and not there")),
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for (key, value) in entries.iter() {
            match snapshot.get(&tree, key) {
                Ok(Some(found)) if found[..] == value[..] => {}
                Ok(_) => return Err(format!("{name}/{} has another value", String::from_utf8_lossy(key))),
                Err(error) => errors.push(error),
            }
        }
        match snapshot.len(&tree) {
            Ok(len) if len == entries.len() as u64 => {}
            Ok(len) => return Err(format!("tree {name} has {len} entries instead of {}", entries.len())),
            Err(error) => errors.push(error),
        }
        scan(snapshot, &tree, name, entries, &mut errors)?;
    }
    Ok(errors)
}

/// A scan shows all entries in order, or ends with an error.
fn scan(
    snapshot: &ReadTxn,
    tree: &kestreldb::Tree,
    name: &str,
    entries: &Entries,
    errors: &mut Vec<Error>,
) -> Result<(), String> {
    let mut left = entries.iter();
    let range = match snapshot.range(tree, ..) {
        Ok(range) => range,
        Err(error) => {
            errors.push(error);
            return Ok(());
        }
    };
    for entry in range {
        match entry {
            Err(error) => {
                errors.push(error);
                return Ok(());
            }
            Ok((key, value)) => {
                if left.next().is_none_or(|(k, v)| k[..] != key[..] || v[..] != value[..]) {
                    return Err(format!("a scan of {name} shows {} wrongly", String::from_utf8_lossy(&key)));
                }
            }
        }
    }
    if left.next().is_some() { Err(format!("a scan of {name} ends too early")) } else { Ok(()) }
}

/// An error is of a kind that says damage, and names the file, and where it can the place.
fn named(error: &Error, harm: &Harm) -> Result<(), String> {
    let message = error.to_string();
    let kind = matches!(
        error.kind(),
        ErrorKind::Corrupted | ErrorKind::NotADatabase | ErrorKind::NewerFormat | ErrorKind::NotFound
    );
    let in_data = message.contains("data file") || message.contains("kestrel.data");
    let in_log = message.contains("kestrel.log.") || message.contains("the log");
    // Where a superblock is damaged, the other one may want a log that is not there any more.
    let file = in_log || (in_data && !harm.file.starts_with("kestrel.log."));
    if kind && file { Ok(()) } else { Err(format!("the error does not say what is damaged: {error:?}")) }
}

/// What is read, by name and range.
#[derive(Default)]
struct Reads(Mutex<Vec<(String, u64, u64)>>);

impl Watch for Reads {
    fn before(&self, (operation, name, offset, len): Told<'_>) {
        if operation == Operation::Read {
            self.0.lock().push((name.to_owned(), offset, offset + len));
        }
    }
}
