//! Every byte of a small database and its log: each of its bits flipped, zeros, ones.
//!
//! Bytes that opening, reading everything and verifying never read cannot matter; they are counted, and one in 97 is tried all
//! the same.

use std::collections::BTreeMap;

use super::damage::{Harm, Original};
use super::{Size, Summary, in_units};

/// Bytes of a unit.
const STRETCH: u64 = 512;
/// One of so many bytes that are never read.
const UNREAD: u64 = 97;

pub(super) fn run(size: Size, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    let original = match Original::make(0) {
        Ok(original) => original,
        Err(wrong) => {
            let mut summary = Summary::default();
            summary.finding(wrong);
            return summary;
        }
    };
    // One byte of so many, another one each time.
    let part = size.choose(401, 10, 1);
    let stretches: Vec<(String, u64)> = original
        .storage
        .files()
        .iter()
        .flat_map(|(name, len)| (0..len.div_ceil(STRETCH)).map(|stretch| (name.clone(), stretch * STRETCH)))
        .collect();
    in_units(stretches.len() as u64, progress, |unit, summary| {
        let (name, start) = &stretches[unit as usize];
        let mut bytes = vec![0; STRETCH as usize];
        let n = original.storage.peek(name, &mut bytes, *start);
        let mut outcomes: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (at, &byte) in (*start..).zip(&bytes[..n]) {
            if at % part != size.rotation() % part {
                continue;
            }
            if !original.is_read(name, at) && at % UNREAD != 0 {
                summary.count("bytes never read", 1);
                continue;
            }
            summary.count("bytes", 1);
            let changed = (0..8).map(|bit| byte ^ 1 << bit).chain([0, 0xFF]).filter(|&new| new != byte);
            for new in changed {
                let image = original.copy();
                let harm = Harm { file: name.clone(), start: at, end: at + 1 };
                let outcome = match image.poke(name, &[new], at) {
                    Ok(()) => original.judge(&image, &harm),
                    Err(error) => Err(error.to_string()),
                };
                match outcome {
                    Ok(outcome) => *outcomes.entry(outcome.name()).or_default() += 1,
                    Err(wrong) => {
                        summary.finding(format!("{name}, byte {at}, {byte:#04x} made {new:#04x}: {wrong}"));
                    }
                }
            }
        }
        outcomes.into_iter().for_each(|(what, count)| summary.count(what, count));
    })
}
