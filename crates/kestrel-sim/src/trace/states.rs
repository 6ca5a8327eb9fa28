//! Every state that a crash could leave at some point of a trace, opened and judged.

use std::collections::BTreeMap;
use std::sync::Arc;

use kestreldb::storage::{MemoryStorage, Storage};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::disk::{Disk, Open};
use super::event::{Event, Mark, Trace};
use crate::writers::{Cut, Expected, Record, Setting, cut, judge};

pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) points: u64,
    /// Of these, how many with all states that there can be.
    pub(crate) whole: u64,
    pub(crate) states: u64,
    /// The most pieces that were open at a point.
    pub(crate) open_max: u64,
    /// States with less than all commits that were known at their point.
    pub(crate) shortened: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.points += other.points;
        self.whole += other.whole;
        self.states += other.states;
        self.open_max = self.open_max.max(other.open_max);
        self.shortened += other.shortened;
    }
}

/// A trace with what has to be there.
pub(crate) struct Recorded<'r> {
    pub(crate) trace: &'r Trace,
    pub(crate) setting: &'r Setting,
    /// What was there before.
    pub(crate) found: &'r Cut,
    /// By writer: what has to be there after each of its transactions, from those that were there before on.
    expected: Vec<Vec<Expected>>,
    /// All commits of the trace. Those of which somebody hears only after a point are no less in order.
    commits: Vec<(u8, u64, u64)>,
}

impl<'r> Recorded<'r> {
    pub(crate) fn new(trace: &'r Trace, setting: &'r Setting, found: &'r Cut) -> Self {
        let mut tried = found.clone();
        let mut commits = Vec::new();
        for event in &trace.events {
            match *event {
                Event::Mark(Mark::Tried(writer, number)) => tried[usize::from(writer)] = number,
                Event::Mark(Mark::Committed(writer, number, at)) => commits.push((writer, number, at)),
                _ => {}
            }
        }
        let expected = (0..).zip(found.iter().zip(&tried)).map(|(writer, (found, tried))| {
            let mut expected = Expected::new(writer);
            let each = (*found..=*tried).map(|number| {
                expected.advance(&setting.plan, number);
                expected.clone()
            });
            each.collect()
        });
        let expected = expected.collect();
        Recorded { trace, setting, found, expected, commits }
    }

    /// How many points there are at which a crash may leave something else than before.
    pub(crate) fn points(&self) -> u64 {
        let mut disk = Disk::new(self.trace);
        let mut points = 1;
        while disk.next().is_some() {
            points += u64::from(disk.step());
        }
        points
    }

    /// Judges about `budget` states, spread over all points. Of several workers each takes every so manieth point.
    pub(crate) fn judge_all(
        &self,
        budget: u64,
        seed: u64,
        (worker, workers): (u64, u64),
        progress: &dyn Fn(),
    ) -> Result<Tally, String> {
        let mut random = SmallRng::seed_from_u64(seed ^ worker);
        let mut tally = Tally::default();
        let mut disk = Disk::new(self.trace);
        let mut record = Record::new(self.found.clone());
        for (writer, number, at) in &self.commits {
            record.committed(*writer, *number, *at);
        }
        let per_point = budget as f64 / self.points() as f64;
        let mut point = 0;
        loop {
            if point % workers == worker {
                let whole = per_point as usize;
                let more = random.random_bool(per_point - whole as f64);
                self.judge_point(
                    &disk,
                    &record,
                    whole + usize::from(more),
                    &mut random,
                    &mut tally,
                    progress,
                )?;
            }
            // On to the next point.
            loop {
                let Some(event) = disk.next() else { return Ok(tally) };
                match event {
                    Event::Mark(Mark::Tried(writer, number)) => record.tried(writer, number),
                    Event::Mark(Mark::Promised(writer, number)) => record.promised(writer, number),
                    _ => {}
                }
                if disk.step() {
                    break;
                }
            }
            point += 1;
        }
    }

    fn judge_point(
        &self,
        disk: &Disk<'_>,
        record: &Record,
        states: usize,
        random: &mut SmallRng,
        tally: &mut Tally,
        progress: &dyn Fn(),
    ) -> Result<(), String> {
        if states == 0 {
            return Ok(());
        }
        let open = disk.open();
        let pieces = open.sizes().iter().filter(|size| **size > 1).count() as u64;
        tally.points += 1;
        tally.open_max = tally.open_max.max(pieces);
        let all = open.ways().filter(|ways| *ways <= states as u64);
        tally.whole += u64::from(all.is_some());
        let mut choice = vec![0; open.sizes().len()];
        for state in 0..all.unwrap_or(states as u64) {
            if all.is_none() {
                choice = sample(&open, states as u64, state, random);
            }
            let image = open.image(&choice);
            let lost = self.judge(&image, record).map_err(|error| {
                let place = format!("crash after event {} of {}", disk.position(), self.trace.events.len());
                format!("{place}, pieces {}: {error}", short(&choice, open.sizes()))
            })?;
            tally.states += 1;
            tally.shortened += u64::from(lost);
            progress();
            if all.is_some() {
                next(&mut choice, open.sizes());
            }
        }
        Ok(())
    }

    /// Whether it has less than all commits that there will be; or what is wrong with it.
    fn judge(&self, image: &Image, record: &Record) -> Result<bool, String> {
        let storage = to_storage(image).map_err(|error| error.to_string())?;
        let db = self.setting.builder().background(false).open_with_storage(Arc::new(storage));
        let db = db.map_err(|error| format!("opening failed: {error}"))?;
        let there = cut(&db, self.setting.writers).map_err(|error| format!("no cut can be read: {error}"))?;
        let faults = record.check(&there);
        if !faults.is_empty() {
            return Err(faults.join("\n"));
        }
        let expected: Vec<Expected> = self
            .expected
            .iter()
            .zip(there.iter().zip(self.found))
            .map(|(each, (there, found))| each[(there - found) as usize].clone())
            .collect();
        let mut faults = judge(&db, &expected);
        faults.truncate(20);
        if faults.is_empty() { Ok(record.lost(&there) > 0) } else { Err(faults.join("\n")) }
    }
}

/// The next choice, in the order of counting.
fn next(choice: &mut [usize], sizes: &[usize]) {
    for (chosen, size) in choice.iter_mut().zip(sizes) {
        *chosen = (*chosen + 1) % size;
        if *chosen > 0 {
            break;
        }
    }
}

/// Extremes would hardly ever come up by dice: nothing, everything, everything but one piece, one piece only.
fn sample(open: &Open<'_, '_>, states: u64, state: u64, random: &mut SmallRng) -> Vec<usize> {
    let sizes = open.sizes();
    let manner = if states >= 6 { state.min(6) } else { random.random_range(0..12) };
    let newest = |size: &usize| size - 1;
    let one = random.random_range(0..sizes.len().max(1));
    match manner {
        0 => vec![0; sizes.len()],
        1 => sizes.iter().map(newest).collect(),
        2 | 3 => (0..).zip(sizes).map(|(at, size)| if at == one { 0 } else { size - 1 }).collect(),
        4 => (0..).zip(sizes).map(|(at, size)| if at == one { size - 1 } else { 0 }).collect(),
        _ => {
            let kept = [0.1, 0.3, 0.5, 0.5, 0.7, 0.9][random.random_range(0..6)];
            let mut choose = |size: &usize| {
                if random.random_bool(kept) { size - 1 } else { random.random_range(0..*size) }
            };
            sizes.iter().map(&mut choose).collect()
        }
    }
}

/// The pieces that are not as programs see them.
fn short(choice: &[usize], sizes: &[usize]) -> String {
    let older = (0..).zip(choice.iter().zip(sizes)).filter(|(_, (chosen, size))| **chosen + 1 < **size);
    let older: Vec<String> =
        older.map(|(at, (chosen, size)): (usize, _)| format!("{at}: {chosen} of {size}")).collect();
    format!("[{}]", older.join(", "))
}

fn to_storage(image: &Image) -> std::io::Result<MemoryStorage> {
    let storage = MemoryStorage::new();
    for (name, bytes) in image {
        storage.create(name)?.write_all_at(bytes, 0)?;
    }
    Ok(storage)
}

/// What a crash at some point leaves, chosen by a seed: for another life to begin with.
pub(crate) fn crashed(trace: &Trace, seed: u64) -> Image {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut disk = Disk::new(trace);
    let events = random.random_range(0..=trace.events.len());
    while disk.position() < events {
        disk.step();
    }
    let open = disk.open();
    open.image(&sample(&open, 1, 0, &mut random))
}

/// How many transactions of each writer an image has.
pub(crate) fn cut_of(image: &Image, setting: &Setting) -> Result<Cut, String> {
    let storage = to_storage(image).map_err(|error| error.to_string())?;
    let db = setting.builder().background(false).open_with_storage(Arc::new(storage));
    let cut = db.and_then(|db| cut(&db, setting.writers));
    cut.map_err(|error| format!("opening what a crash left: {error}"))
}
