//! Every file cut to every length, extended, removed, replaced by an older copy of itself or by another database's.

use kestrel_io::CrashStorage;

use super::damage::{Harm, Original, Outcome};
use super::{Size, Summary, in_units};

/// Lengths of a unit.
const STRETCH: u64 = 512;

pub(super) fn run(size: Size, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    let made = Original::make(0).and_then(|original| Ok((original, Original::make(1)?)));
    let (original, other) = match made {
        Ok(originals) => originals,
        Err(wrong) => {
            let mut summary = Summary::default();
            summary.finding(wrong);
            return summary;
        }
    };
    let part = size.choose(4001, 101, 1);
    let mut stretches: Vec<(String, u64, u64)> = Vec::new();
    for (name, len) in original.storage.files() {
        let starts = (0..=len / STRETCH).map(|stretch| stretch * STRETCH);
        stretches.extend(starts.map(|start| (name.clone(), start, len)));
    }
    let cuts = stretches.len() as u64;
    in_units(cuts + 1, progress, |unit, summary| match stretches.get(unit as usize) {
        Some((name, start, len)) => {
            for to in (*start..start + STRETCH).filter(|to| to < len) {
                // The boundaries of sectors always.
                if to % STRETCH == 0 && part < 1000 || to % part == size.rotation() % part {
                    let image = original.copy();
                    let outcome = image.poke_len(name, to).map_err(|error| error.to_string());
                    let harm = Harm { file: name.clone(), start: to, end: *len };
                    let outcome = outcome.and_then(|()| original.judge(&image, &harm));
                    note(summary, &format!("{name} cut to {to}"), outcome);
                    summary.count("cuts", 1);
                }
            }
        }
        None => whole_files(&original, &other, summary),
    })
}

fn note(summary: &mut Summary, what: &str, outcome: Result<Outcome, String>) {
    match outcome {
        Ok(outcome) => summary.count(outcome.name(), 1),
        Err(wrong) => summary.finding(format!("{what}: {wrong}")),
    }
}

fn whole_files(original: &Original, other: &Original, summary: &mut Summary) {
    for (name, len) in original.storage.files() {
        let all = Harm { file: name.clone(), start: 0, end: len };
        for more in [1, 8, 511, 512, 4096, 65_536, 1 << 20] {
            let image = original.copy();
            let outcome = image.poke_len(&name, len + more).map_err(|error| error.to_string());
            let harm = Harm { start: len, end: len, ..all.clone() };
            let outcome = outcome.and_then(|()| original.judge(&image, &harm));
            note(summary, &format!("{name} made {more} bytes longer"), outcome);
            summary.count("extensions", 1);
        }
        let image = original.copy();
        image.poke_removal(&name);
        note(summary, &format!("{name} removed"), original.judge(&image, &all));
        summary.count("removals", 1);
        replace(original, &original.older, &all, "an older copy", summary);
        replace(original, &other.storage, &all, "another database's", summary);
    }
}

fn replace(original: &Original, by: &CrashStorage, all: &Harm, whose: &str, summary: &mut Summary) {
    let bytes = by.contents(&all.file);
    if bytes.is_empty() || bytes == original.storage.contents(&all.file) {
        return;
    }
    let image = original.copy();
    let outcome = image.poke_file(&all.file, &bytes).map_err(|error| error.to_string());
    let outcome = outcome.and_then(|()| original.judge(&image, all));
    note(summary, &format!("{} replaced by {whose}", all.file), outcome);
    summary.count("replacements", 1);
}
