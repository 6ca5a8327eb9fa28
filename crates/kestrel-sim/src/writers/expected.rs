//! What a writer's transactions leave.

use std::collections::BTreeMap;

use super::plan::{Filling, Place, Plan, Step};

/// What has to be there of one writer after so many of its transactions.
#[derive(Clone, Debug)]
pub struct Expected {
    writer: u8,
    /// How many of its transactions have been.
    number: u64,
    entries: BTreeMap<(Place, Vec<u8>), Filling>,
    own: Own,
}

/// A writer's own tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Own {
    Missing,
    Created,
    Renamed,
}

impl Expected {
    /// Before the first transaction.
    #[must_use]
    pub fn new(writer: u8) -> Self {
        Self { writer, number: 0, entries: BTreeMap::new(), own: Own::Missing }
    }

    /// Goes on to transaction `number`.
    ///
    /// # Panics
    /// If that lies behind.
    pub fn advance(&mut self, plan: &Plan, number: u64) {
        assert!(number >= self.number, "what was there has gone");
        while self.number < number {
            self.number += 1;
            for step in plan.steps(self.writer, self.number) {
                self.apply(step);
            }
        }
    }

    /// How many transactions have been.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Put(place, key, filling) => drop(self.entries.insert((place, key), filling)),
            Step::Delete(place, key) => drop(self.entries.remove(&(place, key))),
            Step::RemoveRange(low, high) => {
                let gone = (Place::Runs, low)..(Place::Runs, high);
                self.entries.retain(|key, _| !gone.contains(key));
            }
            Step::CreateOwn => self.own = Own::Created,
            Step::RenameOwn => self.own = Own::Renamed,
            Step::DropOwn(_) => {
                self.own = Own::Missing;
                self.entries.retain(|(place, _), _| *place != Place::Own);
            }
            // Judged by itself, or taken back.
            Step::Link | Step::Undone(_) | Step::CreateScratch => {}
        }
    }

    pub(crate) fn own(&self) -> Own {
        self.own
    }

    pub(crate) fn writer(&self) -> u8 {
        self.writer
    }

    /// The entries of a place, in order.
    pub(crate) fn entries(&self, place: Place) -> impl Iterator<Item = (&[u8], Filling)> {
        let all = self.entries.iter().skip_while(move |((at, _), _)| *at < place);
        all.take_while(move |((at, _), _)| *at == place).map(|((_, key), filling)| (&key[..], *filling))
    }
}
