//! What recovery makes of torn tails, damage and foreign files.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::sync::Arc;

use kestrel_io::{CrashStorage, Fault, FaultEffect, MemoryStorage, Operation, Storage};
use kestrel_wal::{Appended, Error, LogOptions, Lsn, Record, Recovery, Wal};

const OPTIONS: LogOptions = LogOptions { segment_size: 64 << 10, database: 42 };
const SEGMENT: &str = "kestrel.log.00000000000000000000";

fn create(storage: &(impl Storage + Clone + 'static)) -> Wal {
    Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(0)).unwrap()
}

fn recover(storage: &(impl Storage + Clone + 'static), from: Lsn) -> Result<Recovery, Error> {
    Wal::recover(Arc::new(storage.clone()), &OPTIONS, from)
}

fn records(recovery: &Recovery) -> Vec<Record> {
    recovery.records().map(Result::unwrap).collect()
}

fn append(wal: &Wal, kind: u8, payload: &[u8]) -> Appended {
    let appended = wal.append(kind, &[payload]).unwrap();
    wal.flush(appended.end).unwrap();
    appended
}

fn copy(storage: &dyn Storage) -> MemoryStorage {
    let copy = MemoryStorage::new();
    for name in storage.list().unwrap() {
        let from = storage.open(&name).unwrap();
        let mut bytes = vec![0; from.len().unwrap() as usize];
        from.read_exact_at(&mut bytes, 0).unwrap();
        copy.create(&name).unwrap().write_all_at(&bytes, 0).unwrap();
    }
    copy
}

fn flip(storage: &dyn Storage, name: &str, at: u64, mask: u8) {
    let file = storage.open(name).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
}

#[test]
fn a_record_cut_anywhere_ends_the_log_before_it() {
    let storage = MemoryStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    let kept = append(&wal, 1, b"kept");
    let last = append(&wal, 2, &[0xCD; 301]);
    for cut in last.start.0..last.end.0 - 3 {
        let copy = copy(&storage);
        let zeros = vec![0; (last.end.0 - cut) as usize];
        copy.open(SEGMENT).unwrap().write_all_at(&zeros, cut).unwrap();
        let recovery = recover(&copy, from).unwrap();
        assert_eq!(recovery.end(), kept.end, "cut at {cut}");
        assert_eq!(records(&recovery).len(), 1);
        assert_eq!(recovery.torn(), cut >= last.start.0 + 9, "cut at {cut}");
        let wal = recovery.into_wal().unwrap();
        let next = append(&wal, 3, b"next");
        assert_eq!(next.start, kept.end);
        assert_eq!(records(&recover(&copy, from).unwrap()).len(), 2);
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_refused_and_damage_to_the_durable_is_refused() {
    let storage = MemoryStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    let mut truth = Vec::new();
    for i in 0..12u8 {
        let appended = append(&wal, i, &vec![i; usize::from(i) * 20]);
        truth.push(Record {
            kind: i,
            payload: vec![i; usize::from(i) * 20],
            start: appended.start,
            end: appended.end,
        });
    }
    // The last record says that everything before it was durable.
    let vouched = truth[11].start.0;
    let end = truth[11].end.0;
    for at in 0..end + 64 {
        for mask in [0x01, 0x80, 0xFF] {
            flip(&storage, SEGMENT, at, mask);
            let outcome = recover(&storage, from);
            match &outcome {
                Ok(recovery) => {
                    let found = records(recovery);
                    assert_eq!(found, truth[..found.len()], "byte {at}");
                    assert!(found.len() >= 11, "byte {at}");
                }
                Err(Error::Damaged { lsn, segment, .. }) => {
                    assert!(lsn.0 <= at && at < vouched, "byte {at} blamed on {lsn}");
                    assert_eq!(segment, SEGMENT);
                }
                Err(other) => panic!("byte {at}: {other}"),
            }
            assert_eq!(outcome.is_err(), at < vouched, "byte {at}");
            flip(&storage, SEGMENT, at, mask);
        }
    }
}

/// A log of several segments, flushed after each record.
fn long_log(storage: &(impl Storage + Clone + 'static)) -> (Lsn, Lsn) {
    let wal = create(storage);
    let from = wal.end();
    for i in 0..40u8 {
        append(&wal, i, &[i; 6000]);
    }
    (from, wal.end())
}

fn segments(storage: &dyn Storage) -> Vec<String> {
    let mut names = storage.list().unwrap();
    names.retain(|name| name.starts_with("kestrel.log."));
    names.sort();
    names
}

#[test]
fn a_segment_missing_cut_extended_or_swapped_is_refused() {
    let storage = MemoryStorage::new();
    let (from, end) = long_log(&storage);
    let names = segments(&storage);
    assert!(names.len() >= 4);
    for (i, name) in names.iter().enumerate() {
        type Harm<'a> = Box<dyn Fn(&MemoryStorage) + 'a>;
        let other = &names[(i + 1) % names.len()];
        let harms: [Harm<'_>; 6] = [
            Box::new(|s| s.remove(name).unwrap()),
            Box::new(|s| s.open(name).unwrap().set_len(65535).unwrap()),
            Box::new(|s| s.open(name).unwrap().set_len(10).unwrap()),
            Box::new(|s| s.open(name).unwrap().set_len(65537).unwrap()),
            Box::new(|s| s.rename(other, name).unwrap()),
            Box::new(|s| s.open(name).unwrap().write_all_at(&[0; 64], 0).unwrap()),
        ];
        for (kind, harm) in harms.iter().enumerate() {
            let copy = copy(&storage);
            harm(&copy);
            let outcome = recover(&copy, from);
            assert!(matches!(outcome, Err(Error::Damaged { .. })), "harm {kind} to {name}: {outcome:?}");
        }
    }
    assert_eq!(recover(&storage, from).unwrap().end(), end);
}

#[test]
fn an_older_copy_of_a_segment_is_refused() {
    let storage = MemoryStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    append(&wal, 1, &[1; 6000]);
    let older = copy(&storage);
    while segments(&storage).len() < 2 {
        append(&wal, 2, &[2; 6000]);
    }
    append(&wal, 3, b"in the second segment, vouching for the first");
    let mut bytes = vec![0; 65536];
    older.open(SEGMENT).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    storage.open(SEGMENT).unwrap().write_all_at(&bytes, 0).unwrap();
    assert!(matches!(recover(&storage, from), Err(Error::Damaged { .. })));
}

#[test]
fn other_databases_and_newer_formats_are_recognised() {
    let storage = MemoryStorage::new();
    let (from, _) = long_log(&storage);
    let other = LogOptions { database: 43, ..OPTIONS };
    let outcome = Wal::recover(Arc::new(storage.clone()), &other, from);
    let Err(error @ Error::Damaged { .. }) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("another database"), "{error}");
    // One record of another database at the right place is no record.
    let foreign = MemoryStorage::new();
    let wal = Wal::create(Arc::new(foreign.clone()), &other, Lsn(0)).unwrap();
    append(&wal, 1, b"foreign");
    let mine = MemoryStorage::new();
    let from = create(&mine).end();
    let mut bytes = [0; 100];
    foreign.open(SEGMENT).unwrap().read_exact_at(&mut bytes, 64).unwrap();
    mine.open(SEGMENT).unwrap().write_all_at(&bytes, 64).unwrap();
    assert!(records(&recover(&mine, from).unwrap()).is_empty());

    let file = mine.open(SEGMENT).unwrap();
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).unwrap();
    header[8] = 2;
    let checksum = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
    assert!(matches!(recover(&mine, from), Err(Error::NewerFormat { found: 2, supported: 1 })));
}

#[test]
fn an_existing_log_keeps_its_segment_size() {
    let storage = MemoryStorage::new();
    let (from, end) = long_log(&storage);
    let other = LogOptions { segment_size: 1 << 20, ..OPTIONS };
    let wal = Wal::recover(Arc::new(storage.clone()), &other, from).unwrap().into_wal().unwrap();
    assert_eq!((wal.end(), wal.max_payload()), (end, (16 << 10) - 32));
}

#[test]
fn impossible_places_to_recover_from_are_refused() {
    let storage = MemoryStorage::new();
    assert!(matches!(recover(&storage, Lsn(64)), Err(Error::Damaged { .. })), "no log");
    let (from, end) = long_log(&storage);
    for bad in [from.0 + 1, 65536 - 8, end.0 + (1 << 20), u64::MAX, u64::MAX - 7] {
        assert!(matches!(recover(&storage, Lsn(bad)), Err(Error::Damaged { .. })), "{bad}");
    }
    assert_eq!(
        records(&recover(&storage, Lsn(0)).unwrap()).len(),
        40,
        "a segment's start is its first record's"
    );
}

/// Leaves an unacknowledged tail whose first record is gone, and a later one intact.
fn log_with_a_hole() -> (CrashStorage, Lsn, Appended, Appended) {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    // So long that the records behind begin new sectors.
    append(&wal, 0, &[0; 512 - 64 - 32]);
    let lost = wal.append(1, &[&[1; 512 - 32]]).unwrap();
    let ghost = wal.append(2, &[&[2; 512 - 32]]).unwrap();
    wal.write_buffered().unwrap();
    let mut sector = 0;
    let left = storage.crash_with(|alternatives| {
        sector += 1;
        if sector == 1 { 0 } else { alternatives - 1 }
    });
    (left, from, lost, ghost)
}

#[test]
fn an_unsynced_hole_is_no_damage_and_what_lies_behind_stays_dead() {
    let (storage, from, lost, ghost) = log_with_a_hole();
    let recovery = recover(&storage, from).unwrap();
    assert_eq!(recovery.end(), lost.start);
    assert!(recovery.torn());
    // A new record of the lost one's length leads right up to the ghost.
    let wal = recovery.into_wal().unwrap();
    let new = append(&wal, 9, &[9; 512 - 32]);
    assert_eq!(new.end, ghost.start);
    let recovery = recover(&storage, from).unwrap();
    let kinds: Vec<u8> = records(&recovery).iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [0, 9]);
    // Neither when the checkpoint lies right before it,
    let recovery = recover(&storage, new.end).unwrap();
    assert!(records(&recovery).is_empty());
    // nor when that opening was lost as well and the next one repeats it.
    let wal = recovery.into_wal().unwrap();
    let next = append(&wal, 8, b"");
    assert_eq!(next.start, ghost.start);
    assert_eq!(records(&recover(&storage, from).unwrap()).len(), 3);
}

#[test]
fn an_incarnation_is_not_used_twice_even_if_its_first_record_was_lost() {
    let (storage, from, lost, ghost) = log_with_a_hole();
    // The second opening writes up to the ghost and behind, and loses the first of its own records.
    let wal = recover(&storage, from).unwrap().into_wal().unwrap();
    wal.append(5, &[&[5; 512 - 32]]).unwrap();
    let second_ghost = wal.append(6, &[&[6; 512 - 32]]).unwrap();
    assert_eq!(second_ghost.start, ghost.start);
    wal.write_buffered().unwrap();
    let mut sector = 0;
    let storage = storage.crash_with(|alternatives| {
        sector += 1;
        if sector == 1 { 0 } else { alternatives - 1 }
    });
    let wal = recover(&storage, from).unwrap().into_wal().unwrap();
    assert_eq!(wal.end(), lost.start);
    append(&wal, 7, &[7; 512 - 32]);
    let kinds: Vec<u8> =
        records(&recover(&storage, from).unwrap()).iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [0, 7]);
}

#[test]
fn what_recovery_believed_after_a_killed_process_survives_the_next_crash() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    while segments(&storage).len() < 3 {
        wal.append(1, &[&[1; 6000]]).unwrap();
    }
    wal.write_buffered().unwrap();
    let end = wal.end();
    drop(wal);
    // No power was lost: the system still has what was written.
    assert_eq!(recover(&storage, from).unwrap().end(), end);
    assert_eq!(recover(&storage.crash_with(|_| 0), from).unwrap().end(), end);
}

#[test]
fn what_recovery_believed_after_a_failed_sync_survives_the_next_crash() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    append(&wal, 1, b"acknowledged");
    let doubtful = wal.append(2, &[&[2; 700]]).unwrap();
    let effect = FaultEffect::Error(std::io::ErrorKind::Other);
    storage.fail(Fault { operation: Some(Operation::SyncData), after: 0, lasting: false, effect });
    assert!(wal.flush(doubtful.end).is_err());
    drop(wal);
    // The system's cache still shows it, and calls it clean.
    let recovery = recover(&storage, from).unwrap();
    assert_eq!(records(&recovery).len(), 2);
    let wal = recovery.into_wal().unwrap();
    append(&wal, 3, b"relies on it");
    for seed in 0..30 {
        let recovery = recover(&storage.crash(seed), from).unwrap();
        assert_eq!(records(&recovery).len(), 3, "seed {seed}");
    }
    let recovery = recover(&storage.crash_with(|_| 0), from).unwrap();
    assert_eq!(records(&recovery).len(), 3);
}

#[test]
fn a_payload_full_of_false_records_does_not_stop_recovery_for_long() {
    let storage = MemoryStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    let kept = append(&wal, 1, b"kept");
    // Behind the end: each 8 bytes begin a header with the right place and a large length.
    let file = storage.open(SEGMENT).unwrap();
    let mut at = kept.end.0 + 64;
    while at + 40 <= 65536 {
        let mut header = [0u8; 32];
        header[4..8].copy_from_slice(&8000u32.to_le_bytes());
        header[8..16].copy_from_slice(&at.to_le_bytes());
        file.write_all_at(&header, at).unwrap();
        at += 32;
    }
    let started = std::time::Instant::now();
    assert!(matches!(recover(&storage, from), Err(Error::Damaged { .. })));
    assert!(started.elapsed().as_secs() < 1);
}

#[test]
fn a_failed_read_is_an_error_and_leaves_no_trace() {
    let storage = CrashStorage::new();
    let (from, end) = {
        let wal = create(&storage);
        let from = wal.end();
        append(&wal, 1, b"one");
        (from, append(&wal, 2, b"two").end)
    };
    let counted = storage.operations().total();
    recover(&storage, from).unwrap();
    let calls = storage.operations().total() - counted;
    assert!(calls > 5);
    for after in 0..calls {
        let effect = FaultEffect::Error(std::io::ErrorKind::Other);
        storage.fail(Fault { operation: None, after, lasting: false, effect });
        assert!(matches!(recover(&storage, from), Err(Error::Io { .. })), "call {after}");
        storage.clear_faults();
        assert_eq!(recover(&storage, from).unwrap().end(), end);
    }
}
