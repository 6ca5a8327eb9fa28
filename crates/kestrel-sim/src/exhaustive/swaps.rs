//! Every page in the place of every other, and pages and sectors in the places of their newer selves.

use super::damage::{Harm, Original};
use super::{Size, Summary, in_units};

const SECTOR: usize = 512;
const DATA: &str = "kestrel.data";
const FOOTER: usize = 32;

/// An image, or a large value, that lies in the data file: in use or not.
#[derive(Clone, Debug)]
struct Image {
    page: u32,
    start: usize,
    bytes: Vec<u8>,
}

/// All images of a data file, found by their footers as `docs/file-format.md` describes them.
fn images(data: &[u8]) -> Vec<Image> {
    let mut images = Vec::new();
    for end in (SECTOR..=data.len()).step_by(SECTOR) {
        let footer = &data[end - FOOTER..end];
        let number =
            |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
        if &footer[4..8] != b"KIMG" && &footer[4..8] != b"KBLB" {
            continue;
        }
        let len = (number(24) as usize + FOOTER).next_multiple_of(SECTOR);
        if let Some(start) = end.checked_sub(len) {
            images.push(Image { page: number(8), start, bytes: data[start..end].to_vec() });
        }
    }
    images
}

/// What lies where instead.
struct Swap {
    file: String,
    start: usize,
    bytes: Vec<u8>,
    what: &'static str,
}

pub(super) fn run(size: Size, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    let databases = size.choose(1, 2, 12);
    let part = size.choose(211, 7, 1);
    let mut total = Summary::default();
    for number in 0..databases {
        let original = match Original::make(10 + number) {
            Ok(original) => original,
            Err(wrong) => {
                total.finding(wrong);
                continue;
            }
        };
        let mut swaps = pages(&original);
        swaps.extend(sectors(&original));
        let swaps: Vec<Swap> = swaps
            .into_iter()
            .enumerate()
            .filter(|(index, swap)| {
                swap.what != "pages exchanged" || *index as u64 % part == size.rotation() % part
            })
            .map(|(_, swap)| swap)
            .collect();
        total += in_units(swaps.len() as u64, progress, |unit, summary| {
            one(&original, &swaps[unit as usize], number, summary);
        });
    }
    total
}

fn one(original: &Original, swap: &Swap, number: u64, summary: &mut Summary) {
    let image = original.copy();
    let (start, end) = (swap.start as u64, (swap.start + swap.bytes.len()) as u64);
    let harm = Harm { file: swap.file.clone(), start, end };
    let outcome = image.poke(&swap.file, &swap.bytes, start).map_err(|error| error.to_string());
    match outcome.and_then(|()| original.judge(&image, &harm)) {
        Ok(outcome) => summary.count(outcome.name(), 1),
        Err(wrong) => summary.finding(format!(
            "database {number}, {} bytes {start} to {end} of {} ({}): {wrong}",
            swap.bytes.len(),
            swap.file,
            swap.what
        )),
    }
    summary.count(swap.what, 1);
}

/// Every image where every other lies; older images of a page where its newest lies. They end where those ended.
fn pages(original: &Original) -> Vec<Swap> {
    let all = images(&original.storage.contents(DATA));
    let mut swaps = Vec::new();
    for (index, target) in all.iter().enumerate() {
        for (other, source) in all.iter().enumerate() {
            if index == other {
                continue;
            }
            let len = source.bytes.len().min(target.bytes.len());
            swaps.push(Swap {
                file: DATA.to_owned(),
                start: target.start + target.bytes.len() - len,
                bytes: source.bytes[source.bytes.len() - len..].to_vec(),
                what: if target.page == source.page { "a page's other self" } else { "pages exchanged" },
            });
        }
    }
    swaps
}

/// Sectors, and runs of eight, as they were in the older copy, or zero.
fn sectors(original: &Original) -> Vec<Swap> {
    let mut swaps = Vec::new();
    for (file, len) in original.storage.files() {
        let new = original.storage.contents(&file);
        let mut old = original.older.contents(&file);
        old.resize(len as usize, 0);
        let zeros = vec![0; len as usize];
        for (run, what) in [(1, "a sector's older self"), (8, "eight sectors' older selves")] {
            for start in (0..new.len()).step_by(SECTOR * run) {
                let range = start..(start + SECTOR * run).min(new.len());
                for (source, what) in [(&old, what), (&zeros, "sectors never written")] {
                    if source[range.clone()] != new[range.clone()] && original.is_read(&file, start as u64) {
                        let bytes = source[range.clone()].to_vec();
                        swaps.push(Swap { file: file.clone(), start, bytes, what });
                    }
                }
            }
        }
    }
    swaps
}
