//! Commits that nobody waits for: when their tickets resolve, who is woken, and what a crash or a failure makes of them.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::io::ErrorKind as IoErrorKind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use kestrel_io::{CrashStorage, Fault, FaultEffect, MemoryStorage, Operation};
use kestrel_txn::{
    CommitTicket, Durability, Engine, EngineOptions, Error, ErrorKind, Isolation, Timestamp, TreeId,
};

fn open(storage: &CrashStorage) -> Engine {
    let options = EngineOptions { memory_budget: 4 << 20, log_segment_size: 64 << 10, ..Default::default() };
    Engine::open(Arc::new(storage.clone()), &options).unwrap()
}

fn with_tree(engine: &Engine) -> TreeId {
    let txn = engine.begin_write(Isolation::Snapshot).unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.commit(Durability::Immediate).unwrap();
    tree
}

fn put_async(engine: &Engine, tree: TreeId, key: u64) -> Result<CommitTicket, Error> {
    let txn = engine.begin_write(Isolation::Snapshot)?;
    txn.put(tree, &key.to_be_bytes(), b"value")?;
    txn.commit_async()
}

fn put(engine: &Engine, tree: TreeId, key: u64, durability: Durability) -> Result<Timestamp, Error> {
    let txn = engine.begin_write(Isolation::Snapshot)?;
    txn.put(tree, &key.to_be_bytes(), b"value")?;
    txn.commit(durability)
}

fn seen(engine: &Engine, tree: TreeId) -> u64 {
    engine.begin_read().unwrap().len(tree).unwrap()
}

/// Counts how often it is called.
#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(ticket: &mut CommitTicket, waker: &Waker) -> Poll<Result<Timestamp, Error>> {
    Pin::new(ticket).poll(&mut Context::from_waker(waker))
}

/// Calls a ticket's future to its end, on this thread.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let begun = Instant::now();
        while !unpark.1.swap(false, Ordering::SeqCst) {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody wakes the future");
            thread::park_timeout(Duration::from_secs(1));
        }
    }
}

#[test]
fn a_ticket_is_published_at_once_and_visible_when_durable() {
    let storage = CrashStorage::new();
    let engine = open(&storage);
    let tree = with_tree(&engine);
    let before = storage.operations();
    let mut tickets: Vec<CommitTicket> = (0..10).map(|n| put_async(&engine, tree, n).unwrap()).collect();
    assert_eq!(storage.operations(), before, "nothing is written by the call");
    assert!(tickets.windows(2).all(|pair| pair[0].timestamp() < pair[1].timestamp()));
    assert!(tickets.iter().all(|ticket| !ticket.is_done()));
    assert_eq!(seen(&engine, tree), 0);
    // Writers build on them.
    assert_eq!(engine.begin_write(Isolation::Snapshot).unwrap().len(tree).unwrap(), 10);

    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    for ticket in &mut tickets {
        assert!(poll(ticket, &waker).is_pending());
    }
    assert_eq!(tickets[3].wait().unwrap(), tickets[3].timestamp());
    assert_eq!(count.0.load(Ordering::SeqCst), 10, "one sync makes all of them durable");
    for ticket in &mut tickets {
        assert!(ticket.is_done());
        let ts = ticket.timestamp();
        assert!(matches!(poll(ticket, &waker), Poll::Ready(Ok(at)) if at == ts));
    }
    assert_eq!(storage.operations().of(Operation::SyncData), before.of(Operation::SyncData) + 1);
    assert_eq!(seen(&engine, tree), 10);
}

#[test]
fn everything_that_flushes_the_log_resolves_tickets() {
    type Flush = fn(&Engine, TreeId);
    let ways: [Flush; 5] = [
        |engine, _| engine.flush_log().unwrap(),
        |engine, _| engine.checkpoint().unwrap(),
        |engine, _| engine.close().unwrap(),
        |engine, tree| assert!(put(engine, tree, 99, Durability::Immediate).is_ok()),
        // It becomes visible after those before it, so it makes them durable.
        |engine, tree| assert!(put(engine, tree, 99, Durability::Eventual).is_ok()),
    ];
    for flush in ways {
        let engine = open(&CrashStorage::new());
        let tree = with_tree(&engine);
        let mut ticket = put_async(&engine, tree, 1).unwrap();
        let count = Arc::new(Count::default());
        assert!(poll(&mut ticket, &Waker::from(Arc::clone(&count))).is_pending());
        flush(&engine, tree);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(ticket.is_done());
        drop(engine);
        ticket.wait().unwrap();
        block_on(ticket).unwrap();
    }
}

#[test]
fn conflicts_are_found_by_the_call() {
    let engine = open(&CrashStorage::new());
    let tree = with_tree(&engine);
    let [one, two] = [1, 2].map(|_| engine.begin_write(Isolation::Snapshot).unwrap());
    one.put(tree, b"k", b"1").unwrap();
    two.put(tree, b"k", b"2").unwrap();
    let ticket = one.commit_async().unwrap();
    assert_eq!(two.commit_async().unwrap_err().kind(), ErrorKind::Conflict);
    ticket.wait().unwrap();
    assert_eq!(&*engine.begin_read().unwrap().get(tree, b"k").unwrap().unwrap(), b"1");
}

#[test]
fn a_transaction_without_changes_waits_for_what_it_read() {
    let engine = open(&CrashStorage::new());
    let tree = with_tree(&engine);
    let idle = engine.begin_write(Isolation::Serializable).unwrap().commit_async().unwrap();
    assert!(idle.is_done(), "all is durable");
    let written = put_async(&engine, tree, 1).unwrap();
    let read = engine.begin_write(Isolation::Serializable).unwrap();
    assert!(read.contains(tree, &1_u64.to_be_bytes()).unwrap());
    let read = read.commit_async().unwrap();
    assert_eq!(read.timestamp(), written.timestamp());
    assert!(!read.is_done());
    read.wait().unwrap();
    assert!(written.is_done());
}

/// Of a waker nothing is left when its ticket has resolved, has another waker, or is dropped.
#[test]
fn no_waker_stays() {
    let engine = open(&CrashStorage::new());
    let tree = with_tree(&engine);
    let counts = [(); 3].map(|()| Arc::new(Count::default()));
    let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
    let mut resolved = put_async(&engine, tree, 1).unwrap();
    let mut dropped = put_async(&engine, tree, 2).unwrap();
    assert!(poll(&mut resolved, &wakers[0]).is_pending());
    assert!(poll(&mut resolved, &wakers[1]).is_pending());
    assert!(poll(&mut dropped, &wakers[2]).is_pending());
    drop(dropped);
    engine.flush_log().unwrap();
    assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::SeqCst)), [0, 1, 0]);
    drop(wakers);
    assert_eq!(counts.each_ref().map(Arc::strong_count), [1, 1, 1]);
    assert_eq!(seen(&engine, tree), 2, "the commit of a dropped ticket is as good as any");
    drop(resolved);
}

/// What wakers do is not the engine's to decide: they may poll, drop tickets and begin commits where they are called.
#[test]
fn wakers_may_come_back_at_once() {
    struct Busy(Mutex<Vec<CommitTicket>>, Engine, TreeId);
    impl Wake for Busy {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(Arc::clone(&self));
            let mut next = put_async(&self.1, self.2, 1000).unwrap();
            assert!(poll(&mut next, Waker::noop()).is_pending());
            for mut ticket in self.0.lock().unwrap().drain(..) {
                let _ = poll(&mut ticket, &waker);
            }
        }
    }
    let engine = open(&CrashStorage::new());
    let tree = with_tree(&engine);
    let busy = Arc::new(Busy(Mutex::default(), engine.clone(), tree));
    let waker = Waker::from(Arc::clone(&busy));
    for n in 0..5 {
        let mut ticket = put_async(&engine, tree, n).unwrap();
        assert!(poll(&mut ticket, &waker).is_pending());
        busy.0.lock().unwrap().push(ticket);
    }
    engine.flush_log().unwrap();
    assert!(busy.0.lock().unwrap().is_empty());
    engine.flush_log().unwrap();
    assert_eq!(seen(&engine, tree), 6);
}

#[test]
fn a_failed_sync_resolves_all_tickets_with_an_error() {
    for operation in [Operation::SyncData, Operation::Write] {
        let storage = CrashStorage::new();
        let engine = open(&storage);
        let tree = with_tree(&engine);
        let early = put_async(&engine, tree, 0).unwrap();
        early.wait().unwrap();
        let mut tickets: Vec<_> = (1..20).map(|n| put_async(&engine, tree, n).unwrap()).collect();
        let count = Arc::new(Count::default());
        for ticket in &mut tickets {
            assert!(poll(ticket, &Waker::from(Arc::clone(&count))).is_pending());
        }
        let effect = FaultEffect::Error(IoErrorKind::Other);
        storage.fail(Fault { operation: Some(operation), after: 0, lasting: false, effect });
        engine.flush_log().unwrap_err();
        assert_eq!(count.0.load(Ordering::SeqCst), 19);
        for mut ticket in tickets {
            assert!(ticket.is_done());
            let error = ticket.wait().unwrap_err();
            assert!(error.to_string().contains("open the database again"), "{error}");
            let Poll::Ready(Err(error)) = poll(&mut ticket, Waker::noop()) else { panic!("it is resolved") };
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
        assert_eq!(early.wait().unwrap(), early.timestamp());
        assert_eq!(put_async(&engine, tree, 50).unwrap_err().kind(), ErrorKind::ReadOnly);
        assert_eq!(seen(&engine, tree), 1, "what may be lost is never shown");
        engine.close().unwrap_err();
        let left = open(&storage.crash(7));
        let kept = seen(&left, tree);
        assert!((1..=20).contains(&kept));
    }
}

/// A resolved ticket's commit survives every crash; what else survives are the next ones, without a gap.
#[test]
fn resolved_tickets_survive_a_crash_and_the_others_are_a_prefix() {
    for seed in 0..60_u64 {
        let storage = CrashStorage::new();
        let engine = open(&storage);
        let tree = with_tree(&engine);
        storage.stop_at(storage.operations().total() + 2 + seed % 23);
        let mut tickets = Vec::new();
        for n in 0..200 {
            let Ok(ticket) = put_async(&engine, tree, n) else { break };
            tickets.push(ticket);
            match (n + seed) % 17 {
                3 => drop(engine.flush_log()),
                9 => drop(tickets[tickets.len() / 2].wait()),
                12 => drop(engine.maintain()),
                _ => {}
            }
        }
        let mut promised = 0;
        for ticket in &mut tickets {
            promised += u64::from(matches!(poll(ticket, Waker::noop()), Poll::Ready(Ok(_))));
        }
        assert_eq!(seen(&engine, tree), promised, "seed {seed}: what is promised is what is seen");
        let made = tickets.len() as u64;
        for crash in 0..8 {
            let left = open(&storage.crash(seed * 8 + crash));
            let kept = seen(&left, tree);
            assert!((promised..=made + 1).contains(&kept), "seed {seed}: {promised} promised, {kept} kept");
            let read = left.begin_read().unwrap();
            assert!((0..kept).all(|n| read.contains(tree, &n.to_be_bytes()).unwrap()), "seed {seed}: a gap");
        }
    }
}

/// Threads that wait as futures, others that wait as threads, one that flushes: everybody is woken, and whoever looks sees a
/// prefix of every thread's commits, with all that was resolved.
#[test]
fn nobody_is_left_waiting() {
    const THREADS: u64 = 4;
    const EACH: u64 = 2_000;
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let tree = with_tree(&engine);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|writer| {
                let engine = &engine;
                scope.spawn(move || {
                    for n in 0..EACH {
                        let ticket = put_async(engine, tree, writer << 32 | n).unwrap();
                        let ts = ticket.timestamp();
                        match n % 5 {
                            0 => drop(ticket.wait().unwrap()),
                            1 => drop(ticket),
                            _ => assert_eq!(block_on(ticket).unwrap(), ts),
                        }
                        if n % 5 != 1 {
                            let read = engine.begin_read().unwrap();
                            assert!(read.timestamp() >= ts);
                            assert!(read.contains(tree, &(writer << 32 | n).to_be_bytes()).unwrap());
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                engine.flush_log().unwrap();
                thread::yield_now();
            }
        });
        let written: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        written.into_iter().for_each(|written| written.unwrap());
    });
    engine.flush_log().unwrap();
    assert_eq!(seen(&engine, tree), THREADS * EACH);
}

/// One flush for one ticket, at the moment when that is polled for the first time: whichever comes first, the future is woken
/// or knows. There is no later flush to make up for a lost waker.
#[test]
fn a_flush_beside_the_first_poll_is_not_missed() {
    const ROUNDS: u64 = 20_000;
    let engine = Engine::open(Arc::new(MemoryStorage::new()), &EngineOptions::default()).unwrap();
    let tree = with_tree(&engine);
    let asked = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                while asked.load(Ordering::SeqCst) < round {
                    std::hint::spin_loop();
                }
                if asked.load(Ordering::SeqCst) > round {
                    return;
                }
                engine.flush_log().unwrap();
            }
        });
        // Whatever happens, the other one ends.
        struct Release<'a>(&'a AtomicU64);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.store(u64::MAX, Ordering::SeqCst);
            }
        }
        let release = Release(&asked);
        for round in 1..=ROUNDS {
            let ticket = put_async(&engine, tree, round % 100).unwrap();
            release.0.store(round, Ordering::SeqCst);
            // Around the time that the flush takes.
            (0..round % 200 * 4).for_each(|_| std::hint::spin_loop());
            block_on(ticket).unwrap();
        }
    });
}

/// Whoever commits faster than the disk writes does not fill the memory with what nobody can see yet.
#[test]
fn what_is_on_its_way_is_bounded() {
    let storage = CrashStorage::new();
    let options = EngineOptions { memory_budget: 1 << 20, log_segment_size: 256 << 10, ..Default::default() };
    let engine = Engine::open(Arc::new(storage), &options).unwrap();
    let tree = with_tree(&engine);
    let tickets: Vec<_> = (0..10_000).map(|n| put_async(&engine, tree, n).unwrap()).collect();
    let waiting = tickets.iter().filter(|ticket| !ticket.is_done()).count();
    assert!((1..1_000).contains(&waiting), "{waiting} wait");
    tickets.last().unwrap().wait().unwrap();
    assert!(tickets.iter().all(CommitTicket::is_done));
    assert_eq!(seen(&engine, tree), 10_000);
}

/// Whatever resolves a ticket, no lock is held meanwhile that what the waker calls might want.
#[test]
fn wakers_may_checkpoint_and_close() {
    struct Calls(Engine, mpsc::Sender<Result<(), Error>>);
    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.1.send(self.0.checkpoint().and_then(|()| self.0.close())).unwrap();
        }
    }
    for fails in [false, true] {
        let storage = CrashStorage::new();
        let engine = open(&storage);
        let tree = with_tree(&engine);
        let (called, calls) = mpsc::channel();
        let waker = Waker::from(Arc::new(Calls(engine.clone(), called)));
        let mut ticket = put_async(&engine, tree, 1).unwrap();
        assert!(poll(&mut ticket, &waker).is_pending());
        if fails {
            let effect = FaultEffect::Error(IoErrorKind::Other);
            storage.fail(Fault { operation: Some(Operation::SyncData), after: 0, lasting: false, effect });
        }
        // Not joined if it waits for itself.
        let checkpointer = thread::spawn(move || engine.checkpoint().is_ok());
        let called =
            calls.recv_timeout(Duration::from_secs(20)).expect("the waker waits for whoever woke it");
        assert_eq!((called.is_ok(), checkpointer.join().unwrap()), (!fails, !fails));
        assert_eq!(poll(&mut ticket, Waker::noop()).map(|outcome| outcome.is_ok()), Poll::Ready(!fails));
    }
}

/// One task's panic is not to keep others asleep, nor to end the thread that flushes for all.
#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    let engine = open(&CrashStorage::new());
    let tree = with_tree(&engine);
    let mut tickets: Vec<_> = (0..3).map(|n| put_async(&engine, tree, n).unwrap()).collect();
    let count = Arc::new(Count::default());
    for (n, ticket) in tickets.iter_mut().enumerate() {
        let waker = if n == 1 { Waker::from(Arc::new(Panics)) } else { Waker::from(Arc::clone(&count)) };
        assert!(poll(ticket, &waker).is_pending());
    }
    engine.flush_log().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
}
