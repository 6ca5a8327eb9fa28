//! Writing what is left into a new database, or nowhere, to see what can be read.

use std::collections::HashMap;

use kestrel_btree::{Cell, leaf_entries};
use kestrel_pager::{FileSurvey, Location, PageId, TreeId};

use super::pages::{Node, Pages, Source};
use super::{DURABILITY, SalvageReport, SalvagedTree};
use crate::{Damage, Engine, Error, ErrorKind, Isolation, KeyBounds, WriteTxn};

/// Bytes of entries that are committed together.
const BATCH: usize = 1 << 20;

/// See the module's description.
pub(super) struct Saver<'e> {
    target: Option<&'e Engine>,
    /// The trees of the source in the target, with their names there.
    trees: HashMap<TreeId, (TreeId, String)>,
    /// Without a target: how many entries there were.
    counted: u64,
    batch: Option<WriteTxn>,
    batched: usize,
}

impl<'e> Saver<'e> {
    pub(super) fn new(target: Option<&'e Engine>) -> Saver<'e> {
        Saver { target, trees: HashMap::new(), counted: 0, batch: None, batched: 0 }
    }

    /// The transaction that is being filled; `None` without a target.
    pub(super) fn txn(&mut self) -> Result<Option<&WriteTxn>, Error> {
        if let (None, Some(target)) = (&self.batch, self.target) {
            self.batch = Some(target.begin_write(Isolation::Snapshot)?);
        }
        Ok(self.batch.as_ref())
    }

    /// Counts bytes, and commits if they are many.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.batched += bytes;
        if self.batched > BATCH { self.commit() } else { Ok(()) }
    }

    pub(super) fn commit(&mut self) -> Result<(), Error> {
        self.batched = 0;
        match self.batch.take() {
            Some(txn) => txn.commit(DURABILITY).map(drop),
            None => Ok(()),
        }
    }

    /// The tree in the target that stands for one of the source, made if there is none.
    pub(super) fn tree(&mut self, id: TreeId) -> Result<TreeId, Error> {
        match self.trees.get(&id) {
            Some((tree, _)) => Ok(*tree),
            None => self.create(id, &format!("tree-{}", id.0)),
        }
    }

    pub(super) fn known(&self, id: TreeId) -> Option<TreeId> {
        self.trees.get(&id).map(|(tree, _)| *tree)
    }

    pub(super) fn name(&self, id: TreeId) -> String {
        self.trees.get(&id).map_or_else(|| format!("tree-{}", id.0), |(_, name)| name.clone())
    }

    pub(super) fn create(&mut self, id: TreeId, name: &str) -> Result<TreeId, Error> {
        let mut name = name.to_owned();
        let created = match self.txn()? {
            None => id,
            Some(txn) => match txn.create_tree(&name) {
                Err(error) if error.kind() == ErrorKind::TreeExists => {
                    name = format!("{name} ({})", id.0);
                    txn.create_tree(&name)?
                }
                created => created?,
            },
        };
        self.trees.insert(id, (created, name));
        Ok(created)
    }

    pub(super) fn rename(&mut self, id: TreeId, name: &str) -> Result<(), Error> {
        let Some((tree, old)) = self.trees.get(&id).cloned() else { return Ok(()) };
        if let Some(txn) = self.txn()? {
            match txn.rename_tree(&old, name) {
                Err(error) if error.kind() == ErrorKind::TreeExists => return Ok(()),
                renamed => renamed?,
            };
        }
        self.trees.insert(id, (tree, name.to_owned()));
        Ok(())
    }

    pub(super) fn drop_tree(&mut self, id: TreeId) -> Result<(), Error> {
        let Some((_, name)) = self.trees.remove(&id) else { return Ok(()) };
        match self.txn()? {
            Some(txn) => txn.drop_tree(&name).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Some(txn) = self.txn()? {
            txn.put(tree, key, value)?;
        }
        self.add(key.len() + value.len() + 16)
    }

    /// Saves all leaves that count.
    pub(super) fn save(
        &mut self,
        file: &FileSurvey,
        pages: &mut Pages,
        report: &mut SalvageReport,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let total: u64 = pages.trees.values().map(|tree| tree.leaves.len() as u64).sum();
        let mut done = 0;
        let mut node = Node::new(file);
        for (&id, leaves) in &pages.trees {
            let tree = self.create(id, &leaves.name)?;
            let mut saved = 0;
            for (high, source) in leaves.leaves.iter().map(|(low, (high, source))| ((low, high), source)) {
                done += 1;
                progress(total + done, 2 * total);
                let read = match source {
                    Source::Certain(page, entry) => file.read_image(*page, entry, &mut node.packed),
                    Source::Found(found) => file.read_found(found, &mut node.packed),
                };
                if let Err(detail) = read.map_err(|error| error.to_string()).and_then(|_| node.open()) {
                    // It was intact a moment ago.
                    let (low, high) = (high.0.clone(), high.1.clone());
                    report.lost.push(Damage::new(detail).of(&leaves.name, Some(KeyBounds { low, high })));
                    continue;
                }
                for (key, cell) in leaf_entries(&node.bytes) {
                    let kept = match cell {
                        Cell::Inline(value) => {
                            self.put(tree, &key, value)?;
                            true
                        }
                        Cell::Blob(blob) => {
                            let named = pages.blobs.get(&blob.page).filter(|(_, len)| *len == blob.len);
                            let found = pages.found_blobs.get(&(blob.len, blob.checksum));
                            let places = named.map(|(place, _)| place).into_iter().chain(found).copied();
                            match read_blob(file, blob.page, places, blob.len, blob.checksum) {
                                Ok(value) => {
                                    self.put(tree, &key, &value)?;
                                    true
                                }
                                Err(damage) => {
                                    let damage = damage.on(blob.page);
                                    report.lost.push(damage.of(&leaves.name, Some(KeyBounds::one(&key))));
                                    false
                                }
                            }
                        }
                    };
                    saved += u64::from(kept);
                }
            }
            self.counted += saved;
            if let Some(noted) = leaves.noted.filter(|noted| *noted != saved) {
                let detail = format!("{saved} of the {noted} entries that the checkpoint counted are left");
                report.damages.push(Damage::new(detail).of(&leaves.name, None));
            }
        }
        Ok(())
    }

    /// Makes everything durable; the trees that there are now.
    pub(super) fn finish(mut self) -> Result<Vec<SalvagedTree>, Error> {
        self.commit()?;
        let Some(target) = self.target else {
            let counted = self.counted;
            let mut trees: Vec<SalvagedTree> =
                self.trees.into_values().map(|(_, name)| SalvagedTree { name, entries: 0 }).collect();
            if let Some(first) = trees.first_mut() {
                first.entries = counted;
            }
            return Ok(trees);
        };
        target.checkpoint()?;
        let trees = target.begin_read()?.trees()?;
        Ok(trees.into_iter().map(|tree| SalvagedTree { name: tree.name, entries: tree.entries }).collect())
    }
}

/// Reads a large value from the first place where it is.
pub(super) fn read_blob(
    file: &FileSurvey,
    page: PageId,
    places: impl Iterator<Item = Location>,
    len: u32,
    checksum: u32,
) -> Result<Vec<u8>, Box<Damage>> {
    let mut failed = Damage::new("its large value is not to be found");
    for place in places {
        match file.read_blob(page, place, len, checksum) {
            Ok(value) => return Ok(value),
            Err(error) => failed = Damage::from(error),
        }
    }
    Err(Box::new(failed))
}
