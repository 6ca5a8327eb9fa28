//! Asynchronous commits, as their users meet them: in no runtime, in a small one, in tokio.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use kestrel_io::{CrashStorage, Fault, FaultEffect, Operation};
use kestreldb::{CommitTicket, Database, Durability, Error, ErrorKind, Result, Timestamp, Tree};

/// Runs a future on this thread, which sleeps between its polls.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark {
        thread: Thread,
        woken: AtomicBool,
    }
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::SeqCst);
            self.thread.unpark();
        }
    }
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unpark.woken.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}

/// Several futures as one, which notes the order in which they resolve.
struct Join<F: Future> {
    pending: VecDeque<F>,
    resolved: Vec<F::Output>,
}

impl<F: Future + Unpin> Future for Join<F>
where
    F::Output: Unpin,
{
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Join { pending, resolved } = &mut *self;
        pending.retain_mut(|future| match Pin::new(future).poll(context) {
            Poll::Ready(output) => {
                resolved.push(output);
                false
            }
            Poll::Pending => true,
        });
        if pending.is_empty() { Poll::Ready(std::mem::take(resolved)) } else { Poll::Pending }
    }
}

fn join_all(tickets: impl IntoIterator<Item = CommitTicket>) -> Join<CommitTicket> {
    Join { pending: tickets.into_iter().collect(), resolved: Vec::new() }
}

fn put(db: &Database, tree: &Tree, n: u64) -> Result<CommitTicket> {
    Ok(db.write_async(|tx| tx.put(tree, n.to_be_bytes(), n.to_be_bytes()))?.1)
}

/// A storage whose next sync fails.
fn fail_next_sync(storage: &CrashStorage) {
    storage.fail(Fault {
        operation: Some(Operation::SyncData),
        after: 0,
        lasting: true,
        effect: FaultEffect::Error(io::ErrorKind::Other),
    });
}

/// Ten thousand at once, awaited together by an executor of a few lines. Those who read meanwhile see a prefix.
#[test]
fn ten_thousand_in_flight_resolve_in_the_order_of_commits() {
    const TICKETS: u64 = 10_000;
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    let tree = db.tree("t").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::SeqCst) {
                let snapshot = db.begin_read().unwrap();
                let count = snapshot.len(&tree).unwrap();
                let last = snapshot.last(&tree).unwrap();
                assert_eq!(
                    last.map(|(key, _)| key.to_vec()),
                    count.checked_sub(1).map(|n| n.to_be_bytes().to_vec())
                );
                looks += 1;
            }
            looks
        });
        let tickets: Vec<CommitTicket> = (0..TICKETS).map(|n| put(&db, &tree, n).unwrap()).collect();
        let made: Vec<Timestamp> = tickets.iter().map(CommitTicket::timestamp).collect();
        assert!(made.is_sorted());
        let resolved = block_on(join_all(tickets)).into_iter().collect::<Result<Vec<_>>>().unwrap();
        assert_eq!(resolved, made);
        assert_eq!(tree.len().unwrap(), TICKETS);
        done.store(true, Ordering::SeqCst);
        assert!(reader.join().unwrap() > 0);
    });
    assert!(db.statistics().log_syncs < TICKETS / 10, "they share syncs");
    drop(tree);
    db.close().unwrap();
    assert_eq!(Database::open(directory.path()).unwrap().tree("t").unwrap().len().unwrap(), TICKETS);
}

/// Whenever one is resolved, so are all before it.
#[test]
fn a_later_ticket_never_resolves_before_an_earlier_one() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    let tree = db.tree("t").unwrap();
    for round in 0..20 {
        let tickets: Vec<_> = (0..50).map(|n| put(&db, &tree, round * 50 + n).unwrap()).collect();
        loop {
            // From the last one back: one that resolves meanwhile cannot be mistaken for a gap.
            let done = tickets.iter().rev().map(CommitTicket::is_done).skip_while(|done| !done);
            let done: Vec<bool> = done.collect();
            assert!(done.iter().all(|done| *done), "a gap");
            if done.len() == tickets.len() {
                break;
            }
            thread::yield_now();
        }
    }
}

#[test]
fn tickets_in_tokio() {
    const TASKS: u64 = 8;
    const EACH: u64 = 200;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let db = Database::in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (db, tree) = (db.clone(), tree.clone());
                tokio::spawn(async move {
                    for n in 0..EACH {
                        let key = [task, n].map(u64::to_be_bytes).concat();
                        let (_, ticket) = db.write_async(|tx| tx.put(&tree, &key, "v"))?;
                        let ts = ticket.timestamp();
                        assert_eq!(ticket.await?, ts);
                        assert!(tree.contains(&key)?, "it is resolved, so it is seen");
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    assert_eq!(tree.len().unwrap(), TASKS * EACH);
}

/// Whoever loses interest in a future drops it, at any time: the commit is made, the others are woken.
#[tokio::test]
async fn dropped_futures_change_nothing() {
    let db = Database::in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    for n in 0..500 {
        let ticket = put(&db, &tree, n * 2).unwrap();
        let other = put(&db, &tree, n * 2 + 1).unwrap();
        let aborted = tokio::spawn(ticket);
        if n % 2 == 0 {
            tokio::task::yield_now().await;
        }
        aborted.abort();
        other.await.unwrap();
        assert_eq!(tree.len().unwrap(), n * 2 + 2);
    }
}

/// A hot key: what the closures return shows that each built on the one before, which was not durable yet.
#[test]
fn writers_build_on_what_is_not_durable_yet() {
    let storage = CrashStorage::new();
    let db = Database::builder().background(false).open_with_storage(Arc::new(storage)).unwrap();
    let tree = db.tree("t").unwrap();
    let increment = |old: Option<&[u8]>| Some(vec![old.map_or(0, |old| old[0]) + 1]);
    for n in 0..100_u8 {
        let (old, _) = db.write_async(|tx| tx.update(&tree, "n", increment)).unwrap();
        assert_eq!(old.map_or(0, |old| old[0]), n);
    }
    assert_eq!(tree.get("n").unwrap(), None, "readers do not see it");
    tree.update("n", increment).unwrap();
    assert_eq!(*tree.get("n").unwrap().unwrap(), [101]);
}

#[test]
fn without_background_threads_somebody_flushes() {
    let db = Database::builder().background(false).in_memory().unwrap();
    let tree = db.tree("t").unwrap();
    let (one, two) = (put(&db, &tree, 1).unwrap(), put(&db, &tree, 2).unwrap());
    assert!(!one.is_done());
    two.wait().unwrap();
    assert!(one.is_done());
    let three = put(&db, &tree, 3).unwrap();
    db.flush().unwrap();
    assert!(three.is_done());
    let four = put(&db, &tree, 4).unwrap();
    tree.put("x", "y").unwrap();
    assert!(four.is_done());
    let five = put(&db, &tree, 5).unwrap();
    drop((db, tree));
    assert!(five.is_done(), "the end of the last handle closes the database");
    block_on(five).unwrap();
}

#[test]
fn trees_and_conflicts() {
    let db = Database::in_memory().unwrap();
    let (tree, created) = db.write_async(|tx| tx.create_tree("new")).unwrap();
    let ticket = put(&db, &tree, 1).unwrap();
    ticket.wait().unwrap();
    assert!(created.is_done());
    assert_eq!(tree.len().unwrap(), 1);

    let [one, two] = [1, 2].map(|_| db.begin_write().unwrap());
    one.put(&tree, "k", "1").unwrap();
    two.put(&tree, "k", "2").unwrap();
    one.commit_async().unwrap();
    assert!(two.commit_async().unwrap_err().is_conflict());
    let refused = db.write_async(|tx| {
        tx.put(&tree, "k", "3")?;
        Err::<(), _>(Box::<dyn std::error::Error>::from("no"))
    });
    assert_eq!(refused.unwrap_err().to_string(), "no");
    assert_eq!(db.write(|tx| tx.get(&tree, "k")).unwrap().unwrap(), "1");
}

/// Closing flushes, so what is pending then is resolved; also while others go on to commit until they are refused.
#[test]
fn tickets_outlive_the_database() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(directory.path()).unwrap();
        let tree = db.tree("t").unwrap();
        let early: Vec<_> = (0..100).map(|n| put(&db, &tree, n).unwrap()).collect();
        let late = thread::spawn({
            let (db, tree) = (db.clone(), tree.clone());
            move || {
                let mut tickets = Vec::new();
                for n in 100.. {
                    match put(&db, &tree, n) {
                        Ok(ticket) => tickets.push(ticket),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Closed);
                            break;
                        }
                    }
                }
                tickets
            }
        });
        db.close().unwrap();
        drop(tree);
        let late = late.join().unwrap();
        let count = (early.len() + late.len()) as u64;
        let tree = Database::open(directory.path()).unwrap().tree("t").unwrap();
        for resolved in block_on(join_all(early.into_iter().chain(late))) {
            resolved.unwrap();
        }
        assert_eq!(tree.len().unwrap(), count);
    }
}

#[test]
fn a_failed_sync_resolves_all_tickets() {
    for background in [false, true] {
        let storage = CrashStorage::new();
        let builder = Database::builder().background(background);
        let db = builder.open_with_storage(Arc::new(storage.clone())).unwrap();
        let tree = db.tree("t").unwrap();
        let kept = put(&db, &tree, 0).unwrap();
        kept.wait().unwrap();
        fail_next_sync(&storage);
        let mut tickets = Vec::new();
        for n in 1..100 {
            match put(&db, &tree, n) {
                Ok(ticket) => tickets.push(ticket),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ReadOnly),
            }
        }
        assert!(!tickets.is_empty());
        if !background {
            db.flush().unwrap_err();
        }
        for resolved in block_on(join_all(tickets)) {
            let error = resolved.unwrap_err();
            assert!(error.to_string().contains("open the database again"), "{error}");
        }
        assert!(kept.is_done() && kept.wait().is_ok());
        assert_eq!(tree.len().unwrap(), 1);
        storage.clear_faults();
        drop((db, tree));
        let db = Database::open_with_storage(Arc::new(storage.crash(3))).unwrap();
        assert!((1..=100).contains(&db.tree("t").unwrap().len().unwrap()));
    }
}

/// The power fails while tasks commit and await. What was awaited with success is there, and of each task's commits the first
/// so many.
#[test]
fn what_a_resolved_ticket_promised_survives_a_power_failure() {
    const TASKS: u64 = 3;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for seed in 0..12_u64 {
        let storage = CrashStorage::new();
        let db = Database::builder()
            .memory_budget(1 << 20)
            .log_segment_size(64 << 10)
            .open_with_storage(Arc::new(storage.clone()))
            .unwrap();
        let tree = db.tree("t").unwrap();
        storage.stop_at(storage.operations().total() + 10 + seed * 25);
        let promised: Vec<u64> = runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS)
                .map(|task| {
                    let (db, tree) = (db.clone(), tree.clone());
                    tokio::spawn(async move {
                        let mut promised = 0;
                        for first in (0_u64..).step_by(5) {
                            let mut last = None;
                            for n in first..first + 5 {
                                let key = [task, n].map(u64::to_be_bytes).concat();
                                let durability =
                                    if n % 2 == 0 { Durability::Immediate } else { Durability::Eventual };
                                let options = db.write_options().durability(durability);
                                match db.write_async_with(options, |tx| tx.put(&tree, &key, [0; 200])) {
                                    Ok(((), ticket)) => last = Some(ticket),
                                    Err(_) => return promised,
                                }
                            }
                            if last.unwrap().await.is_err() {
                                return promised;
                            }
                            promised = first + 5;
                        }
                        promised
                    })
                })
                .collect();
            let mut promised = Vec::new();
            for task in tasks {
                promised.push(task.await.unwrap());
            }
            promised
        });
        let left = storage.crash(seed);
        drop((tree, db));
        let db = Database::open_with_storage(Arc::new(left)).unwrap();
        let tree = db.tree("t").unwrap();
        for (task, promised) in (0..TASKS).zip(promised) {
            let keys = tree.prefix(task.to_be_bytes()).unwrap().map(|entry| entry.unwrap().0[8..].to_vec());
            let keys: Vec<Vec<u8>> = keys.collect();
            assert!(
                keys.iter().cloned().eq((0..keys.len() as u64).map(|n| n.to_be_bytes().to_vec())),
                "a hole"
            );
            assert!(keys.len() as u64 >= promised, "seed {seed}: {promised} promised, {} kept", keys.len());
        }
        assert!(db.verify().unwrap().damages.is_empty());
    }
}

/// What a waker does when it is called: it ends the database, by its last handle or by a word.
struct Ends {
    handles: Mutex<Option<(Database, Tree)>>,
    by_a_word: bool,
    ended: mpsc::Sender<Result<()>>,
}

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        let Some((db, tree)) = self.handles.lock().unwrap().take() else { return };
        drop(tree);
        let mut ended = Ok(());
        if self.by_a_word {
            ended = db.close();
        } else {
            drop(db);
        }
        self.ended.send(ended).unwrap();
    }
}

/// A task may own the last handle, and a thread of the database may be the one that ends the task.
#[test]
fn a_waker_may_end_the_database() {
    for by_a_word in [false, true] {
        let storage = CrashStorage::new();
        let (ended, ends) = mpsc::channel();
        let mut count = 0;
        let mut ticket = loop {
            let db = Database::open_with_storage(Arc::new(storage.clone())).unwrap();
            let tree = db.tree("t").unwrap();
            let mut ticket = put(&db, &tree, count).unwrap();
            count += 1;
            let handles = Mutex::new(Some((db, tree)));
            let waker = Waker::from(Arc::new(Ends { handles, by_a_word, ended: ended.clone() }));
            // If the flusher was faster, once more.
            if Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending() {
                break ticket;
            }
        };
        ends.recv_timeout(Duration::from_secs(20)).expect("it was closed").unwrap();
        block_on(&mut ticket).unwrap();
        let db = loop {
            match Database::open_with_storage(Arc::new(storage.clone())) {
                // The thread that called the waker is still on its way out.
                Err(error) if error.kind() == ErrorKind::Locked => thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        assert_eq!(db.tree("t").unwrap().len().unwrap(), count);
    }
}
