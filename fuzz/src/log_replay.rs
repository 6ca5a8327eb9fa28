//! Hostile segments given to recovery.
//!
//! A log as the crate writes it (several segments, several openings, torn tails) is changed as the input says; then, if
//! the input says so, all checksums are made right again, as by somebody who knows the format and the database's id.
//! Recovery must end, with an error or with a log. If no checksum was made right, that log is a beginning of the
//! one that was written. It can be appended to, and a second recovery finds the same and what was appended.

use std::sync::{Arc, OnceLock};

use kestrel_io::{MemoryStorage, Storage};
use kestrel_wal::{LogOptions, Lsn, Record, Wal};

use crate::allowance::Allowance;
use crate::files::{Files, Noticed};
use crate::input::Input;
use crate::repair;

const OPTIONS: LogOptions = LogOptions { segment_size: 64 << 10, database: 0x004b_6573_7472_656c };

/// A log as it was written.
struct Template {
    files: Files,
    from: Lsn,
    records: Vec<Record>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    static TEMPLATES: OnceLock<Vec<Template>> = OnceLock::new();
    let templates = TEMPLATES.get_or_init(|| vec![short(), long(), torn()]);
    let mut input = Input::new(data);
    let template = &templates[input.below(templates.len())];
    let mut files = template.files.clone();
    let mut noticed = files.vandalise(&mut input);
    if input.one_in(2) {
        noticed = Noticed::Perhaps;
        for (name, bytes) in files.iter_mut() {
            repair::segment(name, bytes, OPTIONS.database);
        }
    }
    let from = if input.one_in(8) { Lsn(u64::from(input.word())) } else { template.from };
    let _allowance = Allowance::new(files.bytes(), 0);
    check(&files.storage(), from, template, noticed, &mut input);
}

fn check(storage: &MemoryStorage, from: Lsn, template: &Template, noticed: Noticed, input: &mut Input<'_>) {
    let Ok(recovery) = Wal::recover(Arc::new(storage.clone()), &OPTIONS, from) else { return };
    let found: Result<Vec<Record>, _> = recovery.records().collect();
    let found = found.expect("what recovery has checked can be read again");
    if noticed == Noticed::Surely && from == template.from {
        let expected = template.records.get(..found.len()).expect("no records from nowhere");
        assert!(found == expected, "records changed");
    }
    for record in &found {
        assert!(record.start < record.end && record.end <= recovery.end());
        assert_eq!(&recovery.read(record.start).expect("a record can be read by its place"), record);
    }
    for _ in 0..input.below(4) {
        // Whatever lies there; it only has to end.
        let _ = recovery.read(Lsn(u64::from(input.word()) % (recovery.end().0 + 8)));
    }
    let end = recovery.end();
    let wal = recovery.into_wal().expect("a recovered log goes on");
    assert_eq!(wal.end(), end);
    let len = usize::from(input.short()) % wal.max_payload();
    let appended = wal.append(7, &[&vec![0x5A; len]]).expect("memory has room");
    wal.flush(appended.end).expect("memory does not fail");
    drop(wal);

    let again = match Wal::recover(Arc::new(storage.clone()), &OPTIONS, from) {
        // A forger can use up the number of openings but for the one that there just was.
        Err(error) if noticed == Noticed::Perhaps && error.to_string().contains("number of openings") => {
            return;
        }
        again => again.expect("what was recovered is sound"),
    };
    assert_eq!(again.end(), appended.end);
    let mut records: Vec<Record> =
        again.records().map(|record| record.expect("recovered twice, readable twice")).collect();
    let last = records.pop().expect("the appended record");
    assert_eq!((last.kind, last.payload.len(), last.start), (7, len, appended.start));
    assert!(records == found, "the second recovery found other records");
}

fn create() -> (MemoryStorage, Wal) {
    let storage = MemoryStorage::new();
    let wal = Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(0)).unwrap();
    (storage, wal)
}

fn append(wal: &Wal, kind: u8, len: usize, flush: bool) -> Record {
    let payload = vec![kind; len];
    let appended = wal.append(kind, &[&payload]).unwrap();
    if flush {
        wal.flush(appended.end).unwrap();
    }
    Record { kind, payload, start: appended.start, end: appended.end }
}

fn template(storage: &MemoryStorage, from: Lsn, records: Vec<Record>) -> Template {
    Template { files: Files::of(storage), from, records }
}

/// A few records in one segment, flushed one by one or in groups.
fn short() -> Template {
    let (storage, wal) = create();
    let from = wal.end();
    let records = (0..12).map(|i| append(&wal, i, usize::from(i) * 37, i % 3 != 1)).collect();
    template(&storage, from, records)
}

/// Several segments, one of them recycled, and one prepared ahead.
fn long() -> Template {
    let (storage, wal) = create();
    for i in 0..12 {
        append(&wal, i, 9000, true);
    }
    let from = wal.end();
    wal.recycle(from, 2).unwrap();
    let mut records: Vec<Record> =
        (0..20).map(|i| append(&wal, i, 100 + 700 * usize::from(i), i % 4 == 0)).collect();
    records.push(append(&wal, 99, 3, true));
    wal.prepare_spare().unwrap();
    template(&storage, from, records)
}

/// Three openings, of which two ended in a torn tail; left-overs of the first lie behind what the last wrote.
fn torn() -> Template {
    let (storage, wal) = create();
    let from = wal.end();
    let mut records: Vec<Record> = (0..6).map(|i| append(&wal, i, 50, true)).collect();
    let torn = append(&wal, 50, 60, false);
    for i in 51..56 {
        append(&wal, i, 60, false);
    }
    wal.flush(wal.end()).unwrap();
    drop(wal);
    for opening in 0..2 {
        // The first record of the group was lost, those behind it were not.
        let name = storage.list().unwrap().into_iter().find(|name| name.contains(".log.")).unwrap();
        let at = if opening == 0 { torn.start } else { records.last().unwrap().end };
        storage.open(&name).unwrap().write_all_at(&[0; 32], at.0).unwrap();
        let recovery = Wal::recover(Arc::new(storage.clone()), &OPTIONS, from).unwrap();
        assert_eq!(recovery.end(), at);
        let wal = recovery.into_wal().unwrap();
        records.push(append(&wal, 60 + opening, 28, true));
        append(&wal, 70, 28, true);
    }
    records.truncate(8);
    records.push(Record { kind: 70, payload: vec![70; 28], ..next(&storage, from, &records) });
    template(&storage, from, records)
}

/// The record behind the last known one.
fn next(storage: &MemoryStorage, from: Lsn, known: &[Record]) -> Record {
    let recovery = Wal::recover(Arc::new(storage.clone()), &OPTIONS, from).unwrap();
    recovery.records().nth(known.len()).unwrap().unwrap()
}
