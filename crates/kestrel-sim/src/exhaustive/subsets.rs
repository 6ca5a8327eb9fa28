//! What a power cut may leave at one moment: all of it if that is little, else a sample.

use std::collections::BTreeSet;

use kestrel_io::{CrashStorage, Piece};

use crate::Random;

/// So many outcomes are enumerated: all subsets of ten pending pieces.
const OUTCOMES_MAX: usize = 1 << 10;
/// Where there are more, so many are drawn.
const SAMPLES: usize = 256;
/// Torn variants of writes whose subsets are enumerated.
const TEARS: usize = 64;

/// Calls `each` with the images that a crash at this moment may leave, and how it was chosen.
///
/// Where sectors, lengths and names by themselves have at most 2^10 outcomes, these. Else, where at most ten operations are
/// pending, all subsets of them, each kept or lost as a whole, and then 64 in which pieces of single operations are torn apart.
/// Else 256, with nothing, everything and prefixes among them. `limit` bounds the number, for crashes within crashes.
pub(super) fn each_image(
    storage: &CrashStorage,
    seed: u64,
    limit: usize,
    mut each: impl FnMut(CrashStorage, &str),
) {
    let mut outcomes: usize = 1;
    let mut writers = BTreeSet::new();
    storage.for_each_piece(|piece| {
        outcomes = outcomes.saturating_mul(piece.alternatives());
        writers.extend(piece.writers().iter().copied());
    });
    if outcomes <= OUTCOMES_MAX.min(limit) {
        for outcome in 0..outcomes {
            let mut rest = outcome;
            let image = storage.crash_by(|piece| {
                let choice = rest % piece.alternatives();
                rest /= piece.alternatives();
                choice
            });
            each(image, &format!("outcome {outcome} of {outcomes}"));
        }
        return;
    }
    let writers: Vec<u64> = writers.into_iter().collect();
    let mut random = Random::new(seed);
    if writers.len() <= 10 && 1 << writers.len() <= limit {
        for subset in 0..1u32 << writers.len() {
            let kept =
                |writer: u64| writers.binary_search(&writer).is_ok_and(|index| subset >> index & 1 == 1);
            each(
                storage.crash_by(|piece| piece.keeping(kept)),
                &format!("operations {subset:b} of {writers:?}"),
            );
        }
        for tear in 0..TEARS.min(limit) {
            let torn = random.one_of(&writers);
            let subset = random.word();
            let image = storage.crash_by(|piece| {
                piece.keeping(|writer| match writers.binary_search(&writer) {
                    Ok(_) if writer == torn => random.percent(50),
                    Ok(index) => subset >> index & 1 == 1,
                    Err(_) => false,
                })
            });
            each(image, &format!("tear {tear} of operation {torn}, seed {seed}"));
        }
        return;
    }
    each(storage.crash_with(|_| 0), "nothing");
    each(storage.crash_with(|n| n - 1), "everything");
    for sample in 2..SAMPLES.min(limit) {
        let image = draw(storage, sample, &writers, &mut random);
        each(image, &format!("sample {sample}, seed {seed}"));
    }
}

fn draw(storage: &CrashStorage, sample: usize, writers: &[u64], random: &mut Random) -> CrashStorage {
    let share = random.one_of(&[10, 30, 50, 70, 90]);
    match sample % 4 {
        // A prefix, the next one torn.
        0 => {
            let cut = random.one_of(writers);
            storage.crash_by(|piece| {
                piece.keeping(|writer| writer < cut || (writer == cut && random.percent(50)))
            })
        }
        // Whole operations.
        1 => {
            let salt = random.word();
            storage.crash_by(|piece| piece.keeping(|writer| Random::new(salt ^ writer).percent(share)))
        }
        // Everything but a few pieces.
        2 => storage.crash_by(|piece| if random.percent(3) { 0 } else { newest(piece) }),
        _ => storage.crash_by(|piece| {
            if random.percent(share) { newest(piece) } else { random.index(piece.alternatives() - 1) }
        }),
    }
}

fn newest(piece: &Piece<'_>) -> usize {
    piece.alternatives() - 1
}
