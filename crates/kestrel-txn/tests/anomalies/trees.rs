//! The table once more, with trees in place of keys: a key is there if a tree of its name exists, a write creates, drops or
//! renames it, a read looks for the name, a scan lists the trees.

use std::collections::{BTreeMap, BTreeSet};

use kestrel_txn::Isolation;

use crate::LEVELS;
use crate::play::writes;
use crate::schedule::{Act, Key, Step, conflicts, steps};
use crate::table::TABLE;
use crate::world::{Layout, Txn, World, initial};

/// How a tree is changed that is there. One that is not is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Changing {
    Drop,
    Rename,
    /// To a savepoint and back, and then again.
    DropRedone,
    /// And another of its name is created.
    Replace,
}

const CHANGINGS: [Changing; 4] = [Changing::Drop, Changing::Rename, Changing::DropRedone, Changing::Replace];

fn name(key: &Key) -> String {
    format!("k{}", char::from(key.bytes[0]))
}

impl Changing {
    fn write(self, txn: &mut Txn, name: &str) {
        if crate::model::find(&txn.view, name).is_none() {
            txn.create_tree(name);
            return;
        }
        match self {
            Changing::Drop => txn.drop_tree(name),
            Changing::Rename => {
                // Twice in one transaction, it needs another name.
                let other = (0..).map(|n| format!("{name} was {n}"));
                let free = other.into_iter().find(|other| crate::model::find(&txn.view, other).is_none());
                txn.rename_tree(name, &free.unwrap());
            }
            Changing::DropRedone => {
                txn.savepoint();
                txn.drop_tree(name);
                txn.roll_back();
                txn.drop_tree(name);
                txn.release();
            }
            Changing::Replace => {
                txn.drop_tree(name);
                txn.create_tree(name);
            }
        }
    }
}

/// Plays a schedule. Returns whose commits were conflicts.
fn play(
    world: &mut World,
    steps: &[Step],
    level: Isolation,
    changing: Changing,
    readers: bool,
) -> BTreeSet<usize> {
    let writers: BTreeSet<usize> =
        steps.iter().filter(|step| writes(&step.act)).map(|step| step.txn).collect();
    let mut txns: BTreeMap<usize, Txn> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for step in steps {
        let mut txn = txns.remove(&step.txn).unwrap_or_else(|| {
            if readers && !writers.contains(&step.txn) { world.begin_read() } else { world.begin(level) }
        });
        match &step.act {
            Act::Read(key) => {
                txn.find(&name(key));
            }
            Act::Write(key, _) => changing.write(&mut txn, &name(key)),
            Act::Delete(key) => txn.drop_tree(&name(key)),
            Act::Scan { .. } => txn.trees(),
            Act::Add(_) => {
                txn.trees();
                for name in ["k1", "k2"] {
                    changing.write(&mut txn, name);
                }
            }
            Act::DeleteWhere(_) => {
                txn.trees();
                txn.drop_tree("k2");
            }
            Act::Begin => {}
            Act::Commit => {
                if !world.commit(txn) {
                    found.insert(step.txn);
                }
                continue;
            }
            Act::Abort => continue,
            _ => panic!("{} is in no row of the table", step.text),
        }
        txns.insert(step.txn, txn);
    }
    drop(txns);
    world.check();
    found
}

#[test]
fn every_row_with_trees_for_keys() {
    let mut count = 0;
    let mut world = World::new();
    for (row, schedule, snapshot, serializable) in TABLE {
        let steps = steps(schedule);
        let has_deletes =
            steps.iter().any(|step| matches!(step.act, Act::Delete(_) | Act::Add(_) | Act::DeleteWhere(_)));
        for (level, expected) in LEVELS.into_iter().zip([snapshot, serializable]) {
            // What is not there cannot be dropped.
            for present in [true, false].into_iter().filter(|present| *present || !has_deletes) {
                for changing in CHANGINGS {
                    for readers in [false, true] {
                        world.reset(&initial(Layout::Bare, &[]), if present { &["k1", "k2"] } else { &[] });
                        let found = play(&mut world, &steps, level, changing, readers);
                        assert_eq!(
                            found,
                            conflicts(expected),
                            "{row}, {level:?}, there: {present}, {changing:?}, readers: {readers}"
                        );
                        count += 1;
                    }
                }
            }
        }
    }
    world.verify();
    println!("{count} cases");
    assert_eq!(count, (2 * 13 - 2) * 2 * 4 * 2);
}
