//! A correct database, as small as can be: all states that ever were, and transactions that are checked when they commit.
//! It runs on one thread; its transactions are open side by side all the same.

use std::collections::{BTreeMap, BTreeSet};

use kestrel_history::{Isolation, Outcome, Timestamp};

use crate::script::{Do, Txn};

pub(crate) const PROCESSES: usize = 4;
pub(crate) const KEYS: u32 = 4;

type State = BTreeMap<u32, Vec<u32>>;

/// What a process is told to do next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Append(u32),
    Read(u32),
    Tail(u32),
    Retire(u32),
    Savepoint,
    Rollback,
    Commit,
    Abort,
}

struct Open {
    begun: u64,
    snapshot: usize,
    state: State,
    at_savepoint: Option<State>,
    touched: BTreeSet<u32>,
    written: BTreeSet<u32>,
    steps: Vec<Do>,
}

pub(crate) struct Interpreter {
    isolation: Isolation,
    /// By timestamp.
    states: Vec<State>,
    /// When each list was last written.
    written: BTreeMap<u32, usize>,
    /// Nobody appends to these any more, the one who removes them included.
    retired: BTreeSet<u32>,
    open: [Option<Open>; PROCESSES],
    now: u64,
    next_element: u32,
    done: Vec<Txn>,
}

impl Interpreter {
    pub(crate) fn new(isolation: Isolation) -> Interpreter {
        Interpreter {
            isolation,
            states: vec![State::new()],
            written: BTreeMap::new(),
            retired: BTreeSet::new(),
            open: Default::default(),
            now: 0,
            next_element: 0,
            done: Vec::new(),
        }
    }

    pub(crate) fn act(&mut self, process: usize, action: Action) {
        self.now += 1;
        let begun = self.now;
        let snapshot = self.states.len() - 1;
        let open = self.open[process].get_or_insert_with(|| Open {
            begun,
            snapshot,
            state: self.states[snapshot].clone(),
            at_savepoint: None,
            touched: BTreeSet::new(),
            written: BTreeSet::new(),
            steps: Vec::new(),
        });
        let step = match action {
            Action::Append(key) | Action::Retire(key) if self.retired.contains(&key) => {
                let list = open.state.get(&key).cloned().unwrap_or_default();
                open.touched.insert(key);
                if list.is_empty() { Do::Gone(key) } else { Do::Read(key, list) }
            }
            Action::Append(key) => {
                let element = self.next_element;
                self.next_element += 1;
                open.state.entry(key).or_default().push(element);
                open.touched.insert(key);
                open.written.insert(key);
                Do::Append(key, element)
            }
            Action::Read(key) | Action::Tail(key) => {
                let list = open.state.get(&key).cloned().unwrap_or_default();
                open.touched.insert(key);
                match action {
                    _ if list.is_empty() && self.retired.contains(&key) => Do::Gone(key),
                    Action::Tail(_) => Do::Tail(key, list.len() as u32, list.last().copied()),
                    _ => Do::Read(key, list),
                }
            }
            Action::Retire(key) => {
                let list = open.state.remove(&key).unwrap_or_default();
                self.retired.insert(key);
                open.touched.insert(key);
                open.written.insert(key);
                open.steps.push(Do::Read(key, list));
                Do::Retire(key)
            }
            Action::Savepoint => {
                open.at_savepoint = Some(open.state.clone());
                Do::Savepoint
            }
            Action::Rollback => match &open.at_savepoint {
                Some(state) => {
                    open.state = state.clone();
                    Do::Rollback
                }
                None => return,
            },
            Action::Commit => return self.end(process, true),
            Action::Abort => return self.end(process, false),
        };
        open.steps.push(step);
    }

    fn end(&mut self, process: usize, commits: bool) {
        let Some(open) = self.open[process].take() else { return };
        let relied_on = match self.isolation {
            Isolation::Serializable => &open.touched,
            Isolation::Snapshot => &open.written,
        };
        let late = |key: &u32| self.written.get(key).is_some_and(|at| *at > open.snapshot);
        // Who writes nothing reads one state, and conflicts with nobody.
        let conflict = !open.written.is_empty() && relied_on.iter().any(late);
        let outcome = if !commits {
            Outcome::Aborted
        } else if conflict {
            Outcome::Conflict
        } else if open.written.is_empty() {
            Outcome::Committed(Timestamp(open.snapshot as u64))
        } else {
            let at = self.states.len();
            let mut state = self.states[at - 1].clone();
            for key in &open.written {
                match open.state.get(key) {
                    Some(list) => state.insert(*key, list.clone()),
                    None => state.remove(key),
                };
                self.written.insert(*key, at);
            }
            self.states.push(state);
            Outcome::Committed(Timestamp(at as u64))
        };
        self.now += 1;
        self.done.push(Txn {
            process: process as u32,
            begun: open.begun,
            ended: self.now,
            snapshot: open.snapshot as u64,
            outcome,
            steps: open.steps,
        });
    }

    /// Ends what is open and reads everything at last.
    pub(crate) fn finish(mut self) -> Vec<Txn> {
        for process in 0..PROCESSES {
            self.end(process, true);
        }
        for key in 0..KEYS {
            self.act(0, Action::Read(key));
        }
        self.end(0, true);
        self.done
    }
}
