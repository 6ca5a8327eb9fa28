//! Recording what the engine asks of the real file system while several threads are at work, and judging every state that a
//! crash could have left at any point of that.
//!
//! 1. `recording` notes every call, with its beginning, its end and its bytes, and everything that users of the database were told.
//! 2. `disk` says what is there for sure at a point of such a trace, and what may be there: sectors, lengths, names.
//! 3. `states` opens what a crash would leave, at every point: all combinations of what may be there where these are few,
//!    samples of them elsewhere; and [judges](crate::writers) it.
//! 4. `rules` does not ask what a crash leaves, but whether the order of writes and syncs is the one that the
//!    protocols ask for. Where that is not so, no luck with samples is needed to see it.
//!
//! A trace is one life of a database. The next one begins with what a crash somewhere in the one before left, so recovery
//! is recorded as well.
//!
//! It differs from a simulated disk in that the threads are real, and that the calls were made of a real file system.

mod disk;
mod event;
mod recording;
mod rules;
mod states;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use kestreldb::storage::FileStorage;

use crate::place::{Place, progress};
use crate::writers::{Cut, Setting, Trees, cut};
use event::{Mark, Trace};
use recording::Recording;
use states::{Image, Recorded, Tally, crashed};

/// Lives that begin with what a crash left of the one before.
const LIVES: u64 = 4;

/// Records writers on the real file system, and judges what crashes at every point would leave
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// About how many states
    #[arg(long, default_value_t = 4_000)]
    pub states: u64,
    /// In how many traces
    #[arg(long, default_value_t = 8)]
    pub traces: u64,
    #[command(flatten)]
    pub place: Place,
}

/// Records and judges; whether nothing is wrong.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let root = arguments.place.prepare("trace")?;
    let bar = progress(arguments.states, "states");
    let started = Instant::now();
    let mut summary = Summary::default();
    let outcome = traces(arguments, &root, &bar, &mut summary);
    let _ = std::fs::remove_dir_all(&root);
    bar.finish_and_clear();
    summary.print(started.elapsed());
    match outcome {
        Ok(()) => println!("nothing lost, no rule broken"),
        Err(error) => {
            println!("{error}");
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Default)]
struct Summary {
    traces: u64,
    calls: u64,
    commits: u64,
    rules: rules::Tally,
    tally: Tally,
}

impl Summary {
    fn print(&self, took: Duration) {
        let rows = [
            ("traces", self.traces),
            ("  calls", self.calls),
            ("  commits", self.commits),
            ("rules checked: superblocks", self.rules.superblocks),
            ("  writes of pages", self.rules.data_writes),
            ("  writes of the log", self.rules.log_writes),
            ("  new segments", self.rules.segments),
            ("  large values that commits name", self.rules.large_values),
            ("points", self.tally.points),
            ("  with all of their states", self.tally.whole),
            ("  pieces that are open, at most", self.tally.open_max),
            ("states", self.tally.states),
            ("  without the last commits", self.tally.shortened),
        ];
        for (name, figure) in rows {
            println!("{name:36} {figure:>10}");
        }
        println!("{:36} {:>8.1} s", "took", took.as_secs_f64());
    }
}

fn traces(
    arguments: &Arguments,
    root: &std::path::Path,
    bar: &ProgressBar,
    summary: &mut Summary,
) -> Result<(), String> {
    let traces = arguments.traces.max(1);
    let mut before = Image::new();
    let mut found: Cut = Vec::new();
    let mut family = 0;
    for number in 0..traces {
        let life = number % LIVES;
        if life == 0 {
            family = arguments.place.seed_of(number);
            before = Image::new();
        }
        let setting = Setting::new(family);
        if life == 0 {
            found = vec![0; usize::from(setting.writers)];
        }
        let place = |error: String| format!("trace {number}, setting of seed {family}: {error}");
        let trace = record(&setting, root, (&before, &found), family ^ life).map_err(place)?;
        let budget = arguments.states / traces + u64::from(number < arguments.states % traces);
        summary.traces += 1;
        summary.calls += trace.calls.len() as u64;
        summary.commits += trace
            .events
            .iter()
            .filter(|event| matches!(event, event::Event::Mark(Mark::Committed(..))))
            .count() as u64;
        summary.rules.add(&rules::check(&trace).map_err(place)?);
        let recorded = Recorded::new(&trace, &setting, &found);
        summary.tally.add(&judge_all(&recorded, budget, family ^ life, bar).map_err(place)?);
        before = crashed(&trace, family ^ life);
        found = states::cut_of(&before, &setting).map_err(place)?;
    }
    Ok(())
}

fn judge_all(recorded: &Recorded<'_>, budget: u64, seed: u64, bar: &ProgressBar) -> Result<Tally, String> {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let tallies: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let judge =
            |worker| scope.spawn(move || recorded.judge_all(budget, seed, (worker, workers), &|| bar.inc(1)));
        let workers: Vec<_> = (0..workers).map(judge).collect();
        let end = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err("opening or reading panicked".to_owned()))
        };
        workers.into_iter().map(end).collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all.add(&tally?);
    }
    Ok(all)
}

/// One life, from an image on.
fn record(
    setting: &Setting,
    root: &std::path::Path,
    (before, found): (&Image, &Cut),
    seed: u64,
) -> Result<Trace, String> {
    let said = |error: std::io::Error| format!("preparing {}: {error}", root.display());
    let _ = std::fs::remove_dir_all(root);
    std::fs::create_dir_all(root).map_err(said)?;
    for (name, bytes) in before {
        std::fs::write(root.join(name), bytes).map_err(said)?;
    }
    let storage = FileStorage::open(root).map_err(said)?;
    let recording = Recording::new(Arc::new(storage)).map_err(said)?;
    let db = setting.builder().open_with_storage(Arc::new(recording.clone()));
    let db = db.map_err(|error| format!("opening failed: {error}"))?;
    recording.mark(Mark::Open);
    let there = cut(&db, setting.writers).map_err(|error| error.to_string())?;
    if there != *found {
        return Err(format!("opened once it has {found:?}, opened again {there:?}"));
    }
    let trees = Trees::create(&db).map_err(|error| error.to_string())?;
    let stop = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let (db, trees, recording, stop) = (&db, &trees, &recording, &stop);
        let writers: Vec<_> = (0..)
            .zip(found)
            .map(|(writer, done)| {
                let count = 60 / u64::from(setting.writers);
                let work = setting.work(writer, *done, count, seed ^ (u64::from(writer) << 32), stop);
                scope.spawn(move || work.run(db, trees, recording))
            })
            .collect();
        let checkpoints = scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                db.checkpoint()?;
                std::thread::sleep(Duration::from_millis(setting.checkpoint_millis.min(20)));
            }
            Ok(())
        });
        let ended: Vec<_> =
            writers.into_iter().map(|writer| writer.join().expect("no writer panics")).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ended
            .into_iter()
            .collect::<Result<(), _>>()
            .and(checkpoints.join().expect("checkpoints do not panic"))
    });
    outcome.map_err(|error: kestreldb::Error| format!("a writer failed: {error}"))?;
    drop(trees);
    db.close().map_err(|error| format!("closing failed: {error}"))?;
    Ok(recording.take())
}
