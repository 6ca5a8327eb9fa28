//! A web-analytics fire hose: page hits come in without pause and are stored under three keys at once, while others keep
//! asking what happens on the sites. At the end the database is closed and opened again, and every batch that was
//! acknowledged has to be there, in all three indexes.
//!
//! ```text
//! cargo run --release -p kestreldb --example firehose
//! cargo run --release -p kestreldb --example firehose -- --seconds 60 --writers 4 --readers 4 --durability eventual
//! ```
#![allow(unreachable_pub, reason = "what a module offers the others is all that `pub` says in a program")]

mod arguments;
mod disk;
mod feed;
mod generator;
mod hit;
mod indexes;
mod live;
mod memory;
mod meter;
mod proof;
mod queries;
mod readers;
mod stalls;
mod tsv;
mod writers;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use kestreldb::Database;

use arguments::Arguments;
use disk::{Syncs, TimedStorage};
use feed::Feed;
use indexes::Indexes;
use meter::Meter;
use writers::Acknowledged;

/// Whatever went wrong, in words.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("firehose: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let temporary;
    let directory: &Path = match &arguments.dir {
        Some(directory) => directory,
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path()
        }
    };

    let syncs = Arc::new(Syncs::default());
    let db = open(arguments, directory, &syncs)?;
    let acknowledged = pour(arguments, &db, &syncs)?;
    println!("{}", summary(&db, directory)?);

    let closing = Instant::now();
    db.close()?;
    let closed = closing.elapsed();
    let opening = Instant::now();
    let db = open(arguments, directory, &syncs)?;
    println!("closed in {closed:.1?}, opened again in {:.1?}", opening.elapsed());

    let proving = Instant::now();
    let proof = proof::prove(&db, &acknowledged)?;
    println!("{proof} (checked in {:.1?})", proving.elapsed());
    db.close()?;
    Ok(())
}

fn open(arguments: &Arguments, directory: &Path, syncs: &Arc<Syncs>) -> Result<Database, Failure> {
    let storage = TimedStorage::open(directory, syncs)?;
    let db = Database::builder()
        .memory_budget(arguments.memory.bytes())
        .durability(arguments.durability.into())
        .open_with_storage(Arc::new(storage))?;
    Ok(db)
}

/// Runs writers and readers until the time or the input is over, and returns what was acknowledged.
fn pour(arguments: &Arguments, db: &Database, syncs: &Arc<Syncs>) -> Result<Vec<Acknowledged>, Failure> {
    let indexes = Indexes::open(db)?;
    let feed = Feed::new(arguments, &indexes.resume(db)?)?;
    let meter = Meter::new(Arc::clone(syncs));
    let stop = AtomicBool::new(false);

    let poured = thread::scope(|scope| {
        let writers: Vec<_> = (0..arguments.writers)
            .map(|_| scope.spawn(|| stopping(&stop, || writers::write(db, &indexes, &feed, &meter, &stop))))
            .collect();
        let readers: Vec<_> = (0..arguments.readers)
            .map(|number| {
                let seed = arguments.seed.wrapping_add(1 + number);
                let (db, indexes, meter, stop) = (db, &indexes, &meter, &stop);
                scope.spawn(move || stopping(stop, || readers::read(db, indexes, meter, seed, stop)))
            })
            .collect();

        let deadline = Instant::now() + Duration::from_secs(arguments.seconds);
        live::watch(&meter, deadline, &stop, || writers.iter().all(thread::ScopedJoinHandle::is_finished));
        stop.store(true, Ordering::Relaxed);

        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(writer.join().map_err(|_| "a writer panicked")??);
        }
        for reader in readers {
            reader.join().map_err(|_| "a reader panicked")??;
        }
        Ok::<_, Failure>(acknowledged)
    })?;

    println!("{}", meter.total());
    println!("batches: {}; queries: {}; {}", meter.ingest.stalls, meter.queries.stalls, longest_sync(syncs));
    if feed.skipped() > 0 {
        println!("{} lines of the input were no hits and were left out", feed.skipped());
    }
    Ok(poured)
}

fn longest_sync(syncs: &Syncs) -> String {
    match syncs.longest() {
        Some(longest) => format!("longest sync {longest:.1?}"),
        None => "no long sync".to_owned(),
    }
}

/// Ends the whole run as soon as one thread fails.
fn stopping<T>(stop: &AtomicBool, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let result = work();
    if result.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    result
}

fn summary(db: &Database, directory: &Path) -> Result<String, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    let figures = db.statistics();
    Ok(format!(
        "{} commits, {} conflicts, {} checkpoints, {} log syncs; {} on disk",
        figures.commits,
        figures.conflicts,
        figures.checkpoints,
        figures.log_syncs,
        memory::human(bytes)
    ))
}
