use super::*;

fn once(operation: Operation, effect: FaultEffect) -> Fault {
    Fault { operation: Some(operation), after: 0, lasting: false, effect }
}

fn names(storage: &CrashStorage) -> Vec<String> {
    storage.list().unwrap()
}

#[test]
fn synced_things_survive_every_seed() {
    let storage = CrashStorage::new();
    let file = storage.create("a").unwrap();
    file.write_all_at(&[1; 2000], 0).unwrap();
    file.sync_data().unwrap();
    storage.sync_directory().unwrap();
    file.write_all_at(&[2; 1000], 3000).unwrap();
    storage.create("b").unwrap();
    for seed in 0..200 {
        let left = storage.crash(seed);
        let file = left.open("a").unwrap();
        let mut bytes = [0; 2000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [1; 2000]);
        assert_eq!(left.undecided(), 0);
    }
}

#[test]
fn seeds_reach_every_outcome_and_repeat_themselves() {
    let storage = CrashStorage::new();
    let file = storage.create("a").unwrap();
    file.set_len(1024).unwrap();
    file.sync_data().unwrap();
    storage.sync_directory().unwrap();
    file.write_all_at(&[1; 1024], 0).unwrap();
    let outcome = |seed| {
        let mut bytes = [0; 1024];
        storage.crash(seed).open("a").unwrap().read_exact_at(&mut bytes, 0).unwrap();
        (bytes[0], bytes[1023])
    };
    let seen: BTreeSet<_> = (0..100).map(outcome).collect();
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!((0..100).all(|seed| outcome(seed) == outcome(seed)));
}

#[test]
fn all_outcomes_can_be_enumerated() {
    let storage = CrashStorage::new();
    storage.create("a").unwrap();
    storage.create("b").unwrap();
    storage.rename("a", "c").unwrap();
    assert_eq!(storage.undecided(), 3);
    let mut seen = BTreeSet::new();
    for subset in 0u32..8 {
        let mut bit = 0;
        let left = storage.crash_with(|_| {
            bit += 1;
            (subset >> (bit - 1) & 1) as usize
        });
        seen.insert(names(&left).join(""));
    }
    let expected = ["", "a", "ab", "b", "bc", "c"].map(str::to_owned);
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn operations_on_one_name_keep_their_order() {
    let storage = CrashStorage::new();
    storage.create("old").unwrap().write_all_at(b"x", 0).unwrap();
    storage.create("new").unwrap();
    storage.sync_directory().unwrap();
    storage.rename("old", "new").unwrap();
    storage.remove("new").unwrap();
    storage.create("old").unwrap();
    let seen: BTreeSet<_> = (0..300).map(|seed| names(&storage.crash(seed)).join(" ")).collect();
    let expected = ["new old", "new", "", "old"].map(str::to_owned);
    assert!(seen.iter().all(|s| expected.contains(s)), "{seen:?}");
    for seed in 0..300 {
        let left = storage.crash(seed);
        // The removal of `new` is about what the renaming put there.
        if left.open("old").is_ok_and(|old| old.len().unwrap() == 1) {
            assert!(left.open("new").is_ok(), "seed {seed}: removed before it was renamed");
        }
    }
    assert!(seen.contains("new old") && seen.contains("old") && seen.contains(""), "{seen:?}");
}

#[test]
fn the_power_goes_off_at_each_operation() {
    let mut number = 0;
    loop {
        let storage = CrashStorage::new();
        storage.stop_at(number);
        let work = || -> io::Result<()> {
            let file = storage.create("a")?;
            file.write_all_at(&[1; 512], 0)?;
            file.sync_data()?;
            storage.sync_directory()
        };
        let result = work();
        assert_eq!(result.is_ok(), storage.has_power());
        if result.is_ok() {
            break;
        }
        assert!(storage.list().is_err(), "power came back");
        let left = storage.crash_with(|n| n - 1);
        assert_eq!(names(&left), ["a"], "an operation in flight may take place");
        assert!(names(&storage.crash_with(|_| 0)).is_empty());
        number += 1;
    }
    assert_eq!(number, 4);
}

#[test]
fn writes_fail_short_or_torn_as_planned() {
    let storage = CrashStorage::new();
    let file = storage.create("a").unwrap();
    storage.fail(once(Operation::Write, FaultEffect::Short));
    assert_eq!(file.write_at(&[1; 9], 0).unwrap(), 5);
    storage.fail(once(Operation::Write, FaultEffect::Torn));
    assert!(file.write_at(&[2; 8], 0).is_err());
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [2, 2, 2, 2, 1]);
    storage.fail(once(Operation::Write, FaultEffect::Error(io::ErrorKind::Interrupted)));
    file.write_all_at(&[3; 8], 0).unwrap();
    storage.fail(once(Operation::Read, FaultEffect::Short));
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [3; 8]);
    assert_eq!(storage.operations().of(Operation::Write), 4);
}

#[test]
fn a_lasting_fault_lasts_until_cleared() {
    let storage = CrashStorage::new();
    let effect = FaultEffect::Error(io::ErrorKind::StorageFull);
    storage.fail(Fault { operation: None, after: 1, lasting: true, effect });
    storage.create("a").unwrap();
    for _ in 0..3 {
        assert_eq!(storage.open("a").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    storage.clear_faults();
    assert!(storage.open("a").is_ok());
}

#[test]
fn space_is_limited_and_comes_back_when_a_removal_is_durable() {
    let storage = CrashStorage::new();
    storage.set_capacity(Some(8192));
    storage.create("a").unwrap().preallocate(0, 8192).unwrap();
    storage.sync_directory().unwrap();
    let b = storage.create("b").unwrap();
    assert_eq!(b.write_at(&[1], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(b.len().unwrap(), 0);
    storage.remove("a").unwrap();
    assert!(b.write_at(&[1], 0).is_err());
    storage.sync_directory().unwrap();
    b.write_all_at(&[1], 0).unwrap();
    assert_eq!(storage.used(), 4096);
}

#[test]
fn a_failed_sync_is_not_healed_by_the_next() {
    let storage = CrashStorage::new();
    let file = storage.create("a").unwrap();
    file.set_len(512).unwrap();
    file.sync_data().unwrap();
    storage.sync_directory().unwrap();
    file.write_all_at(&[1; 512], 0).unwrap();
    storage.fail(once(Operation::SyncData, FaultEffect::Error(io::ErrorKind::Other)));
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    let mut bytes = [9; 512];
    storage.crash_with(|_| 0).open("a").unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [0; 512]);
}

#[test]
fn pieces_tell_which_operation_made_them() {
    let storage = CrashStorage::new();
    let file = storage.create("a").unwrap();
    file.set_len(1024).unwrap();
    file.sync_data().unwrap();
    storage.sync_directory().unwrap();
    let first = storage.operations().total();
    file.write_all_at(&[1; 1024], 0).unwrap();
    file.write_all_at(&[2; 600], 512).unwrap();
    storage.create("b").unwrap();
    let mut pieces = Vec::new();
    storage.for_each_piece(|piece| pieces.push((piece.alternatives(), piece.writers().to_vec())));
    // The name, the length, and three sectors, the second written twice.
    let one = vec![first];
    let two = vec![first + 1];
    let both = vec![first, first + 1];
    assert_eq!(pieces, [(2, vec![first + 2]), (2, two.clone()), (2, one), (3, both), (2, two)]);
    assert_eq!(pieces.len(), storage.undecided());
    let keep = |kept: u64| storage.crash_by(|piece| piece.keeping(|writer| writer == kept)).contents("a");
    assert_eq!(keep(first), [1; 1024]);
    let newest = keep(first + 1);
    assert_eq!((newest.len(), newest[511], newest[512]), (1112, 0, 2));
}

#[test]
fn tampering_is_durable_and_not_noticed() {
    let storage = CrashStorage::new();
    let file = storage.create("a").unwrap();
    file.write_all_at(&[1; 1024], 0).unwrap();
    storage.sync_directory().unwrap();
    let before = storage.operations();
    storage.poke_len("a", 1024).unwrap();
    storage.poke("a", &[9], 600).unwrap();
    storage.poke_file("b", b"new").unwrap();
    assert_eq!(storage.files(), [("a".to_owned(), 1024), ("b".to_owned(), 3)]);
    let left = storage.crash_with(|_| 0);
    assert_eq!((left.contents("a")[600], left.contents("b")), (9, b"new".to_vec()));
    storage.poke_removal("a");
    assert!(storage.poke("a", &[1], 0).is_err() && storage.contents("a").is_empty());
    assert_eq!(storage.operations(), before);
}
