//! What trees hold, known without the engine.

use std::collections::BTreeMap;

use kestrel_txn::TreeId;

/// A tree's name and entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tree {
    pub(crate) name: String,
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(crate) type Trees = BTreeMap<TreeId, Tree>;

/// One change, to be made to a transaction's view, and when it commits to the state.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(TreeId, Vec<u8>, Vec<u8>),
    Delete(TreeId, Vec<u8>),
    /// From the first to the last, both included.
    DeleteRange(TreeId, Vec<u8>, Vec<u8>),
    Create(TreeId, String),
    Drop(TreeId),
    Rename(TreeId, String),
}

impl Change {
    pub(crate) fn apply(&self, trees: &mut Trees) {
        match self {
            Change::Put(tree, key, value) => {
                entries(trees, *tree).insert(key.clone(), value.clone());
            }
            Change::Delete(tree, key) => {
                entries(trees, *tree).remove(key);
            }
            Change::DeleteRange(tree, low, high) => {
                entries(trees, *tree).retain(|key, _| key < low || key > high);
            }
            Change::Create(tree, name) => {
                trees.insert(*tree, Tree { name: name.clone(), entries: BTreeMap::new() });
            }
            Change::Drop(tree) => assert!(trees.remove(tree).is_some()),
            Change::Rename(tree, name) => name.clone_into(&mut trees.get_mut(tree).unwrap().name),
        }
    }
}

fn entries(trees: &mut Trees, tree: TreeId) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
    &mut trees.get_mut(&tree).unwrap().entries
}

/// The tree of a name.
pub(crate) fn find(trees: &Trees, name: &str) -> Option<TreeId> {
    trees.iter().find(|(_, tree)| tree.name == name).map(|(id, _)| *id)
}

/// The number in a value; entries without one are guards and fillers.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).unwrap().trim_end().parse().ok()
}

/// Entries as they stand in schedules, in the order of keys; guards and fillers left out.
pub(crate) fn text<'e>(entries: impl IntoIterator<Item = &'e (Vec<u8>, Vec<u8>)>) -> String {
    let mut all: Vec<String> = entries
        .into_iter()
        .filter_map(|(key, value)| Some(format!("k{}:{}", key[0] - b'0', number(value)?)))
        .collect();
    all.sort();
    if all.is_empty() { "none".to_owned() } else { all.join(",") }
}
