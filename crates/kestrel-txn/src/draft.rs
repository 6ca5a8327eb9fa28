//! A draft: what a transaction's operations make of a snapshot. It can be thrown away and made again from the
//! operations, over a newer snapshot: that is what a commit does when others changed its pages, and what recovery does.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kestrel_btree::{
    BlobRef, Cell, FoundCell, Seek, TOGETHER, create_root, find, fits_inline, leaf_for, leaves_together,
    max_key, put_at, remove, remove_range,
};
use kestrel_pager::{Location, PageId, Pager, Timestamp, TreeId};

use crate::catalogue::{Catalogue, TreeChanges, TreeInfo};
use crate::operation::Operation;
use crate::overlay::Overlay;
use crate::page::{LeafView, ReadError};
use crate::restarts::Restarts;
use crate::undo::OldValue;
use crate::{Error, ErrorKind, Value, record};

/// The longest name of a tree, in bytes.
pub(crate) const NAME_MAX: usize = 1024;

/// Large values that lie on disk already, for operations that name them: by place, page (`None`: it gets a new one) and
/// length.
pub(crate) type Adoptable = BTreeMap<Location, (Option<PageId>, u32)>;

/// See the module's description.
pub(crate) struct Draft {
    pub(crate) overlay: Overlay,
    pub(crate) trees: TreeChanges,
    pager: Arc<Pager>,
    catalogue: Arc<Catalogue>,
    at: Timestamp,
    /// The tree that was used last, and its root.
    recent: Option<(TreeId, PageId)>,
}

impl Draft {
    pub(crate) fn new(pager: &Arc<Pager>, catalogue: &Arc<Catalogue>, at: Timestamp) -> Draft {
        Draft {
            overlay: Overlay::new(Arc::clone(pager), at),
            trees: TreeChanges::default(),
            pager: Arc::clone(pager),
            catalogue: Arc::clone(catalogue),
            at,
            recent: None,
        }
    }

    /// The root of a tree that exists in this state; further operations are the tree's.
    fn root(&mut self, tree: TreeId) -> Result<PageId, Error> {
        self.overlay.work_on(tree);
        match self.recent {
            Some((recent, root)) if recent == tree => Ok(root),
            _ => {
                let root = self.find_root(tree).ok_or_else(|| tree_not_found(&tree.to_string()))?;
                self.recent = Some((tree, root));
                Ok(root)
            }
        }
    }

    fn find_root(&self, tree: TreeId) -> Option<PageId> {
        if self.trees.dropped.contains(&tree) {
            return None;
        }
        if let Some((root, _)) = self.trees.created.get(&tree) {
            return Some(*root);
        }
        self.catalogue.get(tree, self.at).map(|tree| tree.root)
    }

    fn count(&mut self, tree: TreeId, more: i64) {
        if more != 0 {
            *self.trees.entries.entry(tree).or_default() += more;
        }
    }

    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        let max = max_key(self.pager.capacity());
        if key.len() <= max {
            return Ok(());
        }
        let message = format!(
            "a key of {} bytes: with this page size, keys have at most {max}; hash or shorten it",
            key.len()
        );
        Err(Error::new(ErrorKind::KeyTooLong, message))
    }

    /// Stores a value. Returns whether there was one before, and where the value lies if that is not in a page.
    pub(crate) fn put(
        &mut self,
        tree: TreeId,
        key: &[u8],
        value: &[u8],
    ) -> Result<(bool, Option<(BlobRef, Location)>), Error> {
        let root = self.root(tree)?;
        if self.is_small(key, value) {
            return Ok((self.put_cell(tree, (root, None), key, Cell::Inline(value))?, None));
        }
        let (blob, location) = self.overlay.write_blob(value)?;
        Ok((self.put_cell(tree, (root, None), key, Cell::Blob(blob))?, Some((blob, location))))
    }

    /// Whether a value lies in its leaf.
    pub(crate) fn is_small(&self, key: &[u8], value: &[u8]) -> bool {
        fits_inline(self.pager.capacity(), key.len(), value.len())
    }

    /// Whether a tree exists in this state.
    pub(crate) fn check_tree(&mut self, tree: TreeId) -> Result<(), Error> {
        self.root(tree).map(drop)
    }

    /// Stores small values under keys of one tree, in this order; at most [`TOGETHER`].
    fn put_together(&mut self, tree: TreeId, puts: &[(&[u8], &[u8])]) -> Result<(), Error> {
        if puts.is_empty() {
            return Ok(());
        }
        let root = self.root(tree)?;
        let mut keys = [&[][..]; TOGETHER];
        for (key, (put, _)) in keys.iter_mut().zip(puts) {
            *key = put;
        }
        let leaves = leaves_together(&self.overlay, root, &keys[..puts.len()]);
        for (&(key, value), leaf) in puts.iter().zip(leaves) {
            self.put_cell(tree, (root, leaf), key, Cell::Inline(value))?;
        }
        Ok(())
    }

    /// `place`: the tree's root, and the key's leaf if it is known.
    fn put_cell(
        &mut self,
        tree: TreeId,
        (root, leaf): (PageId, Option<PageId>),
        key: &[u8],
        cell: Cell<'_>,
    ) -> Result<bool, Error> {
        let existed = put_at(&mut self.overlay, root, leaf, key, cell)?.existed();
        self.count(tree, i64::from(!existed));
        Ok(existed)
    }

    /// Removes a key. Returns whether it was there.
    pub(crate) fn delete(&mut self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        let root = self.root(tree)?;
        let existed = remove(&mut self.overlay, root, key)?.existed();
        self.count(tree, -i64::from(existed));
        Ok(existed)
    }

    /// Removes the keys from `low` up to, not including, `high`. Returns how many there were.
    pub(crate) fn delete_range(
        &mut self,
        tree: TreeId,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<u64, Error> {
        let root = self.root(tree)?;
        let upper = high.map_or(Bound::Unbounded, Bound::Excluded);
        let removed = remove_range(&mut self.overlay, root, Bound::Included(low), upper)?;
        self.count(tree, -(removed as i64));
        Ok(removed)
    }

    pub(crate) fn get(&mut self, tree: TreeId, key: &[u8]) -> Result<Option<Value>, Error> {
        let root = self.root(tree)?;
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let missing = match find(&self.overlay, root, key) {
                Ok(None) => return Ok(None),
                Ok(Some((page, found))) => match &found.cell {
                    FoundCell::Inline(range) => return Ok(Some(page.value(&found, range.clone()))),
                    FoundCell::Blob(blob) => {
                        let blob = *blob;
                        drop(page);
                        return Ok(Some(Value::owned(self.overlay.read_blob(blob)?)));
                    }
                },
                Err(ReadError::NotResident(page)) => page,
                Err(ReadError::Failed(error)) => return Err(error),
            };
            self.overlay.make_resident(missing)?;
        }
    }

    /// What a key holds, for a savepoint: copied, so that no page is held, or referred to.
    pub(crate) fn get_old(&mut self, tree: TreeId, key: &[u8]) -> Result<Option<OldValue>, Error> {
        let root = self.root(tree)?;
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let missing = match find(&self.overlay, root, key) {
                Ok(found) => {
                    return Ok(found.map(|(page, found)| match found.resolve(&page) {
                        Cell::Inline(value) => OldValue::Small(value.to_vec()),
                        Cell::Blob(blob) => OldValue::Large(blob),
                    }));
                }
                Err(ReadError::NotResident(page)) => page,
                Err(ReadError::Failed(error)) => return Err(error),
            };
            self.overlay.make_resident(missing)?;
        }
    }

    pub(crate) fn contains(&mut self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        let root = self.root(tree)?;
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            match find(&self.overlay, root, key) {
                Ok(found) => return Ok(found.is_some()),
                Err(ReadError::NotResident(page)) => self.overlay.make_resident(page)?,
                Err(ReadError::Failed(error)) => return Err(error),
            }
        }
    }

    /// The leaf that a cursor asks for.
    pub(crate) fn leaf(&mut self, tree: TreeId, seek: Seek<'_>) -> Result<LeafView, Error> {
        let root = self.root(tree)?;
        let mut restarts = Restarts::default();
        loop {
            restarts.another()?;
            let missing = match leaf_for(&self.overlay, root, seek) {
                Ok((_, page)) => return LeafView::new(&page),
                Err(ReadError::NotResident(page)) => page,
                Err(ReadError::Failed(error)) => return Err(error),
            };
            self.overlay.make_resident(missing)?;
        }
    }

    pub(crate) fn len(&mut self, tree: TreeId) -> Result<u64, Error> {
        self.root(tree)?;
        let before = self.catalogue.get(tree, self.at).map_or(0, |tree| tree.entries_at(self.at));
        let more = self.trees.entries.get(&tree).copied().unwrap_or(0);
        Ok(before.saturating_add_signed(more))
    }

    /// All trees, by name.
    pub(crate) fn list(&self) -> Vec<TreeInfo> {
        let mut all = self.catalogue.list(self.at);
        for (&id, (_, name)) in &self.trees.created {
            all.push(TreeInfo { id, name: name.clone(), entries: 0 });
        }
        all.retain(|tree| !self.trees.dropped.contains(&tree.id));
        for tree in &mut all {
            if let Some(name) = self.trees.renamed.get(&tree.id) {
                tree.name.clone_from(name);
            }
            let more = self.trees.entries.get(&tree.id).copied().unwrap_or(0);
            tree.entries = tree.entries.saturating_add_signed(more);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// What a tree is called here, or was at a timestamp before.
    pub(crate) fn name_of(&self, tree: TreeId, before: Timestamp) -> Option<String> {
        let created = self.trees.created.get(&tree).map(|(_, name)| name.clone());
        created.or_else(|| self.catalogue.name(tree, before))
    }

    pub(crate) fn find_tree(&self, name: &str) -> Option<TreeId> {
        let plain =
            self.trees.created.is_empty() && self.trees.dropped.is_empty() && self.trees.renamed.is_empty();
        if plain {
            return self.catalogue.find(name, self.at);
        }
        self.list().into_iter().find(|tree| tree.name == name).map(|tree| tree.id)
    }

    pub(crate) fn create_tree(&mut self, id: TreeId, name: &str) -> Result<(), Error> {
        self.overlay.work_on(id);
        let root = create_root(&mut self.overlay)?;
        self.trees.created.insert(id, (root, name.to_owned()));
        Ok(())
    }

    pub(crate) fn drop_tree(&mut self, id: TreeId) -> Result<(), Error> {
        self.root(id)?;
        self.recent = None;
        self.trees.dropped.insert(id);
        Ok(())
    }

    pub(crate) fn restore_tree(&mut self, id: TreeId) {
        self.trees.dropped.remove(&id);
    }

    pub(crate) fn rename_tree(&mut self, id: TreeId, name: &str) -> Result<(), Error> {
        self.root(id)?;
        if let Some((_, created)) = self.trees.created.get_mut(&id) {
            name.clone_into(created);
        } else {
            self.trees.renamed.insert(id, name.to_owned());
        }
        Ok(())
    }

    /// Does what puts of small values say, whose arguments were checked: those of one tree together.
    pub(crate) fn apply_together<'o>(
        &mut self,
        puts: impl Iterator<Item = Result<Operation<'o>, Error>>,
    ) -> Result<(), Error> {
        let mut together = Vec::with_capacity(TOGETHER);
        let mut of_tree = TreeId::CATALOGUE;
        for operation in puts {
            let Operation::Put { tree, key, value } = operation? else {
                return Err(record::damaged("an operation that does not wait was found among those that do"));
            };
            if tree != of_tree || together.len() == TOGETHER {
                self.put_together(of_tree, &together)?;
                together.clear();
            }
            of_tree = tree;
            together.push((key, value));
        }
        self.put_together(of_tree, &together)
    }

    /// Does what an operation says, which was validated or comes from the log.
    pub(crate) fn apply(
        &mut self,
        operation: &Operation<'_>,
        adoptable: &mut Adoptable,
    ) -> Result<(), Error> {
        match *operation {
            Operation::Put { tree, key, value } => {
                self.check_key(key)?;
                self.put(tree, key, value)?;
            }
            Operation::PutBlob { tree, key, location, len, checksum } => {
                self.check_key(key)?;
                let root = self.root(tree)?;
                let Some((page, _)) = adoptable.remove(&location).filter(|(_, known)| *known == len) else {
                    return Err(record::damaged("a large value is named that is not there"));
                };
                let blob = self.overlay.adopt_blob(location, len, checksum, page)?;
                self.put_cell(tree, (root, None), key, Cell::Blob(blob))?;
            }
            Operation::Delete { tree, key } => {
                self.delete(tree, key)?;
            }
            Operation::DeleteRange { tree, low, high } => {
                self.delete_range(tree, low, high)?;
            }
            Operation::CreateTree { tree, name } => self.create_tree(tree, name)?,
            Operation::DropTree { tree } => self.drop_tree(tree)?,
            Operation::RenameTree { tree, name } => self.rename_tree(tree, name)?,
            Operation::RestoreTree { tree, .. } => self.restore_tree(tree),
        }
        Ok(())
    }
}

pub(crate) fn tree_not_found(name: &str) -> Error {
    Error::new(ErrorKind::TreeNotFound, format!("{name} does not exist in this state of the database"))
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > NAME_MAX {
        let message = format!("a tree name of {} bytes: give 1 to {NAME_MAX}", name.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(())
}
