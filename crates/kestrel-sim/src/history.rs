//! The states that a database had, in the order of commits, and which of them may be there after a crash.
//!
//! 1. Commits are pushed when they are published, in the order of their timestamps.
//! 2. A state is *durable* once somebody was told so: an `Immediate` commit returned, a ticket resolved, a flush, a checkpoint, a
//!    close, or an opening that found it. A crash leaves it, or a later one.
//! 3. What *must* be durable is not visible before it is. So whoever sees a state knows that all commits up to it which asked for
//!    that are durable, and all before them.
//! 4. After a crash the state is one from the newest durable one on: a prefix of the commits, none of them in part.

use std::collections::BTreeSet;

use crate::model::{Contents, State};

/// What a transaction had to do with, for whoever asks about the cause of a conflict.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Trees, by number.
    pub trees: BTreeSet<u64>,
    /// Names of trees.
    pub names: BTreeSet<String>,
    /// All trees, and all names.
    pub all: bool,
}

impl Touched {
    fn meets(&self, other: &Touched) -> bool {
        self.all
            || other.all
            || !self.trees.is_disjoint(&other.trees)
            || !self.names.is_disjoint(&other.names)
    }
}

/// A commit, and the state that it made.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its timestamp, or one not smaller that is smaller than the next one's.
    pub at: u64,
    /// The state from then on.
    pub state: State,
    /// Whether it has to be durable before it is visible.
    pub must: bool,
    /// What it wrote.
    pub wrote: Touched,
}

/// The commits since the database was opened. The first stands for all before that.
#[derive(Clone, Debug)]
pub struct History {
    commits: Vec<Commit>,
    durable: usize,
    /// What was known to be durable before `durable` was: the commits from there on went to the disk with the last syncs.
    durable_before: usize,
    visible: usize,
}

impl Default for History {
    fn default() -> History {
        History::beginning_with(State::default(), 0)
    }
}

impl History {
    /// A database that was opened in this state.
    #[must_use]
    pub fn beginning_with(state: State, at: u64) -> History {
        let first = Commit { at, state, must: false, wrote: Touched::default() };
        History { commits: vec![first], durable: 0, durable_before: 0, visible: 0 }
    }

    /// The number of the newest commit.
    #[must_use]
    pub fn newest(&self) -> usize {
        self.commits.len() - 1
    }

    /// The newest state.
    #[must_use]
    pub fn current(&self) -> &State {
        &self.commits[self.newest()].state
    }

    /// The state that a commit made.
    #[must_use]
    pub fn state(&self, index: usize) -> &State {
        &self.commits[index].state
    }

    /// When the newest commit was.
    #[must_use]
    pub fn newest_at(&self) -> u64 {
        self.commits[self.newest()].at
    }

    /// A commit that was published.
    pub fn push(&mut self, commit: Commit) {
        self.commits.push(commit);
    }

    /// The newest commit that somebody sees whose snapshot is of this time.
    #[must_use]
    pub fn seen_at(&self, at: u64) -> usize {
        self.commits.partition_point(|commit| commit.at <= at).saturating_sub(1)
    }

    /// The oldest that a new snapshot may show.
    #[must_use]
    pub fn visible(&self) -> usize {
        self.visible
    }

    /// The oldest that a crash may leave.
    #[must_use]
    pub fn durable(&self) -> usize {
        self.durable
    }

    /// Somebody was told that a commit is visible, so all before it that must be durable are.
    pub fn reached(&mut self, index: usize) {
        self.visible = self.visible.max(index);
        if let Some(must) = self.commits[..=index].iter().rposition(|commit| commit.must) {
            self.raise_durable(must);
        }
    }

    fn raise_durable(&mut self, index: usize) {
        if index > self.durable {
            self.durable_before = self.durable;
            self.durable = index;
        }
    }

    /// Somebody was told that a commit is durable.
    pub fn kept(&mut self, index: usize) {
        self.raise_durable(index);
        self.visible = self.visible.max(index);
    }

    /// Somebody was told that all are durable.
    pub fn synced(&mut self) {
        self.kept(self.newest());
    }

    /// Whether a commit behind this one wrote something of this.
    #[must_use]
    pub fn was_met(&self, since: usize, touched: &Touched) -> bool {
        self.commits[since + 1..].iter().any(|commit| commit.wrote.meets(touched))
    }

    /// What was found after a crash has to be one of the states that it may leave: the newest such one.
    pub fn find(&self, found: &Contents) -> Result<usize, String> {
        let possible = &self.commits[self.durable..];
        if let Some(index) = possible.iter().rposition(|commit| commit.state.is(found)) {
            return Ok(self.durable + index);
        }
        if let Some(lost) = self.commits[..self.durable].iter().rposition(|commit| commit.state.is(found)) {
            let lost = self.durable - lost;
            return Err(format!("{lost} commits that were promised to be durable are lost"));
        }
        let number = possible.len();
        let nearest = &possible[number - 1].state;
        Err(format!(
            "what is left is none of the {number} states that may be; from the newest it differs so: {}",
            nearest.difference(found)
        ))
    }

    /// What was found on a disk that lied has to be a state that there was: then commits may be gone, the newest first. If it lied
    /// once, only those may be that went to the disk with the last sync: whatever follows proves that there was something before it.
    pub fn find_damaged(&self, found: &Contents, lies: u64) -> Result<usize, String> {
        let from = if lies > 1 { 0 } else { self.durable_before };
        if let Some(index) = self.commits[from..].iter().rposition(|commit| commit.state.is(found)) {
            return Ok(from + index);
        }
        if self.commits[..from].iter().any(|commit| commit.state.is(found)) {
            return Err("the disk lied once, and more than the commits of the last sync are lost".to_owned());
        }
        let nearest = self.current().difference(found);
        Err(format!("what is left was never there; from the newest it differs so: {nearest}"))
    }

    /// The database was opened in the state that this commit made. It is durable: what an opening trusts, it makes so first.
    pub fn reopened(&mut self, index: usize, at: u64) {
        let state = self.commits.swap_remove(index).state;
        *self = History::beginning_with(state, at);
    }
}
