//! The process that is killed: writers on a database, until it dies or its standard input ends.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use kestreldb::{Database, Error};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::notes::{Note, Pen};
use crate::planting::plant;
use crate::writers::{Setting, Trees, cut};

/// Nobody lets it live that long: then something hangs.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// The command line of a child.
#[derive(Args, Clone, Debug)]
pub struct ChildArguments {
    /// The database
    #[arg(long)]
    pub dir: PathBuf,
    /// The file for notes
    #[arg(long)]
    pub notes: PathBuf,
    /// Decides the setting and what transactions do
    #[arg(long)]
    pub seed: u64,
    /// Which life of the database it is
    #[arg(long)]
    pub life: u64,
    /// A bug to run with
    #[arg(long)]
    pub planted: Option<String>,
}

/// Opens, writes, and closes once the standard input ends.
pub fn run(arguments: &ChildArguments) -> Result<bool, String> {
    plant(arguments.planted.as_deref())?;
    std::thread::spawn(|| {
        std::thread::sleep(LIFE_MAX);
        eprintln!("still there after {LIFE_MAX:?}: something hangs");
        std::process::exit(4);
    });
    live(arguments).map(|()| true).map_err(|error| error.to_string())
}

fn live(arguments: &ChildArguments) -> Result<(), Error> {
    let setting = Setting::new(arguments.seed);
    let pen = Pen::append_to(&arguments.notes).expect("the notes' file can be made");
    pen.write(Note::Opening);
    let db = setting.builder().open(&arguments.dir)?;
    let found = cut(&db, setting.writers)?;
    for (writer, number) in (0..).zip(&found) {
        pen.write(Note::Found(writer, *number));
    }
    pen.write(Note::Open);
    let trees = Trees::create(&db)?;
    let stop = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let (pen, db, trees, stop) = (&pen, &db, &trees, &stop);
        scope.spawn(move || {
            let mut byte = [0];
            // Ends with the parent, or when the parent says so.
            let _ = std::io::stdin().read(&mut byte);
            stop.store(true, Ordering::Relaxed);
        });
        let checkpoints = scope.spawn(move || checkpoints(db, &setting, arguments.life, pen, stop));
        let writers: Vec<_> = (0..)
            .zip(&found)
            .map(|(writer, done)| {
                let seed = arguments.seed ^ (arguments.life << 8) ^ u64::from(writer);
                let work = setting.work(writer, *done, u64::MAX >> 1, seed, stop);
                scope.spawn(move || fatal(work.run(db, trees, pen)))
            })
            .collect();
        for writer in writers {
            writer.join().expect("no writer panics");
        }
        checkpoints.join().expect("checkpoints do not panic")
    });
    outcome?;
    pen.write(Note::Closing);
    drop(trees);
    db.close()?;
    pen.write(Note::Closed);
    Ok(())
}

/// An error of one thread is the end of the process, whatever the others do.
fn fatal(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        eprintln!("error: {error}");
        std::process::exit(3);
    }
}

fn checkpoints(
    db: &Database,
    setting: &Setting,
    life: u64,
    pen: &Pen,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let mut random = SmallRng::seed_from_u64(life);
    loop {
        let mut wait = random.random_range(0..=setting.checkpoint_millis);
        while wait > 0 {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(wait.min(2)));
            wait -= wait.min(2);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        pen.write(Note::CheckpointBegins);
        fatal(db.checkpoint());
        pen.write(Note::CheckpointEnds);
    }
}
