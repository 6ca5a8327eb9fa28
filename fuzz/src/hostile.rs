//! Numbers of a database's files, one after the other, made to lie: with all checksums right again, as by a forger.
//!
//! There are lengths, counts, places and names of others all over the files. Which bytes are which need not be known: every place
//! that is not a value's filling gets every lie. Nothing may panic, take long, or take memory for what a number
//! promises rather than for what is there.

use std::sync::Arc;

use kestrel_io::MemoryStorage;
use kestreldb::{Database, Error};

use crate::allowance::Allowance;
use crate::files::Files;
use crate::open_database::contents;
use crate::repair;

const BUDGET: u64 = 2 << 20;
/// What values consist of.
const FILLING: u8 = 0xA5;
/// What is written over numbers: the greatest ones of each width, signed and not, nothing, and something near.
const LIES: [&[u8]; 8] = [
    &[0xFF; 8],
    &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
    &[0xFF; 4],
    &[0xFF, 0xFF, 0xFF, 0x7F],
    &[0x00, 0x00, 0x01, 0x00],
    &[0xFF, 0xFF],
    &[0x00; 2],
    &[0x09],
];

/// Tells every lie at every `stride`-th place, from the one of number `first` on. Returns how many databases were opened, and how
/// many of those attempts were refused.
pub fn sweep(first: usize, stride: usize) -> (usize, usize) {
    let (files, database) = template();
    let places: Vec<(usize, usize)> =
        files.contents().enumerate().flat_map(|(file, bytes)| numbers(file, bytes)).collect();
    let (mut opened, mut refused) = (0, 0);
    for &(file, at) in places.iter().skip(first).step_by(stride) {
        for lie in LIES {
            let mut changed = files.clone();
            if let Some((_, bytes)) = changed.iter_mut().nth(file) {
                bytes.iter_mut().skip(at).zip(lie).for_each(|(byte, lie)| *byte = *lie);
            }
            repair::all(&mut changed, database);
            opened += 1;
            let storage = changed.storage();
            let _allowance = Allowance::new(changed.bytes(), BUDGET as usize);
            match open(&storage) {
                Ok(db) => {
                    let _ = contents(&db);
                    db.verify().expect("damage is reported, not an error");
                    let _ = db.tree("a").and_then(|tree| tree.put("more", "value"));
                    let _ = db.close();
                }
                Err(_) => refused += 1,
            }
        }
    }
    (opened, refused)
}

/// The places in a file that are near something that was written and is no filling.
fn numbers(file: usize, bytes: &[u8]) -> Vec<(usize, usize)> {
    let is_number = |at: &usize| {
        let near = bytes.get(at.saturating_sub(8)..(at + 8).min(bytes.len())).unwrap_or(&[]);
        near.iter().any(|byte| *byte != 0) && !near.iter().all(|byte| *byte == FILLING)
    };
    (0..bytes.len()).filter(is_number).map(|at| (file, at)).collect()
}

fn open(storage: &MemoryStorage) -> Result<Database, Error> {
    let builder = Database::builder().background(false).memory_budget(BUDGET).log_segment_size(64 << 10);
    builder.open_with_storage(Arc::new(storage.clone()))
}

/// A small database with everything in it, as a killed process leaves it: images, a large value and a dropped tree in the
/// checkpoint; every kind of operation and a large value in the log behind it.
fn template() -> (Files, u128) {
    let storage = MemoryStorage::new();
    let db = open(&storage).expect("memory does not fail");
    let filling = |len| vec![FILLING; len];
    let written = (|| {
        let tree = db.tree("a")?;
        tree.put("key", filling(20))?;
        tree.put("large", filling(3000))?;
        db.create_tree("dropped")?.put("k", "v")?;
        db.checkpoint()?;
        db.write(|tx| {
            tx.put(&tree, "more", filling(5))?;
            tx.put(&tree, "as large", filling(70_000))?;
            tx.delete(&tree, "key")?;
            tx.remove_range(&tree, "x".."z")?;
            tx.create_tree("new")?;
            tx.rename_tree("new", "newer")?;
            tx.drop_tree("dropped")
        })?;
        db.write(|tx| (0..120).try_for_each(|number: u8| tx.put(&tree, [number], filling(600))))
    })();
    written.expect("memory does not fail");
    let mut files = Files::of(&storage);
    let database = files.database().expect("a data file");
    files.trim("kestrel.data");
    (files, database)
}
