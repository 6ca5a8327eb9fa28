//! What is in a database, and whether it may be.

use std::sync::Arc;

use kestrel_io::Storage;
use kestreldb::simulation::ManualClock;
use kestreldb::{Builder, Database, ReadTxn};

use crate::deed::Bytes;
use crate::history::History;
use crate::model::{Contents, Entries};
use crate::step::Setup;
use crate::work::Trouble;

/// How a world's database is opened.
pub fn builder(setup: &Setup, clock: &ManualClock) -> Builder {
    Database::builder()
        .page_size(setup.page_size)
        .memory_budget(setup.memory_budget)
        .log_segment_size(setup.log_segment_size)
        .checkpoint_log_bytes(setup.checkpoint_log_bytes)
        .durability(setup.durability)
        .isolation(setup.isolation)
        .background(false)
        .simulated(Arc::new(clock.clone()), DATABASE)
}

/// The id of every database: none meets the files of another.
const DATABASE: u128 = 0x6B65_7374_7265_6C2D_7369_6D00_0000_0001;

/// All that a snapshot shows. Keys ascend, and counts are right; so they are backwards, if asked for.
pub(crate) fn contents(snapshot: &ReadTxn, backwards_too: bool) -> Result<Contents, Trouble> {
    let mut contents = Contents::new();
    for info in snapshot.trees()? {
        let name = &info.name;
        let Some(tree) = snapshot.existing_tree(name)? else {
            return Err(Trouble::Wrong(format!("tree {name:?} is listed and not there")));
        };
        let mut entries = Entries::new();
        for entry in snapshot.range(&tree, ..)? {
            let (key, value) = entry?;
            if entries.last_key_value().is_some_and(|(last, _)| last[..] >= key[..]) {
                return Err(Trouble::Wrong(format!("{key:?} is out of order in {name:?}")));
            }
            entries.insert(key.into_vec(), Bytes::from(&value[..]));
        }
        let counts = [entries.len() as u64, info.entries, snapshot.len(&tree)?];
        if counts.iter().any(|&count| count != counts[0]) {
            return Err(Trouble::Wrong(format!("scan, list and len of {name:?} say {counts:?}")));
        }
        if backwards_too {
            let mut left = entries.iter();
            for entry in snapshot.range(&tree, ..)?.rev() {
                let (key, value) = entry?;
                if left.next_back().is_none_or(|expected| (&key[..], &value[..]) != (expected.0, expected.1))
                {
                    return Err(Trouble::Wrong(format!(
                        "backwards, {name:?} shows {key:?} in another place"
                    )));
                }
            }
            if let Some((key, _)) = left.next_back() {
                let key = crate::deed::brief(key);
                return Err(Trouble::Wrong(format!("backwards, {name:?} does not show {key}")));
            }
        }
        contents.insert(info.name, Arc::new(entries));
    }
    Ok(contents)
}

/// Opens what a crash left: the commit whose state is there, if one may be. The structure has to be in order as well.
pub fn judge(storage: Arc<dyn Storage>, setup: &Setup, history: &History) -> Result<usize, String> {
    match judge_damaged(storage, setup, history)? {
        Verdict::Right(index) => Ok(index),
        Verdict::Refused(error) => Err(format!("it cannot be read: {error}")),
    }
}

/// What an opening may come to where more than a crash happened to the files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The state of this commit is there.
    Right(usize),
    /// The database cannot be opened, or read wholly; the error says why.
    Refused(String),
}

/// As [`judge`], of files that were damaged: an error is an answer, too. What can be read has to be right all the same.
pub fn judge_damaged(storage: Arc<dyn Storage>, setup: &Setup, history: &History) -> Result<Verdict, String> {
    let found = builder(setup, &ManualClock::new())
        .open_with_storage(storage)
        .map_err(Trouble::from)
        .and_then(|db| {
            let found = contents(&db.begin_read()?, false)?;
            let damages = db.verify()?.damages;
            Ok((found, damages))
        });
    match found {
        Err(Trouble::Error(error)) => Ok(Verdict::Refused(error.to_string())),
        Err(Trouble::Wrong(wrong)) => Err(wrong),
        Ok((found, damages)) => {
            let index = history.find(&found)?;
            let damages: Vec<String> = damages.iter().map(ToString::to_string).collect();
            if damages.is_empty() { Ok(Verdict::Right(index)) } else { Err(damages.join("; ")) }
        }
    }
}
