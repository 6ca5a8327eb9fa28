//! Validation: whether what a transaction read and wrote is still as it saw it.
//!
//! 1. Before the commit gate: what it wrote, and what it read, become claim sets; they are compared with the commits that
//!    the window knows, oldest first, some at a time, without a lock. Commits go on meanwhile.
//! 2. Under the gate: the same with the commits that came since. There are none or few, and no more can come.
//! 3. Still under the gate: the set of what it wrote is moved to the window, if another transaction is open.
//!
//! If no other write transaction is or was open since it began, no set is made. That nobody has to remember a commit is
//! decided in the critical section in which it raises `applied`: whoever begins later, begins with it.

use std::sync::Arc;

use kestrel_check::planted::{Bug, is_planted};
use kestrel_check::sync::atomic::Ordering;
use kestrel_pager::{Timestamp, TreeId};

use crate::Error;
use crate::claim_set::{ClaimSet, Collision};
use crate::conflict::{Access, Conflict, ConflictPlace};
use crate::core::Core;
use crate::draft::Draft;
use crate::journal::Journal;
use crate::key_range::{KeyRange, end_of, split_place};
use crate::scan_claim::tree_of_identity;
use crate::state::State;
use crate::window::Entry;

/// Commits that are taken from the window at a time.
const AT_A_TIME: usize = 64;

/// How far a transaction is validated.
pub(crate) struct Validation {
    began: Timestamp,
    /// Against all commits up to this one.
    validated: Timestamp,
    written: Option<Arc<ClaimSet>>,
    read: Option<ClaimSet>,
}

impl Validation {
    /// Of a transaction that began at a snapshot.
    pub(crate) fn new(began: Timestamp) -> Validation {
        Validation { began, validated: began, written: None, read: None }
    }

    /// Whether a commit at `newest` was not looked at yet.
    pub(crate) fn is_behind(&self, newest: Timestamp) -> bool {
        self.validated < newest
    }

    /// What the transaction wrote, for being compared.
    pub(crate) fn written(&mut self, journal: &Journal) -> Arc<ClaimSet> {
        Arc::clone(self.written.get_or_insert_with(|| Arc::new(journal.written().into_claims())))
    }

    fn compare(&mut self, state: &mut State, entry: &Entry) -> Result<(), Error> {
        let written = self.written(&state.journal);
        if let Some(reads) = state.reads.take() {
            self.read = Some(reads.into_keys().into_claims());
        }
        let theirs = &*entry.written;
        let mut collision = written.key_collision(theirs).or_else(|| written.range_collision(theirs));
        let (mut access, mut is_coarse) = (Access::Written, written.is_coarse);
        if let (None, Some(read)) = (&collision, &self.read) {
            (access, is_coarse) = (Access::Read, read.is_coarse);
            if !is_planted(Bug::ReadsNotValidated) {
                collision = read.key_collision(theirs);
            }
            if collision.is_none() && !is_planted(Bug::RangesNotValidated) {
                collision = read.range_collision(theirs);
            }
        }
        match collision {
            None => Ok(()),
            Some(collision) => {
                let exact = !is_coarse && !theirs.is_coarse;
                Err(state.draft.conflict(collision, self.began, access, exact).into())
            }
        }
    }
}

impl Core {
    /// Validates against all commits that the window knows. Under the gate these are all that there are.
    pub(crate) fn validate(&self, state: &mut State, validation: &mut Validation) -> Result<(), Error> {
        loop {
            let later = self.window.lock().later(validation.validated, AT_A_TIME);
            let Some(newest) = later.last() else { return Ok(()) };
            for entry in &later {
                validation.compare(state, entry).inspect_err(|_| self.count_conflict())?;
            }
            validation.validated = newest.ts;
        }
    }

    pub(crate) fn count_conflict(&self) {
        self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    /// Merges the oldest commits in the window if they take too much memory. Outside of the gate.
    pub(crate) fn relieve_window(&self) {
        let Some(merge) = self.window.lock().begin_merge() else { return };
        let merged = merge.run();
        self.window.lock().end_merge(&merge, merged);
    }
}

impl Draft {
    /// Tells people where a transaction collided with another.
    pub(crate) fn conflict(
        &self,
        collision: Collision,
        began: Timestamp,
        access: Access,
        exact: bool,
    ) -> Conflict {
        let (tree, place) = match collision {
            Collision::Key(place) => {
                let (tree, key) = split_place(&place);
                (tree, ConflictPlace::Key(key.to_vec()))
            }
            Collision::Range(KeyRange { low, high }) => {
                let (tree, low) = split_place(&low);
                let (end, to) = split_place(&high);
                // Coarse ranges may go on in further trees.
                let to = (end == tree && high < end_of(tree)).then(|| to.to_vec());
                (tree, ConflictPlace::Range { low: low.to_vec(), high: to })
            }
        };
        self.conflict_at(tree, place, began, access, exact)
    }

    /// The same, of a key or range of a tree; names and identities of trees are keys of the catalogue.
    pub(crate) fn conflict_at(
        &self,
        tree: TreeId,
        place: ConflictPlace,
        began: Timestamp,
        access: Access,
        exact: bool,
    ) -> Conflict {
        let (tree, place) = match place {
            ConflictPlace::Key(key) | ConflictPlace::Range { low: key, .. } if tree == TreeId::CATALOGUE => {
                match tree_of_identity(&key) {
                    Some(tree) => (tree, ConflictPlace::Tree),
                    None => (tree, ConflictPlace::Name(String::from_utf8_lossy(&key).into_owned())),
                }
            }
            place => (tree, place),
        };
        Conflict { tree, tree_name: self.name_of(tree, began), place, access, exact }
    }
}
