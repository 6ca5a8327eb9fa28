//! Saving what is left of a damaged database. `docs/design.md` has the argument ("Salvage").
//!
//! 1. [`pages`]: which leaves count, according to what is left of the newest checkpoint; what keys they do not cover is lost.
//! 2. [`saver`]: their entries go to a new database, large values are looked up.
//! 3. [`log`]: the commits behind that checkpoint are done again on the new database, up to the first hole.
//!
//! The same without a target tells what is wrong with a database that cannot be opened. Nothing of the source is written.

mod log;
mod pages;
mod saver;

use std::sync::Arc;

use kestrel_io::Storage;
use kestrel_pager::{FileSurvey, Timestamp};
use kestrel_wal::{LogSurvey, Lsn};

use crate::damage::DATA_FILE;
use crate::{Damage, Durability, Engine, Error, VerifyReport};

use pages::Pages;
use saver::Saver;

/// How a database is saved.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct SalvageOptions {
    /// Commits behind a hole in the log are done as well. They may rely on what is lost, so the result may be a state that never
    /// was.
    pub beyond_holes: bool,
}

/// What was saved, and what was not.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// The trees of the new database.
    pub trees: Vec<SalvagedTree>,
    /// What is damaged in the old one.
    pub damages: Vec<Damage>,
    /// Which keys may be lost: those of the ranges named here. Without a tree, any of all; without keys, any of the tree's.
    pub lost: Vec<Damage>,
    /// The same for keys that were taken from images that nothing proves to be the newest: what is there may be older than it should
    /// be, a value, or a key that was removed, or one that is missing. All keys that neither is about are as they were last.
    pub doubtful: Vec<Damage>,
    /// Number of the checkpoint that was taken, if there was one.
    pub checkpoint: Option<u64>,
    /// Commits of the log that were done again.
    pub commits: u64,
    /// Commits behind a hole in the log that were left out.
    pub commits_left_out: u64,
}

/// A tree of the new database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvagedTree {
    /// Its name.
    pub name: String,
    /// How many keys it has.
    pub entries: u64,
}

/// Reads a damaged database and writes what is intact into a new, empty one. Calls `progress` with what was done and how much
/// there is, in bytes, about.
///
/// # Errors
/// There is no data file, it is of a newer format, or the target could not be written. Damage is no error.
pub fn salvage(
    source: &Arc<dyn Storage>,
    target: &Engine,
    options: SalvageOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SalvageReport, Error> {
    let (report, _) = run(source, Some(target), options, progress)?;
    Ok(report)
}

/// Bytes of a page of a damaged database: a new one with pages of that size takes all its keys.
///
/// # Errors
/// There is no data file, it cannot be read, or it is of a newer format.
pub fn surveyed_page_size(source: &dyn Storage) -> Result<u32, Error> {
    Ok(FileSurvey::open(source, None)?.page_size())
}

/// Everything that is wrong with a database, also if it cannot be opened. The database must not be open.
///
/// # Errors
/// There is no data file, or it is of a newer format.
pub fn diagnose(
    source: &Arc<dyn Storage>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, Error> {
    let (report, pages) = run(source, None, SalvageOptions::default(), progress)?;
    let trees = report.trees.len() as u64;
    let entries = report.trees.iter().map(|tree| tree.entries).sum();
    let mut damages = report.damages;
    damages.extend(report.lost);
    Ok(VerifyReport { damages, pages, entries, trees })
}

fn run(
    source: &Arc<dyn Storage>,
    target: Option<&Engine>,
    options: SalvageOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(SalvageReport, u64), Error> {
    let mut report = SalvageReport::default();
    // Only for the database's id, which a data file without superblocks does not tell.
    let hint = LogSurvey::open(Arc::clone(source), None)?.database();
    let file = FileSurvey::open(&**source, Some(hint))?;
    report.damages.extend(file.damages().iter().map(|error| Damage::from(copied(error))));
    let mut checkpoints = file.checkpoints();
    let wal = LogSurvey::open(Arc::clone(source), (!checkpoints.is_empty()).then(|| file.database()))?;
    report.damages.extend(wal.damages().iter().cloned().map(Damage::from));
    let reaches_back = |lsn: u64| wal.first().is_some_and(|first| first.0 <= lsn);
    for checkpoint in &mut checkpoints {
        let number = checkpoint.number;
        report.damages.extend(std::mem::take(&mut checkpoint.damages).into_iter().map(|error| {
            let damage = Damage::from(error);
            Damage { detail: format!("checkpoint {number}: {}", damage.detail), ..damage }
        }));
    }
    // The newest whose root is intact, if the log leads on from there; else the newest, whatever is left of it.
    let best =
        checkpoints.iter().position(|checkpoint| checkpoint.has_root && reaches_back(checkpoint.state.lsn));
    let checkpoint =
        if checkpoints.is_empty() { None } else { Some(checkpoints.swap_remove(best.unwrap_or(0))) };
    report.checkpoint = checkpoint.as_ref().map(|checkpoint| checkpoint.number);
    if checkpoint.is_none() {
        let detail = "no superblock is left; pages are taken as they are found";
        report.damages.push(Damage::in_file(DATA_FILE, None, detail));
    } else if !file.damages().is_empty() {
        let detail = format!("checkpoint {} is taken", report.checkpoint.unwrap_or_default());
        report.damages.push(Damage::in_file(DATA_FILE, None, detail));
    }

    let (from, after) = match &checkpoint {
        Some(checkpoint) => (Lsn(checkpoint.state.lsn), checkpoint.state.timestamp),
        None => (wal.first().unwrap_or(Lsn(0)), Timestamp(0)),
    };
    let fallback = checkpoints.into_iter().find(|other| other.has_root).map(|other| other.state.user);
    let mut pages = Pages::read(&file, checkpoint, fallback, &mut report, progress);
    let mut saver = Saver::new(target);
    saver.save(&file, &mut pages, &mut report, progress)?;
    log::replay(&wal, &file, (from, after), options, &mut saver, &mut report)?;
    report.trees = saver.finish()?;
    Ok((report, pages.read))
}

/// An error as far as it is told again.
fn copied(error: &kestrel_pager::Error) -> kestrel_pager::Error {
    match error {
        kestrel_pager::Error::Corrupted { page, offset, detail } => {
            kestrel_pager::Error::Corrupted { page: *page, offset: *offset, detail: detail.clone() }
        }
        other => kestrel_pager::Error::NoSuperblock { detail: other.to_string() },
    }
}

/// What is written to the target is only as durable as the whole: the end makes it so.
const DURABILITY: Durability = Durability::Eventual;
