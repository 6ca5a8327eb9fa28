//! Closing: who began before it goes on, and the files stay locked until the last of them has ended.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};

use kestrel_io::MemoryStorage;
use kestrel_txn::{
    Cursor, Durability, Engine, EngineOptions, ErrorKind, Isolation, ReadTxn, TreeId, WriteTxn,
};

fn open(storage: &Arc<MemoryStorage>) -> Result<Engine, ErrorKind> {
    let storage: Arc<MemoryStorage> = Arc::clone(storage);
    Engine::open(storage, &EngineOptions::default()).map_err(|error| error.kind())
}

fn is_locked(storage: &Arc<MemoryStorage>) -> bool {
    match open(storage) {
        Err(ErrorKind::Locked) => true,
        Err(other) => panic!("{other:?}"),
        Ok(_) => false,
    }
}

fn with_an_entry(storage: &Arc<MemoryStorage>) -> (Engine, TreeId) {
    let engine = open(storage).unwrap();
    let write = engine.begin_write(Isolation::Serializable).unwrap();
    let tree = write.create_tree("t").unwrap();
    write.put(tree, b"k", b"v").unwrap();
    write.commit(Durability::Immediate).unwrap();
    (engine, tree)
}

/// What keeps the files locked.
enum Open {
    Read(ReadTxn),
    Write(WriteTxn),
    Cursor(Box<Cursor>),
}

impl Open {
    fn use_it(&mut self, tree: TreeId) {
        match self {
            Open::Read(txn) => assert_eq!(txn.get(tree, b"k").unwrap().as_deref(), Some(&b"v"[..])),
            Open::Write(txn) => assert_eq!(txn.get(tree, b"k").unwrap().as_deref(), Some(&b"v"[..])),
            Open::Cursor(cursor) => assert_eq!(&*cursor.next().unwrap().unwrap().1, b"v"),
        }
    }
}

#[test]
fn the_last_of_what_was_open_lets_others_in() {
    for last in 0..5 {
        let storage = Arc::new(MemoryStorage::new());
        let (engine, tree) = with_an_entry(&storage);
        let read = engine.begin_read().unwrap();
        let value = read.get(tree, b"k").unwrap().unwrap();
        let cursor = read.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap();
        let mut all = vec![
            Open::Read(read.clone()),
            Open::Read(read),
            Open::Cursor(Box::new(cursor)),
            Open::Write(engine.begin_write(Isolation::Serializable).unwrap()),
            Open::Read(engine.begin_read().unwrap()),
        ];
        engine.close().unwrap();
        assert_eq!(engine.begin_read().map_err(|error| error.kind()).unwrap_err(), ErrorKind::Closed);
        all.swap(last, 0);
        while let Some(mut open) = all.pop() {
            assert!(is_locked(&storage), "with {} more, {last} last", all.len());
            open.use_it(tree);
        }
        let again = open(&storage).unwrap();
        assert_eq!(again.begin_read().unwrap().get(tree, b"k").unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(&*value, b"v", "a value is nobody's transaction");
    }
}

#[test]
fn who_begins_while_another_closes_is_in_or_out() {
    let begun = AtomicU64::new(0);
    for round in 0..60 {
        let storage = Arc::new(MemoryStorage::new());
        let (engine, tree) = with_an_entry(&storage);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (engine, storage, begun) = (&engine, &storage, &begun);
                scope.spawn(move || {
                    loop {
                        let txn = match (thread, engine.begin_read()) {
                            (0, _) => engine.begin_write(Isolation::Snapshot).map(Open::Write),
                            (_, read) => read.map(Open::Read),
                        };
                        let Ok(mut txn) = txn else { return };
                        begun.fetch_add(1, Ordering::Relaxed);
                        assert!(is_locked(storage), "a transaction is open");
                        txn.use_it(tree);
                    }
                });
            }
            for _ in 0..round {
                std::hint::spin_loop();
            }
            engine.close().unwrap();
        });
        assert!(!is_locked(&storage), "round {round}: the last one out let go");
    }
    assert!(begun.into_inner() > 0, "some were faster than the end");
}

/// Closes the database where it is called, and tells whether somebody else could open the files then.
struct Closes(Engine, Arc<MemoryStorage>, mpsc::Sender<bool>);

impl Wake for Closes {
    fn wake(self: Arc<Self>) {
        self.0.close().unwrap();
        self.2.send(is_locked(&self.1)).unwrap();
    }
}

/// The waker is called in the middle of a call, which may write to the files behind that.
#[test]
fn the_files_stay_locked_until_the_last_call_is_over() {
    let calls: [fn(&Engine, TreeId); 4] = [
        |engine, _| engine.flush_log().unwrap(),
        |engine, _| engine.checkpoint().unwrap(),
        |engine, tree| {
            let txn = engine.begin_write(Isolation::Serializable).unwrap();
            txn.put(tree, b"k", b"v").unwrap();
            txn.commit(Durability::Immediate).unwrap();
        },
        |engine, tree| {
            let txn = engine.begin_write(Isolation::Serializable).unwrap();
            txn.put(tree, b"k", &[7; 100_000]).unwrap();
            txn.commit(Durability::Immediate).unwrap();
        },
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let storage = Arc::new(MemoryStorage::new());
        let (engine, tree) = with_an_entry(&storage);
        let write = engine.begin_write(Isolation::Serializable).unwrap();
        write.put(tree, b"other", b"v").unwrap();
        let mut ticket = write.commit_async().unwrap();
        let (closed, closes) = mpsc::channel();
        let waker = Waker::from(Arc::new(Closes(engine.clone(), Arc::clone(&storage), closed)));
        assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
        call(&engine, tree);
        assert_eq!(closes.try_recv(), Ok(true), "call {number}");
        assert!(!is_locked(&storage), "call {number}");
    }
}
