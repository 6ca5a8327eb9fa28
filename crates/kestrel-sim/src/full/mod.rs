//! A disk that is full, on a real file system that is small.
//!
//! A round: writers work until the disk is full, which has to be an error that says so, to each of them. Then
//! 1. reads go on, and all that is there is [judged](crate::writers): a refused commit is not there;
//! 2. entries are deleted: how many of these commits there is room for is told;
//! 3. the database is closed and opened again, the disk being full as before, with all that was promised. If recovery needs room
//!    that is not there, that has to be an error that says so, and changes nothing;
//! 4. once there is room, it is written to as before.
//!
//! Mounting needs rights that not everybody has. Without them nothing is done, and that is said.

mod mount;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use clap::Args;
use kestreldb::{Database, Error, ErrorKind, Timestamp};

use crate::place::Place;
use crate::writers::{Cut, Expected, OTHER, Record, Setting, Trees, Witness, cut, judge};
use mount::{Kind, Mount};

/// Bytes of the file system.
const SIZE: u64 = 24 << 20;
/// Entries to delete when the disk is full, and the bytes of each.
const SPARE_ENTRIES: u32 = 40;
const SPARE_BYTES: usize = 20_000;
/// How many transactions there have to be at most before the disk is full.
const TRANSACTIONS_MAX: u64 = 200_000;

/// Fills a small file system, and looks how the database takes it
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How many rounds on each file system
    #[arg(long, default_value_t = 3)]
    pub rounds: u64,
    #[command(flatten)]
    pub place: Place,
}

/// Runs all rounds; whether nothing is wrong.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let root = arguments.place.prepare("full")?;
    let mut sound = true;
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        for round in 0..arguments.rounds {
            let mount = match Mount::new(&root, kind, SIZE) {
                Ok(mount) => mount,
                Err(error) => {
                    println!("{kind:?}: skipped, as nothing can be mounted here: {error}");
                    break;
                }
            };
            let seed = arguments.place.seed_of(round);
            match Round::new(mount.path(), seed).run() {
                Ok(told) => println!("{kind:?}, round {round}: {told}"),
                Err(error) => {
                    println!("{kind:?}, round {round}, seed {seed}: {error}");
                    sound = false;
                }
            }
        }
    }
    let _ = fs::remove_dir_all(&root);
    Ok(sound)
}

/// Keeps what it is told in memory.
#[derive(Debug)]
struct Notes(Mutex<Record>);

impl Notes {
    fn with(&self, note: impl FnOnce(&mut Record)) {
        note(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Witness for Notes {
    fn tried(&self, writer: u8, number: u64) {
        self.with(|record| record.tried(writer, number));
    }

    fn committed(&self, writer: u8, number: u64, timestamp: Timestamp) {
        self.with(|record| record.committed(writer, number, timestamp.0));
    }

    fn promised(&self, writer: u8, number: u64) {
        self.with(|record| record.promised(writer, number));
    }
}

struct Round<'r> {
    at: &'r Path,
    seed: u64,
    setting: Setting,
    notes: Notes,
    found: Cut,
    expected: Vec<Expected>,
}

impl Round<'_> {
    fn new(at: &Path, seed: u64) -> Round<'_> {
        let setting = Setting::new(seed);
        let found: Cut = vec![0; usize::from(setting.writers)];
        let expected = (0..setting.writers).map(Expected::new).collect();
        Round { at, seed, setting, notes: Notes(Mutex::new(Record::new(found.clone()))), found, expected }
    }

    fn run(mut self) -> Result<String, String> {
        let ballast = self.at.join("ballast");
        let db = self.open()?;
        spare(&db).map_err(|error| format!("the first entries: {error}"))?;
        // Less and less room, so that it runs out anywhere.
        let left = 1_500_000 + self.seed % 7 * 300_000;
        fill(&ballast, SIZE.saturating_sub(left + used(&self.at.join("db"))))?;
        let lasting = self.write_until_full(&db, TRANSACTIONS_MAX)?;
        self.judge(&db, "with the disk full", true)?;
        let deleted = if lasting { 0 } else { self.delete(&db)? };
        // A checkpoint may lack room.
        let closed = db.close();
        expect(closed, "closing")?;

        let opened = self.setting.builder().open(self.at.join("db"));
        let without_room = match opened {
            Ok(db) => {
                self.judge(&db, "opened with the disk full", false)?;
                fs::remove_file(&ballast).map_err(|error| format!("making room: {error}"))?;
                Some(db)
            }
            Err(error) if error.kind() == ErrorKind::DiskFull => None,
            Err(error) => return Err(format!("opening with the disk full: {error}")),
        };
        let opens = without_room.is_some();
        let db = match without_room {
            Some(db) => db,
            None => {
                fs::remove_file(&ballast).map_err(|error| format!("making room: {error}"))?;
                let db = self.open()?;
                self.judge(&db, "opened with room again", false)?;
                db
            }
        };
        let before: u64 = self.found.iter().sum();
        let lasting_again = self.write_until_full(&db, 50)?;
        self.judge(&db, "with room again", true)?;
        let more = self.found.iter().sum::<u64>() - before;
        if more < 50 || lasting_again {
            return Err(format!("there is room again, but only {more} more transactions"));
        }
        db.close().map_err(|error| format!("closing with room: {error}"))?;
        let how = if lasting { "read-only from there on" } else { "transactions refused" };
        let opened =
            if opens { "opened again while it was full" } else { "not to be opened before there was room" };
        let then =
            format!("{deleted} of {SPARE_ENTRIES} deletes committed, {opened}, then {more} transactions");
        Ok(format!("full after {before} transactions, {how}; {then}"))
    }

    fn open(&self) -> Result<Database, String> {
        let db = self.setting.builder().open(self.at.join("db"));
        db.map_err(|error| format!("opening: {error}"))
    }

    /// Whether nothing can be written any more until it is opened again.
    fn write_until_full(&self, db: &Database, count: u64) -> Result<bool, String> {
        let stop = AtomicBool::new(false);
        let trees = Trees::create(db).map_err(|error| format!("the trees: {error}"))?;
        let ended: Vec<Result<(), Error>> = std::thread::scope(|scope| {
            let (trees, stop, notes) = (&trees, &stop, &self.notes);
            let writers: Vec<_> = (0..)
                .zip(&self.found)
                .map(|(writer, done)| {
                    let count = count.div_ceil(u64::from(self.setting.writers));
                    let work = self.setting.work(writer, *done, count, self.seed ^ u64::from(writer), stop);
                    scope.spawn(move || work.run(db, trees, notes))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("no writer panics")).collect()
        });
        let mut lasting = false;
        for outcome in ended {
            lasting |= expect(outcome, "writing")?;
        }
        Ok(lasting)
    }

    /// Deletes what was put there for that; how many deletes were committed.
    fn delete(&self, db: &Database) -> Result<u32, String> {
        let tree = db.tree(OTHER).map_err(|error| format!("deleting: {error}"))?;
        let mut deleted = 0;
        for number in 0..SPARE_ENTRIES {
            match tree.delete(number.to_be_bytes()) {
                Ok(true) => deleted += 1,
                Ok(false) => return Err("an entry is missing".to_owned()),
                Err(error) => {
                    expect(Err(error), "deleting")?;
                    break;
                }
            }
        }
        expect(db.checkpoint(), "a checkpoint")?;
        Ok(deleted)
    }

    /// `open`: it was written to since it was opened, and what is not durable yet is not to be seen.
    fn judge(&mut self, db: &Database, when: &str, open: bool) -> Result<(), String> {
        let found = cut(db, self.setting.writers).map_err(|error| format!("{when}: reading: {error}"))?;
        let mut faults = Vec::new();
        self.notes.with(|record| {
            faults = record.check(&found);
            if open {
                (0..).zip(&found).for_each(|(writer, number)| record.promised(writer, *number));
            } else {
                *record = Record::new(found.clone());
            }
        });
        for (expected, number) in self.expected.iter_mut().zip(&found) {
            expected.advance(&self.setting.plan, *number);
        }
        self.found = found;
        faults.append(&mut judge(db, &self.expected));
        faults.truncate(20);
        if faults.is_empty() { Ok(()) } else { Err(format!("{when}:\n{}", faults.join("\n"))) }
    }
}

/// Accepts success and what a full disk may be told as; whether it is lasting.
fn expect(outcome: Result<(), Error>, what: &str) -> Result<bool, String> {
    match outcome {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::DiskFull => Ok(false),
        Err(error) if error.kind() == ErrorKind::ReadOnly => Ok(true),
        Err(error) => Err(format!("{what} on a full disk: {:?}: {error}", error.kind())),
    }
}

/// Entries to be deleted later.
fn spare(db: &Database) -> Result<(), Error> {
    let tree = db.tree(OTHER)?;
    for number in 0..SPARE_ENTRIES {
        tree.put(number.to_be_bytes(), vec![7; SPARE_BYTES])?;
    }
    db.checkpoint()
}

fn used(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// A file that takes room.
fn fill(path: &Path, bytes: u64) -> Result<(), String> {
    let written = File::create(path).and_then(|mut file| {
        let zeros = vec![0; 1 << 16];
        for _ in 0..bytes / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()
    });
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::StorageFull => Err(format!("taking room: {error}")),
        _ => Ok(()),
    }
}
