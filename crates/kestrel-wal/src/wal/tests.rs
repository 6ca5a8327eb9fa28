use std::collections::BTreeSet;
use std::io::ErrorKind;

use kestrel_io::{CrashStorage, Fault, FaultEffect, MemoryStorage, Operation};

use super::*;
use crate::segments::Listing;

const OPTIONS: LogOptions = LogOptions { segment_size: 64 << 10, database: 42 };

fn create(storage: &(impl Storage + Clone + 'static)) -> Wal {
    Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(0)).unwrap()
}

fn recover(storage: &(impl Storage + Clone + 'static), from: Lsn) -> crate::Recovery {
    Wal::recover(Arc::new(storage.clone()), &OPTIONS, from).unwrap()
}

fn payloads(recovery: &crate::Recovery) -> Vec<Vec<u8>> {
    recovery.records().map(|record| record.unwrap().payload).collect()
}

fn fail(storage: &CrashStorage, operation: Operation, kind: ErrorKind) {
    let effect = FaultEffect::Error(kind);
    storage.fail(Fault { operation: Some(operation), after: 0, lasting: false, effect });
}

#[test]
fn records_come_back_in_order_over_segments() {
    let storage = MemoryStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    let mut expected = Vec::new();
    for i in 0..100usize {
        let payload = vec![i as u8; i * 97 % 5000];
        let (front, back) = payload.split_at(payload.len() / 3);
        let appended = wal.append(i as u8, &[front, back]).unwrap();
        assert!(appended.start < appended.end && appended.end == wal.end());
        let record = Record { kind: i as u8, payload, start: appended.start, end: appended.end };
        assert_eq!(wal.read(appended.start).unwrap(), record, "while buffered");
        expected.push(record);
        if i % 10 == 0 {
            wal.flush(appended.end).unwrap();
            assert_eq!((wal.durable(), wal.buffered_bytes()), (appended.end, 0));
        }
    }
    wal.flush(wal.end()).unwrap();
    assert!(wal.stats().segments > 2);
    assert_eq!(wal.stats().records, 100);
    for record in &expected {
        assert_eq!(&wal.read(record.start).unwrap(), record, "from disk");
    }
    drop(wal);
    let recovery = recover(&storage, from);
    assert!(!recovery.torn());
    for _ in 0..2 {
        let found: Vec<Record> = recovery.records().map(Result::unwrap).collect();
        assert_eq!(found, expected);
    }
    assert_eq!(recovery.read(expected[70].start).unwrap(), expected[70]);
    assert_eq!(recovery.end(), expected[99].end);
    // From any record's end the rest comes back.
    for (i, record) in expected.iter().enumerate() {
        let rest = recover(&storage, record.end).records().count();
        assert_eq!(rest, 99 - i);
    }
}

#[test]
fn the_log_goes_on_after_each_opening() {
    let storage = MemoryStorage::new();
    let mut wal = create(&storage);
    let from = wal.end();
    for round in 0..50u8 {
        let end = wal.append(1, &[&vec![round; 4000]]).unwrap().end;
        wal.flush(end).unwrap();
        drop(wal);
        let recovery = recover(&storage, from);
        assert_eq!(payloads(&recovery).len(), usize::from(round) + 1);
        assert_eq!(recovery.end(), end);
        wal = recovery.into_wal().unwrap();
        assert_eq!((wal.end(), wal.durable()), (end, end));
    }
}

#[test]
fn one_commit_is_one_write_and_one_sync() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let before = storage.operations();
    let end = wal.append(1, &[b"commit"]).unwrap().end;
    assert_eq!(storage.operations(), before, "append does no input or output");
    wal.flush(end).unwrap();
    wal.flush(end).unwrap();
    let after = storage.operations();
    assert_eq!(after.total() - before.total(), 2);
    assert_eq!(after.of(Operation::Write) - before.of(Operation::Write), 1);
    assert_eq!(after.of(Operation::SyncData) - before.of(Operation::SyncData), 1);
}

#[test]
fn a_sync_serves_everybody_who_waits() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    const THREADS: usize = 8;
    const EACH: usize = 300;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let wal = &wal;
            scope.spawn(move || {
                for i in 0..EACH {
                    let payload = format!("{thread} {i}");
                    let appended = wal.append(thread as u8, &[payload.as_bytes()]).unwrap();
                    if i % 7 == 3 {
                        wal.write_buffered().unwrap();
                    }
                    wal.flush(appended.end).unwrap();
                    assert!(wal.durable() >= appended.end);
                    assert_eq!(wal.read(appended.start).unwrap().payload, payload.as_bytes());
                }
            });
        }
    });
    let stats = wal.stats();
    assert_eq!(stats.records, (THREADS * EACH) as u64);
    // What was flushed survives the worst crash, each thread's records in its order.
    let left = storage.crash_with(|_| 0);
    let recovery = recover(&left, from);
    let mut next = [0; THREADS];
    for record in recovery.records() {
        let record = record.unwrap();
        let thread = usize::from(record.kind);
        assert_eq!(record.payload, format!("{thread} {}", next[thread]).as_bytes());
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; THREADS]);
}

#[test]
fn a_prepared_segment_spares_the_append_all_io() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    assert!(wal.prepare_spare().unwrap());
    assert!(!wal.prepare_spare().unwrap());
    let before = storage.operations();
    while wal.end().0 < OPTIONS.segment_size {
        wal.append(1, &[&[7; 9000]]).unwrap();
    }
    assert_eq!(storage.operations(), before);
    assert!(wal.prepare_spare().unwrap(), "the one after that");
    wal.flush(wal.end()).unwrap();
    assert_eq!(wal.stats().syncs, 2, "one for each segment");
}

#[test]
fn written_is_not_durable_until_flushed() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    let first = wal.append(1, &[b"first"]).unwrap();
    wal.write_buffered().unwrap();
    wal.write_buffered().unwrap();
    assert_eq!((wal.buffered_bytes(), wal.durable()), (0, from));
    assert_eq!(wal.read(first.start).unwrap().payload, b"first");
    assert!(payloads(&recover(&storage.crash_with(|_| 0), from)).is_empty());
    wal.flush(first.end).unwrap();
    assert_eq!(payloads(&recover(&storage.crash_with(|_| 0), from)), [b"first"]);
}

#[test]
fn recycling_bounds_the_files_and_stale_bytes_stay_dead() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    for round in 0..200u64 {
        let appended = wal.append(1, &[&round.to_le_bytes(), &[0xAB; 5000]]).unwrap();
        wal.flush(appended.end).unwrap();
        if round % 5 == 4 {
            wal.recycle(appended.end, 2).unwrap();
            assert!(wal.stats().segments <= 2);
            assert!(wal.retained_bytes() <= 2 * OPTIONS.segment_size);
            let listing = Listing::read(&storage).unwrap();
            assert!(listing.spares.len() <= 2 && listing.bases.len() <= 2);
            // Nothing lies behind the end, whatever the reused segment held before.
            let recovery = recover(&storage.crash(round), appended.end);
            assert!(payloads(&recovery).is_empty() && !recovery.torn());
            assert_eq!(recovery.end(), appended.end);
        }
    }
    assert!(wal.read(Lsn(64)).is_err(), "recycled");
    let listing = Listing::read(&storage).unwrap();
    let after = Listing::read(&storage.crash_with(|_| 0)).unwrap();
    assert_eq!(
        (after.bases, after.spares),
        (listing.bases, listing.spares),
        "recycling is durable on return"
    );
    wal.recycle(Lsn(u64::MAX), 2).unwrap();
    let last = wal.append(2, &[b"alive"]).unwrap();
    wal.flush(last.end).unwrap();
    assert_eq!(wal.read(last.start).unwrap().payload, b"alive");
}

#[test]
fn a_failed_write_or_sync_poisons_for_good() {
    for operation in [Operation::Write, Operation::SyncData] {
        let storage = CrashStorage::new();
        let wal = create(&storage);
        let from = wal.end();
        let kept = wal.append(1, &[b"kept"]).unwrap();
        wal.flush(kept.end).unwrap();
        let lost = wal.append(1, &[b"unknown"]).unwrap();
        fail(&storage, operation, ErrorKind::Other);
        assert!(matches!(wal.flush(lost.end), Err(Error::Io { .. })));
        assert!(matches!(wal.flush(lost.end), Err(Error::Poisoned)));
        assert!(matches!(wal.write_buffered(), Err(Error::Poisoned)));
        assert!(matches!(wal.append(1, &[]), Err(Error::Poisoned)));
        wal.flush(kept.end).expect("what is durable stays so");
        assert_eq!(wal.durable(), kept.end);
        for seed in 0..20 {
            let found = payloads(&recover(&storage.crash(seed), from));
            assert!(found == [&b"kept"[..]] || found == [&b"kept"[..], b"unknown"], "{found:?}");
        }
    }
}

#[test]
fn a_failed_flush_wakes_all_who_wait() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    storage.fail(Fault {
        operation: Some(Operation::SyncData),
        after: 5,
        lasting: false,
        effect: FaultEffect::Error(ErrorKind::Other),
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let Ok(appended) = wal.append(1, &[b"x"]) else { break };
                    if wal.flush(appended.end).is_err() {
                        break;
                    }
                }
            });
        }
    });
    assert!(matches!(wal.append(1, &[]), Err(Error::Poisoned)));
}

#[test]
fn short_and_interrupted_writes_are_retried() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    let appended = wal.append(1, &[&[5; 3000]]).unwrap();
    storage.fail(Fault {
        operation: Some(Operation::Write),
        after: 0,
        lasting: false,
        effect: FaultEffect::Short,
    });
    fail(&storage, Operation::Write, ErrorKind::Interrupted);
    wal.flush(appended.end).unwrap();
    assert_eq!(payloads(&recover(&storage.crash_with(|_| 0), from)), [[5; 3000]]);
}

#[test]
fn a_full_disk_refuses_the_append_and_changes_nothing() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let from = wal.end();
    storage.set_capacity(Some(storage.used() + 8192));
    let mut fitted = 0;
    let end = loop {
        let end = wal.end();
        match wal.append(1, &[&[1; 10_000]]) {
            Ok(_) => fitted += 1,
            Err(Error::Full { .. }) => break end,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((wal.end(), wal.stats().records), (end, fitted));
    assert!(matches!(wal.prepare_spare(), Err(Error::Full { .. })));
    assert_eq!(Listing::read(&storage).unwrap().spares, [], "nothing half-made stays");
    let small = wal.append(2, &[b"still fits"]).unwrap();
    wal.flush(small.end).unwrap();
    storage.sync_directory().unwrap();
    storage.set_capacity(None);
    let large = wal.append(3, &[&[3; 10_000]]).unwrap();
    wal.flush(large.end).unwrap();
    let left = storage.crash_with(|_| 0);
    assert_eq!(recover(&left, from).records().count() as u64, fitted + 2);
}

#[test]
fn no_failure_while_making_a_segment_harms_the_log() {
    for operation in Operation::ALL {
        for after in 0..4 {
            let storage = CrashStorage::new();
            let wal = create(&storage);
            let from = wal.end();
            let first = wal.append(1, &[b"first"]).unwrap();
            wal.flush(first.end).unwrap();
            let effect = FaultEffect::Error(ErrorKind::Other);
            storage.fail(Fault { operation: Some(operation), after, lasting: false, effect });
            let prepared = wal.prepare_spare();
            storage.clear_faults();
            if prepared.is_err() {
                assert_eq!(wal.end(), first.end);
                assert_eq!(wal.names_in_doubt(), operation == Operation::SyncDirectory);
            }
            if wal.names_in_doubt() {
                // What is there can still be filled, and made durable.
                assert!(matches!(wal.prepare_spare(), Err(Error::Poisoned)));
                while wal.append(2, &[&[2; 5000]]).is_ok() {}
                assert_eq!(wal.stats().segments, 1);
            } else {
                wal.prepare_spare().unwrap();
                while wal.stats().segments < 3 {
                    wal.append(2, &[&[2; 5000]]).unwrap();
                }
            }
            wal.flush(wal.end()).unwrap();
            let recovery = recover(&storage.crash_with(|_| 0), from);
            assert_eq!(recovery.end(), wal.end(), "{operation:?} {after}");
        }
    }
}

#[test]
fn payloads_have_a_limit() {
    let storage = MemoryStorage::new();
    let wal = create(&storage);
    let max = wal.max_payload();
    assert!(max <= 16 << 10);
    let bytes = vec![1; max + 1];
    assert!(
        matches!(wal.append(1, &[&bytes]), Err(Error::TooLarge { len, max: m }) if len == max + 1 && m == max)
    );
    let appended = wal.append(1, &[&bytes[1..]]).unwrap();
    assert_eq!(wal.read(appended.start).unwrap().payload.len(), max);
    assert!(wal.read(Lsn(appended.start.0 + 8)).is_err());
    assert!(wal.read(appended.end).is_err());
    wal.flush(appended.end).unwrap();
    assert!(wal.read(Lsn(appended.start.0 + 8)).is_err());
    assert!(wal.read(Lsn(0)).is_err() && wal.read(Lsn(u64::MAX)).is_err());
}

#[test]
fn creating_replaces_what_a_failed_creation_left() {
    let storage = CrashStorage::new();
    let wal = create(&storage);
    let old = wal.append(1, &[b"old"]).unwrap();
    wal.flush(old.end).unwrap();
    drop(wal);
    let wal = Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(1001)).unwrap();
    assert_eq!(wal.end(), Lsn(1008 + 64));
    let recovery = recover(&storage.crash_with(|_| 0), wal.end());
    assert!(payloads(&recovery).is_empty());
    assert_eq!(Listing::read(&storage).unwrap().bases, [1008]);
}

#[test]
fn the_two_buffers_are_reused() {
    let storage = MemoryStorage::new();
    let wal = create(&storage);
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let end = wal.append(1, &[&[1; 100]]).unwrap().end;
        let at = wal.state.lock().buffer.find(end.0 - 136).unwrap().as_ptr() as usize;
        seen.insert(at);
        wal.flush(end).unwrap();
    }
    assert!(seen.len() <= 2, "{} buffers", seen.len());
}
