//! A write transaction of the model, beside that of the database.

use kestreldb::{Error, Isolation, WriteTxn};

use crate::deed::{Deed, Outcome};
use crate::execute::{Hands, is_read};
use crate::history::Touched;
use crate::model::{Draft, State};
use crate::step::Op;

/// Why something did not go as foretold.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The database returned an error that the model does not know of.
    Error(Error),
    /// The database says something else than the model.
    Wrong(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Error(error)
    }
}

impl From<String> for Trouble {
    fn from(wrong: String) -> Trouble {
        Trouble::Wrong(wrong)
    }
}

/// What a transaction did so far.
pub(crate) struct Work {
    pub(crate) draft: Draft,
    pub(crate) hands: Hands,
    done: Vec<(Deed, Outcome)>,
    /// What it read or wrote.
    pub(crate) touched: Touched,
    pub(crate) wrote: Touched,
    /// Bytes of keys and values that it wrote.
    pub(crate) weight: u64,
    /// The commit that it began with.
    pub(crate) began: usize,
}

impl Work {
    pub(crate) fn new(state: State, began: usize) -> Work {
        Work {
            draft: Draft::new(state),
            hands: Hands::default(),
            done: Vec::new(),
            touched: Touched::default(),
            wrote: Touched::default(),
            weight: 0,
            began,
        }
    }

    /// Does an operation in both. `number` is what a new tree gets.
    pub(crate) fn act(
        &mut self,
        txn: &WriteTxn,
        op: Op,
        limit: usize,
        number: u64,
    ) -> Result<Outcome, Trouble> {
        let deed = Deed::resolve(op, &self.draft, limit, number);
        self.touch(&deed);
        self.weight += deed.weight();
        if matches!(deed, Deed::Savepoint) {
            self.weight += self.draft.state.bytes();
        }
        let outcome = self.hands.write(txn, &deed)?;
        // Whoever is told that a tree is not there, and goes on, relies on all that the catalogue says.
        self.touched.all |= outcome == Outcome::NoTree;
        self.compare(deed, outcome, limit)
    }

    /// What came of a deed has to be what comes of it by the model.
    pub(crate) fn compare(&mut self, deed: Deed, outcome: Outcome, limit: usize) -> Result<Outcome, Trouble> {
        let expected = self.draft.apply(&deed, limit);
        if outcome != expected {
            let deed = shortened(&deed);
            return Err(Trouble::Wrong(format!("{deed}: expected {expected:?}, found {outcome:?}")));
        }
        self.done.push((deed, expected));
        Ok(outcome)
    }

    pub(crate) fn touch(&mut self, deed: &Deed) {
        let names: &[&str] = match deed {
            Deed::Create(name, _) | Deed::Tree(name, _) | Deed::Drop(name) => &[name],
            Deed::Rename(from, to) => &[from, to],
            Deed::Trees => {
                self.touched.all = true;
                return;
            }
            deed => match deed.tree() {
                Some(name) => {
                    self.touched.names.insert(name.to_owned());
                    if let Some(tree) = self.draft.state.number(name) {
                        self.touched.trees.insert(tree);
                        if !is_read(deed) && !matches!(deed, Deed::Open(..)) {
                            self.wrote.trees.insert(tree);
                        }
                    }
                    return;
                }
                None => return,
            },
        };
        for name in names {
            for touched in [&mut self.touched, &mut self.wrote] {
                touched.names.insert((*name).to_owned());
                touched.trees.extend(self.draft.state.number(name));
            }
        }
    }

    /// Whether it has changed anything, by the model.
    pub(crate) fn changes(&self) -> bool {
        !self.draft.effects.is_empty()
    }

    /// The state that its commit makes, behind the newest one. A serializable transaction that is done again there gives the same
    /// answers; of another one the changes are what counts.
    pub(crate) fn onto(
        self,
        newest: &State,
        is_newest: bool,
        isolation: Isolation,
        limit: usize,
    ) -> Result<State, String> {
        if is_newest {
            return Ok(self.draft.state);
        }
        if isolation == Isolation::Snapshot {
            let mut state = newest.clone();
            self.draft.effects.iter().try_for_each(|effect| state.redo(effect))?;
            return Ok(state);
        }
        let mut draft = Draft::new(newest.clone());
        for (deed, outcome) in self.done {
            let again = draft.apply(&deed, limit);
            if again != outcome {
                let deed = shortened(&deed);
                return Err(format!(
                    "not serializable: {deed} said {outcome:?}, at its commit it is {again:?}"
                ));
            }
        }
        Ok(draft.state)
    }
}

/// A deed for people.
pub(crate) fn shortened(deed: &Deed) -> String {
    const SHOWN: usize = 160;
    let mut text = match deed {
        Deed::Put(tree, key, value) => {
            format!("put {tree:?} {} ({} bytes)", crate::deed::brief(key), value.len())
        }
        Deed::PutMany(tree, keys, value) => {
            format!("put {} keys of {} bytes each into {tree:?}", keys.len(), value.len())
        }
        Deed::Append(tree, keys, value) => {
            format!("append {} keys of {} bytes each to {tree:?}", keys.len(), value.len())
        }
        deed => format!("{deed:?}"),
    };
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}
