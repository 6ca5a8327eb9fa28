//! When a child is killed, and what it was doing then.

use std::fmt;
use std::path::Path;
use std::process::{Child, ChildStdin};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use rustix::process::{Pid, Signal, kill_process};

use super::notes::{self, Note};

/// How long a child may take to get to where it is to be killed.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_micros(300);

/// What to wait for, and for how long then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    Opening(Duration),
    Writing(Duration),
    /// Of the first checkpoint's beginning.
    Checkpoint(Duration),
    /// After it was asked to close. A service manager does so, and kills what does not end in time.
    Closing(Duration, Duration),
}

impl Moment {
    /// `fresh`: there is no database yet.
    pub(crate) fn choose(random: &mut SmallRng, fresh: bool) -> Moment {
        let mut micros = |max| Duration::from_micros(random.random_range(0..max));
        let (short, long, tiny) = (micros(9_000), micros(200_000), micros(3_000));
        match random.random_range(0..20_u32) {
            0..15 if fresh => Moment::Opening(tiny),
            0..5 => Moment::Opening(short),
            5..12 => Moment::Writing(long),
            12..16 => Moment::Checkpoint(tiny),
            16 => Moment::Checkpoint(long),
            17 => Moment::Closing(tiny, short),
            _ => Moment::Closing(long, short),
        }
    }
}

/// Lets a child live up to the moment, and kills it. Fails if it ended by itself although nobody asked it to.
pub(crate) fn kill(
    child: &mut Child,
    input: ChildStdin,
    notes: &Path,
    (moment, gently): (Moment, bool),
) -> Result<(), String> {
    let wait = match moment {
        Moment::Opening(wait) => {
            await_note(child, notes, |note| note == Note::Opening)?;
            wait
        }
        Moment::Writing(wait) => {
            await_note(child, notes, |note| note == Note::Open)?;
            wait
        }
        Moment::Checkpoint(wait) => {
            // Where checkpoints are rare, the writers will do.
            let deadline = Instant::now() + Duration::from_millis(150);
            await_note(child, notes, |note| {
                note == Note::CheckpointBegins || (note == Note::Open && Instant::now() > deadline)
            })?;
            wait
        }
        Moment::Closing(wait, grace) => {
            await_note(child, notes, |note| note == Note::Open)?;
            std::thread::sleep(wait);
            drop(input);
            std::thread::sleep(grace);
            return end(child, gently, true);
        }
    };
    std::thread::sleep(wait);
    let outcome = end(child, gently, false);
    drop(input);
    outcome
}

fn await_note(child: &mut Child, path: &Path, wanted: impl Fn(Note) -> bool) -> Result<(), String> {
    let started = Instant::now();
    loop {
        if notes::read(path)?.into_iter().any(&wanted) {
            return Ok(());
        }
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("the child ended by itself: {status}"));
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("the child does not get on: no sign of it after {PATIENCE:?}"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// SIGKILL, or SIGTERM, which the child does not handle: to a database the same.
fn end(child: &mut Child, gently: bool, may_end: bool) -> Result<(), String> {
    if gently {
        // It may have ended meanwhile.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
    } else {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match status.code() {
        None => Ok(()),
        Some(0) if may_end => Ok(()),
        Some(_) => Err(format!("the child ended by itself: {status}")),
    }
}

/// What a child was doing in the end, as its notes tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Creating,
    Recovering,
    Writing,
    Checkpointing,
    Closing,
    Closed,
}

impl Phase {
    pub(crate) const ALL: [Phase; 6] = [
        Phase::Creating,
        Phase::Recovering,
        Phase::Writing,
        Phase::Checkpointing,
        Phase::Closing,
        Phase::Closed,
    ];

    /// `fresh`: no child before has opened the database.
    pub(crate) fn of(notes: &[Note], fresh: bool) -> Phase {
        let mut phase = if fresh { Phase::Creating } else { Phase::Recovering };
        for note in notes {
            phase = match note {
                Note::Open | Note::CheckpointEnds => Phase::Writing,
                Note::CheckpointBegins => Phase::Checkpointing,
                Note::Closing => Phase::Closing,
                Note::Closed => Phase::Closed,
                _ => phase,
            };
        }
        phase
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Creating => "creating the database",
            Phase::Recovering => "opening it after a kill",
            Phase::Writing => "writing",
            Phase::Checkpointing => "in a checkpoint",
            Phase::Closing => "closing",
            Phase::Closed => "closed in time",
        })
    }
}
