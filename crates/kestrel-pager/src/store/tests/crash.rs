//! Power loss at every operation, and failures of every operation.

use kestrel_io::{CrashStorage, Fault, FaultEffect, Operation};

use super::*;

const ROUNDS: u64 = 6;

/// What a run had reached when it was stopped.
struct Reached {
    /// The pages of every checkpoint that was begun, by its LSN; zero is the creation.
    checkpoints: Vec<Pages>,
    /// The newest checkpoint that was acknowledged; `None`: not even the creation was.
    acknowledged: Option<u64>,
}

/// Runs a few rounds until something fails.
fn run(storage: &CrashStorage, seed: u64) -> (Reached, Option<Workload>) {
    let mut reached = Reached { checkpoints: vec![Pages::new()], acknowledged: None };
    let Ok(store) = create(storage, PAGE_SIZE) else { return (reached, None) };
    reached.acknowledged = Some(0);
    let mut workload = Workload::new(store, seed);
    for _ in 0..ROUNDS {
        let result = workload.round(30);
        reached.checkpoints.push(workload.pages.clone());
        if result.is_err() {
            break;
        }
        reached.acknowledged = Some(workload.round);
    }
    (reached, Some(workload))
}

/// Opens what a crash left: it must be the acknowledged checkpoint or the one after it, and work.
fn check_survivor(survivor: &CrashStorage, reached: &Reached, go_on: bool) {
    if !PageStore::exists(survivor).unwrap() {
        assert_eq!(reached.acknowledged, None, "the database is gone");
        create(survivor, PAGE_SIZE).unwrap();
        return;
    }
    let (store, state) = PageStore::open(survivor).unwrap();
    let acknowledged = reached.acknowledged.unwrap_or(0);
    assert!(
        state.lsn == acknowledged || state.lsn == acknowledged + 1,
        "checkpoint {} after {acknowledged} was acknowledged",
        state.lsn
    );
    let pages = reached.checkpoints[state.lsn as usize].clone();
    check(&store, &pages);
    let mut workload = Workload::resume(store, &state, pages, 1);
    assert_eq!(state.timestamp, workload.state().timestamp);
    if go_on {
        workload.round(30).unwrap();
        workload.check();
        let (store, state) = PageStore::open(survivor).unwrap();
        assert_eq!(state, workload.state());
        check(&store, &workload.pages);
    }
}

#[test]
fn every_point_of_a_power_loss_leaves_a_whole_checkpoint() {
    let whole = CrashStorage::new();
    run(&whole, 8);
    let operations = whole.operations().total();
    assert!(operations > 60, "{operations}");
    for stop in 0..=operations {
        let storage = CrashStorage::new();
        storage.stop_at(stop);
        let (reached, _) = run(&storage, 8);
        for seed in 0..12 {
            check_survivor(&storage.crash(stop * 100 + seed), &reached, seed % 4 == 0);
        }
    }
}

#[test]
fn all_fates_of_a_superblock_write() {
    let whole = CrashStorage::new();
    let (reached, _) = run(&whole, 9);
    assert_eq!(reached.acknowledged, Some(ROUNDS));
    // The last two operations are the superblock's write and sync.
    let last = whole.operations().total();
    for stop in [last - 2, last - 1] {
        let storage = CrashStorage::new();
        storage.stop_at(stop);
        let (reached, _) = run(&storage, 9);
        assert_eq!(reached.acknowledged, Some(ROUNDS - 1));
        let pieces = storage.undecided();
        assert!((1..=8).contains(&pieces), "{pieces}");
        let mut seen = [0, 0];
        for fate in 0..1u32 << pieces {
            let mut piece = 0;
            let survivor = storage.crash_with(|alternatives| {
                piece += 1;
                if fate >> (piece - 1) & 1 == 1 { alternatives - 1 } else { 0 }
            });
            check_survivor(&survivor, &reached, false);
            let (_, state) = PageStore::open(&survivor).unwrap();
            seen[(state.lsn - (ROUNDS - 1)) as usize] += 1;
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }
}

#[test]
fn every_failing_operation_is_an_error_and_leaves_a_whole_checkpoint() {
    let whole = CrashStorage::new();
    create(&whole, PAGE_SIZE).unwrap();
    let creation = whole.operations().total();
    let whole = CrashStorage::new();
    run(&whole, 10);
    let operations = whole.operations().total();
    let effects = [
        FaultEffect::Error(io::ErrorKind::Other),
        FaultEffect::Error(io::ErrorKind::StorageFull),
        FaultEffect::Error(io::ErrorKind::Interrupted),
        FaultEffect::Short,
        FaultEffect::Torn,
    ];
    for after in 0..operations {
        for effect in effects {
            let storage = CrashStorage::new();
            storage.fail(Fault { operation: None, after, lasting: false, effect });
            let (reached, workload) = run(&storage, 10);
            if let Some(workload) = &workload {
                assert_eq!(workload.store.verify_claims(), Vec::<String>::new(), "{after} {effect:?}");
            }
            assert!(reached.acknowledged.is_some() || after < creation);
            for seed in 0..3 {
                check_survivor(&storage.crash(seed), &reached, seed == 0);
            }
        }
    }
}

#[test]
fn a_lack_of_room_passes_and_other_failures_do_not() {
    let failing = |operation, kind| Fault {
        operation: Some(operation),
        after: 0,
        lasting: false,
        effect: FaultEffect::Error(kind),
    };
    let fail = |operation| failing(operation, io::ErrorKind::StorageFull);
    let storage = CrashStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let free = store.free_bytes();
    let images = [image(1, 1, b"one"), image(2, 1, b"two")];
    storage.fail(fail(Operation::Write));
    assert!(matches!(store.write_images(&images, Claim::Both), Err(Error::DiskFull { .. })));
    assert!(store.fresh.lock().take_unset().is_empty());
    storage.fail(fail(Operation::Write));
    assert!(matches!(
        store.write_blob(PageId(1), TreeId(1), Timestamp(1), b"x"),
        Err(Error::DiskFull { .. })
    ));
    assert_eq!(store.free_bytes(), free);
    storage.fail(fail(Operation::Write));
    assert!(store.begin_checkpoint().unwrap().finish(&CheckpointState::default()).is_err());
    assert_eq!(store.free_bytes(), free);
    store.write_images(&images, Claim::Live).unwrap();
    store.begin_checkpoint().unwrap().finish(&CheckpointState::default()).unwrap();

    storage.fail(fail(Operation::SyncData));
    assert!(store.sync().is_err());
    let error = store.sync().unwrap_err();
    assert!(error.to_string().contains("open the database again"), "{error}");
    assert!(store.begin_checkpoint().is_err());
    assert_eq!(store.verify_claims(), Vec::<String>::new());

    let storage = CrashStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    storage.fail(failing(Operation::Write, io::ErrorKind::Other));
    assert!(matches!(store.write_images(&images, Claim::Live), Err(Error::Io { .. })));
    assert!(matches!(store.write_images(&images, Claim::Live), Err(Error::ReadOnly { .. })));
    assert!(matches!(store.sync(), Err(Error::ReadOnly { .. })));
    assert_eq!(store.free_bytes(), free);
}

#[test]
fn both_checkpoints_keep_their_claims_when_the_superblock_is_in_doubt() {
    for (operation, after) in [(Operation::Write, 2), (Operation::SyncData, 1)] {
        let storage = CrashStorage::new();
        let store = create(&storage, PAGE_SIZE).unwrap();
        let first = store.write_images(&[image(1, 1, b"one")], Claim::Both).unwrap()[0];
        let state = CheckpointState { next_page: 2, lsn: 1, ..CheckpointState::default() };
        let mut writer = store.begin_checkpoint().unwrap();
        writer.set(PageId(1), Some((first, None)));
        writer.finish(&state).unwrap();

        let second = store.write_images(&[image(1, 2, b"two")], Claim::Both).unwrap()[0];
        let mut writer = store.begin_checkpoint().unwrap();
        writer.set(PageId(1), Some((second, None)));
        let effect = FaultEffect::Torn;
        storage.fail(Fault { operation: Some(operation), after, lasting: false, effect });
        let Err(Error::Io { .. }) = writer.finish(&CheckpointState { lsn: 2, ..state }) else {
            panic!("{operation:?} succeeded")
        };
        assert!(store.begin_checkpoint().is_err());
        for at in [first, second] {
            store.release_live(at, None);
        }
        assert!(matches!(
            store.write_images(&[image(1, 3, b"new")], Claim::Live),
            Err(Error::ReadOnly { .. })
        ));
        let mut seen = [false; 2];
        for seed in 0..64 {
            let (store, state) = PageStore::open(&storage.crash(seed)).unwrap();
            let at = if state.lsn == 1 { first } else { second };
            store.read_image(PageId(1), at, &mut vec![]).unwrap();
            assert_eq!(store.durable_entry(PageId(1)).unwrap().location, at);
            seen[(state.lsn - 1) as usize] = true;
        }
        assert!(seen[0], "{operation:?}");
    }
}

#[test]
fn a_killed_process_leaves_nothing_to_the_cache() {
    // A superblock that was written but not synced is made durable before it is trusted.
    let storage = CrashStorage::new();
    let (reached, workload) = run(&storage, 11);
    drop(workload);
    let last = storage.operations().total();
    let killed = CrashStorage::new();
    killed.stop_at(last - 1);
    let _ = run(&killed, 11);
    killed.clear_faults();
    let (_, state) = PageStore::open(&killed).unwrap();
    assert_eq!(Some(state.lsn), reached.acknowledged);
    for seed in 0..16 {
        let (_, state) = PageStore::open(&killed.crash(seed)).unwrap();
        assert_eq!(Some(state.lsn), reached.acknowledged);
    }
}

/// The system keeps what it could not write in its cache, calls it clean, and syncs it no more.
#[test]
fn a_superblock_whose_sync_failed_is_durable_once_it_was_opened() {
    for seed in 0..8 {
        let storage = CrashStorage::new();
        let store = create(&storage, PAGE_SIZE).unwrap();
        let mut workload = Workload::new(store, seed);
        workload.round(30).unwrap();
        // Of a checkpoint's two syncs, the second is that of the superblock.
        let effect = FaultEffect::Error(io::ErrorKind::Other);
        let operation = Some(Operation::SyncData);
        storage.fail(Fault { operation, after: 1, lasting: false, effect });
        workload.round(30).unwrap_err();
        let pages = workload.pages.clone();
        drop(workload);
        storage.clear_faults();

        let (store, state) = PageStore::open(&storage).unwrap();
        assert_eq!(state.lsn, 2, "it was written");
        let mut workload = Workload::resume(store, &state, pages.clone(), seed);
        // Over what only the checkpoint before it held.
        let timestamp = workload.state().timestamp.0 + 1;
        for page in 0..200 {
            let bytes = workload.random.bytes(3000);
            workload.store.write_images(&[image(page, timestamp, &bytes)], Claim::Live).unwrap();
        }
        workload.store.sync().unwrap();
        let (store, state) = PageStore::open(&storage.crash_with(|_| 0)).unwrap();
        assert_eq!(state.lsn, 2);
        check(&store, &pages);
    }
}
