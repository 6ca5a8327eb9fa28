//! Plays schedules: step by step, in some manner, each transaction at the level that is tried.

use std::collections::BTreeSet;
use std::ops::Bound;

use kestrel_txn::Isolation;

use crate::manner::{Beside, Manner};
use crate::model::{number, text};
use crate::schedule::{Act, Filter, Key, Step};
use crate::world::{Entries, Txn, Way, World};

/// One schedule on its way.
pub(crate) struct Play<'w> {
    pub(crate) world: &'w mut World,
    level: Isolation,
    manner: Manner,
    /// Whether what the steps returned is held against the schedule, and not only against the model.
    literal: bool,
    txns: Vec<Option<Txn>>,
    writers: BTreeSet<usize>,
    /// Own writes go to a tree of their own, as somebody scans all of this one.
    own_tree: &'static str,
    conflicts: BTreeSet<usize>,
}

/// Whether a step may change something.
pub(crate) fn writes(act: &Act) -> bool {
    matches!(
        act,
        Act::Write(..)
            | Act::Delete(_)
            | Act::DeleteRange(..)
            | Act::Add(_)
            | Act::DeleteWhere(_)
            | Act::Pop { .. }
            | Act::Make(_)
            | Act::Drop(_)
            | Act::Rename(..)
    )
}

pub(crate) fn scans_all(act: &Act) -> bool {
    matches!(act, Act::Scan { .. } | Act::Add(_) | Act::DeleteWhere(_) | Act::Len(_) | Act::Trees)
}

/// Plays a schedule from the present state on. Returns whose commits were conflicts.
pub(crate) fn play(
    world: &mut World,
    steps: &[Step],
    (level, manner, literal): (Isolation, Manner, bool),
) -> BTreeSet<usize> {
    let writers = steps.iter().filter(|step| writes(&step.act)).map(|step| step.txn).collect();
    let own_tree = if steps.iter().any(|step| scans_all(&step.act)) { "own" } else { "t" };
    let txns = (0..10).map(|_| None).collect();
    let conflicts = BTreeSet::new();
    let mut play = Play { world, level, manner, literal, txns, writers, own_tree, conflicts };
    for step in steps {
        play.step(step);
    }
    drop(play.txns);
    let conflicts = play.conflicts;
    world.check();
    conflicts
}

impl Play<'_> {
    fn step(&mut self, step: &Step) {
        let number = step.txn;
        let is_writer = self.writers.contains(&number);
        let mut txn = self.txns[number].take().unwrap_or_else(|| {
            if self.manner.beside == Beside::Readers && !is_writer {
                self.world.begin_read()
            } else {
                self.world.begin(self.level)
            }
        });
        if self.manner.beside == Beside::OwnWrites && is_writer {
            let tree = txn.id(self.own_tree);
            let key = format!("own {number}");
            let value =
                txn.get(tree, key.as_bytes()).map_or(0, |old| crate::model::number(&old).unwrap_or(0)) + 1;
            txn.put(tree, key.as_bytes(), value.to_string().as_bytes());
            assert!(txn.get(tree, key.as_bytes()).is_some());
        }
        match &step.act {
            Act::Commit => {
                if !self.world.commit(txn) {
                    self.conflicts.insert(number);
                }
                return;
            }
            Act::Abort => return,
            act => {
                let returned = self.act(&mut txn, act);
                if let (Some(expected), Some(returned)) = (&step.expected, returned)
                    && self.literal
                {
                    assert_eq!(&returned, expected, "{}", step.text);
                }
            }
        }
        self.txns[number] = Some(txn);
    }

    fn act(&self, txn: &mut Txn, act: &Act) -> Option<String> {
        let Manner { reading, writing, .. } = self.manner;
        match act {
            Act::Read(key) => {
                let value = reading.read(txn, key)?;
                return Some(
                    value.and_then(|value| number(&value)).map_or("none".to_owned(), |v| v.to_string()),
                );
            }
            Act::Write(key, value) => writing.write(txn, key, *value),
            Act::Delete(key) => writing.delete(txn, key),
            Act::DeleteRange(low, high) => txn.delete_range(txn.id(&low.tree), &low.bytes, &high.bytes),
            Act::Scan { filter, back: false } => {
                return reading.scan(txn, *filter).map(|found| listed(&found));
            }
            Act::Scan { filter, back: true } => {
                let found = txn.scan_all(txn.id("t"), Way::Backwards);
                return Some(text(&kept(found, *filter)));
            }
            Act::Half { key, back, before } => return Some(text(&half(txn, key, *back, *before))),
            Act::Open(tree) => txn.open(txn.id(tree)),
            Act::Empty(tree) => {
                let nothing = (Bound::Excluded(&b"b"[..]), Bound::Excluded(&b"a"[..]));
                return Some(text(&txn.scan_empty(txn.id(tree), nothing)));
            }
            Act::Next { back } => return Some(text(&txn.next(*back, |key| key.ends_with(b":k")))),
            Act::Add(more) => {
                for (key, value) in reading.scan(txn, Filter::All)? {
                    writing.write(txn, &key, value + more);
                }
            }
            Act::DeleteWhere(filter) => {
                for (key, _) in reading.scan(txn, *filter)? {
                    writing.delete(txn, &key);
                }
            }
            Act::Pop { last } => return Some(pop(txn, *last)),
            Act::Len(tree) => return Some(txn.len(txn.id(tree)).to_string()),
            Act::Trees => txn.trees(),
            Act::Savepoint => txn.savepoint(),
            Act::RollBack => txn.roll_back(),
            Act::Release => txn.release(),
            Act::Make(name) => {
                txn.create_tree(name);
            }
            Act::Drop(name) => txn.drop_tree(name),
            Act::Rename(from, to) => txn.rename_tree(from, to),
            Act::Find(name) => return Some(if txn.find(name) { "yes" } else { "no" }.to_owned()),
            Act::Begin | Act::Commit | Act::Abort => {}
        }
        None
    }
}

fn kept(entries: Entries, filter: Filter) -> Entries {
    entries.into_iter().filter(|(_, value)| number(value).is_some_and(|value| filter.keeps(value))).collect()
}

fn listed(found: &[(Key, u32)]) -> String {
    let entries: Entries =
        found.iter().map(|(key, value)| (key.bytes.clone(), value.to_string().into_bytes())).collect();
    text(&entries)
}

/// Scans up to a key, or to its guard.
fn half(txn: &Txn, key: &Key, back: bool, before: bool) -> Entries {
    let stop = match (before, back) {
        (false, _) => key.bytes.clone(),
        (true, false) => key.beside("a"),
        (true, true) => key.beside("z"),
    };
    let way = if back { Way::Backwards } else { Way::Forwards };
    txn.scan(txn.id(&key.tree), (Bound::Unbounded, Bound::Unbounded), way, |at| {
        if back { at <= &stop[..] } else { at >= &stop[..] }
    })
}

/// Takes the first or last entry out that is no guard or filler.
fn pop(txn: &mut Txn, last: bool) -> String {
    let way = if last { Way::Backwards } else { Way::Forwards };
    let tree = txn.id("t");
    let mut found = txn.scan(tree, (Bound::Unbounded, Bound::Unbounded), way, |key| key.ends_with(b":k"));
    found.retain(|(key, _)| key.ends_with(b":k"));
    for (key, _) in &found {
        txn.delete(tree, key);
    }
    text(&found)
}
