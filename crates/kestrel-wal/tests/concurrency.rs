//! What others may do while one thread syncs, fails or panics.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kestrel_io::{CrashStorage, LockError, MemoryStorage, Storage, StorageFile, StorageLock};
use kestrel_wal::{Error, LogOptions, Lsn, Wal};

const OPTIONS: LogOptions = LogOptions { segment_size: 64 << 10, database: 42 };
const PATIENCE: Duration = Duration::from_secs(20);

/// How a sync that waited at the gate ends.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Succeed,
    Fail,
    Panic,
}

/// While closed, says that a sync has come, and holds it until it is told the outcome.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<Option<(Sender<()>, Receiver<Outcome>)>>,
}

/// A storage whose syncs of files pass a gate.
#[derive(Clone, Debug, Default)]
struct GatedStorage {
    inner: CrashStorage,
    gate: Arc<Gate>,
}

impl GatedStorage {
    /// Stops the next sync: the receiver hears when it has come, the sender says how it ends.
    fn close(&self) -> (Receiver<()>, Sender<Outcome>) {
        let (come, arrivals) = channel();
        let (tell, outcomes) = channel();
        *self.gate.closed.lock().unwrap() = Some((come, outcomes));
        (arrivals, tell)
    }

    fn wrap(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(GatedFile { inner: file, gate: Arc::clone(&self.gate) })
    }
}

impl Storage for GatedStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.inner.open(name).map(|file| self.wrap(file))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.inner.create(name).map(|file| self.wrap(file))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }
    fn lock(&self, name: &str) -> Result<Box<dyn StorageLock>, LockError> {
        self.inner.lock(name)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn StorageFile>,
    gate: Arc<Gate>,
}

impl StorageFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.write_at(buffer, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        let closed = self.gate.closed.lock().unwrap().take();
        if let Some((come, outcomes)) = closed {
            come.send(()).unwrap();
            match outcomes.recv_timeout(PATIENCE).unwrap() {
                Outcome::Succeed => {}
                Outcome::Fail => return Err(io::Error::other("planned")),
                Outcome::Panic => panic!("planned"),
            }
        }
        self.inner.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.preallocate(offset, len)
    }
}

fn create(storage: &GatedStorage) -> Arc<Wal> {
    Arc::new(Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(0)).unwrap())
}

/// Flushes in a thread of its own, which may panic or hang; the receiver hears the result, if there is one.
fn flush_aside(wal: &Arc<Wal>, to: Lsn) -> Receiver<Result<(), Error>> {
    let (tell, result) = channel();
    let wal = Arc::clone(wal);
    std::thread::spawn(move || drop(tell.send(wal.flush(to))));
    result
}

#[test]
fn what_is_appended_during_a_sync_is_readable_and_waits_for_the_next() {
    let storage = GatedStorage::default();
    let wal = create(&storage);
    let from = wal.end();
    let (arrivals, tell) = storage.close();
    let first = wal.append(1, &[b"first"]).unwrap();
    let result = flush_aside(&wal, first.end);
    arrivals.recv_timeout(PATIENCE).unwrap();

    let second = wal.append(2, &[b"second"]).unwrap();
    assert_eq!(wal.read(first.start).unwrap().payload, b"first");
    assert_eq!(wal.read(second.start).unwrap().payload, b"second");
    assert_eq!(wal.durable(), from, "a sync that goes on has made nothing durable");
    assert!(wal.buffered_bytes() > 0);
    tell.send(Outcome::Succeed).unwrap();
    result.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(wal.durable(), first.end);

    wal.flush(second.end).unwrap();
    let left = Arc::new(storage.inner.crash_with(|_| 0));
    assert_eq!(Wal::recover(left, &OPTIONS, from).unwrap().records().count(), 2);
}

/// Whoever comes during a sync shares the next one, whatever they wait for: a place on the flight in the air, one on the next,
/// or just to write.
#[test]
fn all_who_come_during_a_sync_share_the_next() {
    for writes_too in [false, true] {
        let storage = GatedStorage::default();
        let wal = create(&storage);
        let (arrivals, tell) = storage.close();
        let first = wal.append(1, &[b"first"]).unwrap();
        let leader = flush_aside(&wal, first.end);
        arrivals.recv_timeout(PATIENCE).unwrap();
        let ends: Vec<Lsn> = (0..8).map(|kind| wal.append(kind, &[b"later"]).unwrap().end).collect();
        let writer = writes_too.then(|| {
            let wal = Arc::clone(&wal);
            std::thread::spawn(move || wal.write_buffered())
        });
        let followers: Vec<_> = ends.iter().chain([&first.end; 3]).map(|to| flush_aside(&wal, *to)).collect();
        // Time to begin to wait. Too little of it makes the test weaker, not wrong.
        std::thread::sleep(Duration::from_millis(50));
        tell.send(Outcome::Succeed).unwrap();
        leader.recv_timeout(PATIENCE).unwrap().unwrap();
        for follower in followers {
            follower.recv_timeout(PATIENCE).expect("it waits for ever").unwrap();
        }
        if let Some(writer) = writer {
            writer.join().unwrap().unwrap();
        }
        assert_eq!(wal.durable(), *ends.last().unwrap());
        assert_eq!(wal.stats().syncs, 2);
    }
}

#[test]
fn a_leader_that_fails_or_panics_lets_nobody_wait() {
    for outcome in [Outcome::Fail, Outcome::Panic] {
        let storage = GatedStorage::default();
        let wal = create(&storage);
        let start = wal.end();
        let (arrivals, tell) = storage.close();
        let first = wal.append(1, &[b"first"]).unwrap();
        let leader = flush_aside(&wal, first.end);
        arrivals.recv_timeout(PATIENCE).unwrap();
        let second = wal.append(2, &[b"second"]).unwrap();
        let followers = [first.end, second.end].map(|to| flush_aside(&wal, to));
        // Time to begin to wait. Too little of it makes the test weaker, not wrong.
        std::thread::sleep(Duration::from_millis(50));
        tell.send(outcome).unwrap();
        match (outcome, leader.recv_timeout(PATIENCE)) {
            (Outcome::Fail, Ok(Err(Error::Io { .. }))) | (Outcome::Panic, Err(_)) => {}
            (_, result) => panic!("{outcome:?}: {result:?}"),
        }
        for follower in followers {
            let result = follower.recv_timeout(PATIENCE).expect("it waits for ever");
            assert!(matches!(result, Err(Error::Poisoned)), "{result:?}");
        }
        assert!(matches!(wal.append(3, &[]), Err(Error::Poisoned)));
        assert_eq!(wal.durable(), start);
    }
}

#[test]
fn everything_at_once() {
    let storage = MemoryStorage::new();
    let wal = Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(0)).unwrap();
    let checkpoint = AtomicU64::new(wal.end().0);
    let done = AtomicBool::new(false);
    let prepared = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                prepared.fetch_add(u64::from(wal.prepare_spare().unwrap()), Ordering::Relaxed);
                let durable = wal.durable();
                checkpoint.store(durable.0, Ordering::Release);
                wal.recycle(durable, 2).unwrap();
                std::thread::yield_now();
            }
        });
        let appenders: Vec<_> = (0..3u8)
            .map(|kind| {
                let (wal, checkpoint) = (&wal, &checkpoint);
                scope.spawn(move || {
                    for i in 0..1500u64 {
                        let size = (i * 37 % 900) as usize;
                        let appended = wal.append(kind, &[&i.to_le_bytes(), &vec![kind; size]]).unwrap();
                        match wal.read(appended.start) {
                            Ok(record) => assert_eq!((record.kind, record.payload.len()), (kind, size + 8)),
                            // Others may have flushed and recycled it before this thread came to read it.
                            Err(error) => {
                                let recycled = checkpoint.load(Ordering::Acquire);
                                assert!(appended.end.0 <= recycled, "{error}");
                            }
                        }
                        match i % 5 {
                            0 => wal.flush(appended.end).unwrap(),
                            2 => wal.write_buffered().unwrap(),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        appenders.into_iter().for_each(|appender| appender.join().unwrap());
        done.store(true, Ordering::Release);
    });
    assert!(prepared.load(Ordering::Relaxed) > 0);
    let tail = wal.append(9, &[b"tail"]).unwrap();
    wal.flush(tail.end).unwrap();
    let recovery =
        Wal::recover(Arc::new(storage), &OPTIONS, Lsn(checkpoint.load(Ordering::Acquire))).unwrap();
    assert_eq!(recovery.end(), tail.end);
    let records: Vec<_> = recovery.records().map(Result::unwrap).collect();
    assert_eq!(records.last().unwrap().payload, b"tail");
    let mut last = [None; 3];
    for record in &records[..records.len() - 1] {
        let number = u64::from_le_bytes(record.payload[..8].try_into().unwrap());
        let last = &mut last[usize::from(record.kind)];
        assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
        *last = Some(number);
    }
}
