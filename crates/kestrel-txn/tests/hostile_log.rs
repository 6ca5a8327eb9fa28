//! Logs that are whole, and say what no transaction says: whoever knows the format and the database's id can write such.
//! Opening refuses them, with the right kind of error, and whatever it bears can be read, verified and closed.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kestrel_io::MemoryStorage;
use kestrel_pager::PageStore;
use kestrel_txn::{Durability, Engine, EngineOptions, Error, ErrorKind, Isolation};
use kestrel_wal::{LogOptions, Lsn, Wal};

const COMMIT: u8 = 1;
const FRAGMENT: u8 = 2;

/// A record's kind and payload.
type Logged = (u8, Vec<u8>);
/// A number's place and its bytes.
type Field = (usize, usize);

/// A database with a tree 1 called `t`, closed.
struct Victim {
    storage: Arc<MemoryStorage>,
    log: LogOptions,
    from: Lsn,
    next: u64,
}

fn open(storage: &Arc<MemoryStorage>) -> Result<Engine, Error> {
    Engine::open(Arc::clone(storage) as _, &EngineOptions::default())
}

impl Victim {
    fn new() -> Victim {
        let storage = Arc::new(MemoryStorage::new());
        let engine = open(&storage).unwrap();
        let write = engine.begin_write(Isolation::Serializable).unwrap();
        let tree = write.create_tree("t").unwrap();
        assert_eq!(tree.0, 1);
        write.put(tree, b"key", b"value").unwrap();
        let at = write.commit(Durability::Immediate).unwrap();
        engine.close().unwrap();
        drop(engine);
        let (store, state) = PageStore::open(&*storage).unwrap();
        let log = LogOptions { segment_size: 1 << 20, database: store.database() };
        Victim { storage, log, from: Lsn(state.lsn), next: at.0 + 1 }
    }

    /// Appends records to the log; each is told where the one before lies.
    fn append(&self, records: impl Iterator<Item = (u8, Vec<u8>)>) {
        let recovery = Wal::recover(Arc::clone(&self.storage) as _, &self.log, self.from).unwrap();
        let wal = recovery.into_wal().unwrap();
        for (kind, payload) in records {
            wal.append(kind, &[&payload]).unwrap();
        }
        wal.flush(wal.end()).unwrap();
    }

    /// What comes of opening it. Whatever opens bears being looked at.
    fn outcome(&self) -> Result<(), ErrorKind> {
        let engine = open(&self.storage).map_err(|error| error.kind())?;
        let read = engine.begin_read().unwrap();
        for tree in read.trees().unwrap() {
            let _ = read.len(tree.id);
        }
        drop(read);
        engine.verify(&mut |_, _| ()).unwrap();
        engine.close().unwrap();
        Ok(())
    }

    /// What comes of a commit of these operations behind all others.
    fn commit(operations: &[u8]) -> Result<(), ErrorKind> {
        let victim = Victim::new();
        victim.append(std::iter::once((COMMIT, record(victim.next, 0, operations))));
        victim.outcome()
    }
}

fn record(timestamp: u64, previous: u64, operations: &[u8]) -> Vec<u8> {
    [&timestamp.to_le_bytes()[..], &previous.to_le_bytes(), operations].concat()
}

/// `| kind | tree | key length | key | rest |`
fn operation(kind: u8, tree: u32, key: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[kind], &tree.to_le_bytes()[..], &(key.len() as u16).to_le_bytes(), key, rest].concat()
}

fn put(tree: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    operation(1, tree, key, &[&(value.len() as u32).to_le_bytes(), value].concat())
}

const REFUSED: Result<(), ErrorKind> = Err(ErrorKind::Corrupted);

#[test]
fn operations_that_no_transaction_does_are_refused() {
    assert_eq!(Victim::commit(&put(1, b"more", b"value")), Ok(()));
    assert_eq!(Victim::commit(&operation(5, 7, b"u", &[])), Ok(()));
    for (what, operations) in [
        ("a put into a tree that does not exist", put(2, b"k", b"v")),
        ("a put into the catalogue", put(0, b"k", b"v")),
        ("a key that no page holds", put(1, &[7; 2000], b"v")),
        ("a delete in a tree that does not exist", operation(3, 2, b"k", &[])),
        ("a range delete in a tree that does not exist", operation(4, 2, b"k", &[0, 0, 0])),
        ("a tree that exists", operation(5, 1, b"u", &[])),
        ("the catalogue as a tree", operation(5, 0, b"u", &[])),
        ("a tree without a name", operation(5, 2, b"", &[])),
        ("a name that is too long", operation(5, 2, &[b'n'; 1025], &[])),
        ("a name that is no text", operation(5, 2, &[0xFF], &[])),
        ("the drop of no tree", operation(6, 2, b"", &[])),
        ("a new name for no tree", operation(7, 2, b"u", &[])),
        ("a name that is nothing", operation(7, 1, b"", &[])),
        ("no operation", operation(9, 1, b"k", &[])),
        (
            "an image as a large value",
            operation(2, 1, b"k", &[&(1_u64 << 16 | 128 << 24).to_le_bytes()[..], &[1; 8]].concat()),
        ),
        (
            "a large value of no bytes",
            operation(2, 1, b"k", &[&(128_u64 << 24).to_le_bytes()[..], &[0; 8]].concat()),
        ),
        (
            "a large value behind the file",
            operation(2, 1, b"k", &[&(1_u64 << 62).to_le_bytes()[..], &[1; 8]].concat()),
        ),
        (
            "a large value of 4 GiB",
            operation(2, 1, b"k", &[&(128_u64 << 24).to_le_bytes()[..], &[0xFF; 8]].concat()),
        ),
    ] {
        assert_eq!(Victim::commit(&operations), REFUSED, "{what}");
    }
}

/// The lengths in an operation: of its key, its value, the upper end of its range, its tree's name.
#[test]
fn lengths_that_lead_out_of_the_record_are_refused() {
    let whole: [(Vec<u8>, &[Field]); 5] = [
        (put(1, b"key", b"value"), &[(5, 2), (10, 4)]),
        (operation(3, 1, b"key", &[]), &[(5, 2)]),
        (operation(4, 1, b"a", &[1, 1, 0, b'z']), &[(5, 2), (9, 2)]),
        (operation(5, 2, b"name", &[]), &[(5, 2)]),
        (operation(7, 1, b"name", &[]), &[(5, 2)]),
    ];
    for (operations, fields) in whole {
        assert_eq!(Victim::commit(&operations), Ok(()));
        for &(at, len) in fields {
            for lie in [u32::MAX, i32::MAX as u32, 0x0001_0000, 0xFFFF, 0x8000, 0x7FFF, 200] {
                let mut operations = operations.clone();
                operations[at..at + len].copy_from_slice(&lie.to_le_bytes()[..len]);
                if lie as u16 == 0 && len == 2 {
                    continue;
                }
                assert_eq!(Victim::commit(&operations), REFUSED, "{lie:#x} at {at} of {operations:?}");
            }
        }
        for cut in 1..operations.len() {
            assert_eq!(Victim::commit(&operations[..cut]), REFUSED, "cut to {cut}: {operations:?}");
        }
    }
}

#[test]
fn records_that_no_transaction_writes_are_refused() {
    let outcome = |records: &dyn Fn(&Victim, u64) -> Vec<Logged>| {
        let victim = Victim::new();
        // Where the first record that is appended will lie.
        let end = {
            let wal = Wal::recover(Arc::clone(&victim.storage) as _, &victim.log, victim.from).unwrap();
            wal.end().0
        };
        victim.append(records(&victim, end).into_iter());
        victim.outcome()
    };
    assert_eq!(outcome(&|_, _| vec![(7, vec![])]), REFUSED, "an unknown kind");
    assert_eq!(outcome(&|_, _| vec![(COMMIT, vec![0; 15])]), REFUSED, "shorter than its header");
    for timestamp in [0, 1, 1 << 63, u64::MAX] {
        assert_eq!(outcome(&|_, _| vec![(COMMIT, record(timestamp, 0, &[]))]), REFUSED, "{timestamp}");
    }
    assert_eq!(
        outcome(&|v, _| vec![(COMMIT, record(v.next, 0, &[])), (COMMIT, record(v.next, 0, &[]))]),
        REFUSED
    );
    assert_eq!(outcome(&|v, _| vec![(COMMIT, record(v.next + 5, 0, &[]))]), Ok(()), "a gap is none");
    // A fragment is named by its place plus one.
    let fragment = |previous| (FRAGMENT, record(0, previous, &put(1, b"k", b"v")));
    assert_eq!(outcome(&|v, at| vec![fragment(0), (COMMIT, record(v.next, at + 1, &[]))]), Ok(()));
    assert_eq!(
        outcome(&|v, at| vec![fragment(at + 1), (COMMIT, record(v.next, at + 1, &[]))]),
        REFUSED,
        "itself"
    );
    assert_eq!(
        outcome(&|v, at| vec![fragment(1 << 40), (COMMIT, record(v.next, at + 1, &[]))]),
        REFUSED,
        "nowhere"
    );
    assert_eq!(outcome(&|v, at| vec![fragment(u64::MAX), (COMMIT, record(v.next, at + 1, &[]))]), REFUSED);
    assert_eq!(
        outcome(&|v, at| vec![fragment(0), (COMMIT, record(v.next, at + 9, &[]))]),
        REFUSED,
        "beside it"
    );
    assert_eq!(
        outcome(&|v, at| vec![(COMMIT, record(v.next, 0, &[])), (COMMIT, record(v.next + 1, at + 1, &[]))]),
        REFUSED,
        "a commit as a fragment"
    );
    assert_eq!(
        outcome(&|v, at| {
            let commit = |after| (COMMIT, record(v.next + after, at + 1, &[]));
            vec![fragment(0), commit(0), commit(1)]
        }),
        REFUSED,
        "one for two commits"
    );
}

/// Each commit leads to all fragments of the one before: walking over them again and again would take hours.
#[test]
fn commits_that_share_fragments_do_not_keep_recovery_busy() {
    let victim = Victim::new();
    let (fragments, commits) = (6000_u64, 6000_u64);
    // A record is 32 bytes of header and 16 of payload. The first lies at the end of the log.
    let start = {
        let wal = Wal::recover(Arc::clone(&victim.storage) as _, &victim.log, victim.from).unwrap();
        wal.end().0
    };
    let chain =
        (0..fragments).map(|n| (FRAGMENT, record(0, if n == 0 { 0 } else { start + 48 * (n - 1) + 1 }, &[])));
    let last = start + 48 * (fragments - 1) + 1;
    let all = chain.chain((0..commits).map(|n| (COMMIT, record(victim.next + n, last, &[]))));
    victim.append(all);
    let began = Instant::now();
    assert_eq!(victim.outcome(), REFUSED);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
