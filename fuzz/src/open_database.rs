//! Hostile directories given to the whole database.
//!
//! A database as the engine leaves it when its process is killed, checkpoint and log, is changed as the input says; then,
//! if the input says so, all checksums are made right again. Opening, reading, verifying and writing must end, with errors
//! or without. What can be read while no checksum was forged is a state that the database once had. What is written to a
//! damaged database, and closed without an error, is there afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kestrel_io::MemoryStorage;
use kestreldb::{Database, Error, ErrorKind};

use crate::allowance::Allowance;
use crate::files::{Files, Noticed};
use crate::input::Input;
use crate::model::Map;
use crate::repair;

/// All trees by name.
pub(crate) type Trees = BTreeMap<String, Map>;

/// A directory, the id of its database, and the states it had since it was created.
struct Template {
    files: Files,
    id: u128,
    states: Vec<Trees>,
}

const BUDGET: u64 = 8 << 20;

/// Runs one input.
pub fn run(data: &[u8]) {
    static TEMPLATES: OnceLock<Vec<Template>> = OnceLock::new();
    let templates =
        TEMPLATES.get_or_init(|| vec![template(3, 0, 8), template(12, 6, 40), template(20, 19, 15)]);
    let mut input = Input::new(data);
    let template = &templates[input.below(templates.len())];
    let mut files = template.files.clone();
    let mut noticed = files.vandalise(&mut input);
    if input.one_in(2) {
        noticed = Noticed::Perhaps;
        repair::all(&mut files, template.id);
    }
    let storage = files.storage();
    let _allowance = Allowance::new(files.bytes(), BUDGET as usize);
    let Ok(db) = open(&storage) else { return };
    match contents(&db) {
        Ok(found) if noticed == Noticed::Surely => {
            assert!(template.states.contains(&found), "the database holds what it never held");
        }
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}"),
    }
    db.verify().expect("damage is reported, not an error");
    write(&storage, db, &mut input);
}

fn open(storage: &MemoryStorage) -> Result<Database, Error> {
    let builder = Database::builder().background(false).memory_budget(BUDGET).log_segment_size(64 << 10);
    builder.open_with_storage(Arc::new(storage.clone()))
}

/// Writes to whatever is left.
fn write(storage: &MemoryStorage, db: Database, input: &mut Input<'_>) {
    let mut written = Map::new();
    let Ok(tree) = db.tree("written behind the damage") else { return };
    for _ in 0..input.below(20) {
        let key = vec![input.byte(); input.below(40)];
        let value = vec![input.byte(); usize::from(input.short()) % 3000];
        if tree.put(&key, &value).is_ok() {
            written.insert(key, value);
        }
    }
    // Where the damage is, these may fail.
    if let Ok(trees) = db.trees() {
        for info in trees.into_iter().filter(|info| info.name != tree.name()) {
            let _ = db.tree(&info.name).and_then(|tree| tree.remove_range(..));
        }
    }
    while db.maintain().is_ok_and(|more| more) {}
    let closed = db.close();
    drop(tree);
    if closed.is_ok() {
        let db = open(storage).expect("what was closed in good order opens again");
        let tree = db.existing_tree("written behind the damage").expect("readable").expect("there");
        let found = entries(&tree.range(..).expect("readable").collect::<Vec<_>>()).expect("readable");
        for (key, value) in &written {
            assert_eq!(found.get(key), Some(value), "what was written after the damage is gone");
        }
    }
}

fn entries(range: &[Result<(kestreldb::Key, kestreldb::Value), Error>]) -> Result<Map, Error> {
    let owned = range.iter().map(|entry| match entry {
        Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
        Err(error) => Err(error.clone()),
    });
    owned.collect()
}

pub(crate) fn contents(db: &Database) -> Result<Trees, Error> {
    let txn = db.begin_read()?;
    let mut found = Trees::new();
    for info in txn.trees()? {
        if let Some(tree) = txn.existing_tree(&info.name)? {
            let map = entries(&txn.range(&tree, ..)?.collect::<Vec<_>>())?;
            found.insert(info.name, map);
        }
    }
    Ok(found)
}

/// So many commits, of which the last before `checkpoint` are in the data file only and the others in the log.
fn template(commits: u64, checkpoint: u64, changes: u64) -> Template {
    let storage = MemoryStorage::new();
    let db = open(&storage).unwrap();
    let mut states = vec![Trees::new()];
    for commit in 0..commits {
        if commit == checkpoint {
            db.checkpoint().unwrap();
        }
        let name = ["a", "a tree", "third"][(commit % 3) as usize];
        db.write(|tx| {
            let tree = tx.tree(name)?;
            for change in 0..changes {
                let number = commit * 7919 + change * change * 31;
                let key = format!("key-{:05}", number % 997);
                match number % 9 {
                    0 => drop(tx.delete(&tree, key)?),
                    1 => tx.put(&tree, key, vec![number as u8; 1500 + number as usize % 5000])?,
                    _ => tx.put(&tree, key, vec![number as u8; number as usize % 200])?,
                }
            }
            Ok::<_, Error>(())
        })
        .unwrap();
        states.push(contents(&db).unwrap());
    }
    // The database is open still: what is copied is what a killed process leaves.
    let mut files = Files::of(&storage);
    let id = files.database().expect("a data file");
    // The rest was never written. Without it there is less to copy for each input.
    files.trim("kestrel.data");
    let db_open = open(&files.storage()).unwrap();
    assert_eq!(contents(&db_open).unwrap(), *states.last().unwrap());
    Template { files, id, states }
}
