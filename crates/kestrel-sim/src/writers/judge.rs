//! What is there, against what has to be there.

use std::collections::BTreeMap;

use kestreldb::{Database, Error, ReadTxn, Tree};

use super::expected::{Expected, Own};
use super::plan::{Filling, Place};
use super::work::{HEAD, NAMES, OTHER, number_of, own_name};

/// How many transactions of each writer are there.
pub type Cut = Vec<u64>;

/// The cut that a database shows. Without trees it is the beginning.
pub fn cut(db: &Database, writers: u8) -> Result<Cut, Error> {
    let snapshot = db.begin_read()?;
    let Some(tree) = snapshot.existing_tree(NAMES[0])? else { return Ok(vec![0; usize::from(writers)]) };
    (0..writers).map(|writer| Ok(number_of(snapshot.get(&tree, [writer])?.as_deref()))).collect()
}

/// Checks the whole database against the state after `expected`, which has to be at its [`cut`]. Every fault, in words.
pub fn judge(db: &Database, expected: &[Expected]) -> Vec<String> {
    let mut faults = Vec::new();
    let looked = Look {
        snapshot: &match db.begin_read() {
            Ok(snapshot) => snapshot,
            Err(error) => return vec![format!("no snapshot can be had: {error}")],
        },
        faults: &mut faults,
        expected,
    }
    .all();
    if let Err(error) = looked {
        faults.push(format!("reading failed: {error}"));
    }
    match db.verify() {
        Ok(report) => faults.extend(report.damages.into_iter().map(|damage| format!("verify: {damage}"))),
        Err(error) => faults.push(format!("verify failed: {error}")),
    }
    faults
}

struct Look<'l> {
    snapshot: &'l ReadTxn,
    expected: &'l [Expected],
    faults: &'l mut Vec<String>,
}

impl Look<'_> {
    fn all(mut self) -> Result<(), Error> {
        self.names()?;
        for (place, name) in [(Place::Mixed, NAMES[3]), (Place::Runs, NAMES[4]), (Place::Large, NAMES[5])] {
            // Keys of different writers differ, so this is a union.
            let wanted = self.expected.iter().flat_map(|writer| writer.entries(place)).collect();
            self.tree(name, &wanted)?;
        }
        for writer in self.expected {
            if writer.own() != Own::Missing {
                let wanted = writer.entries(Place::Own).collect();
                self.tree(&own_name(writer.writer(), writer.own() == Own::Renamed), &wanted)?;
            }
        }
        self.chain()
    }

    /// The trees that there are.
    fn names(&mut self) -> Result<(), Error> {
        let own = self.expected.iter().filter(|writer| writer.own() != Own::Missing);
        let own = own.map(|writer| own_name(writer.writer(), writer.own() == Own::Renamed));
        let wanted: Vec<String> = own.collect();
        let there = self.snapshot.trees()?;
        let there: Vec<&str> = there.iter().map(|tree| &*tree.name).collect();
        for name in &wanted {
            if !there.contains(&&**name) {
                self.faults.push(format!("the tree {name:?} is missing"));
            }
        }
        for name in there {
            if !NAMES.contains(&name) && name != OTHER && !wanted.iter().any(|wanted| wanted == name) {
                self.faults.push(format!("there is a tree {name:?}"));
            }
        }
        Ok(())
    }

    fn tree(&mut self, name: &str, wanted: &BTreeMap<&[u8], Filling>) -> Result<(), Error> {
        let Some(tree) = self.snapshot.existing_tree(name)? else {
            if !wanted.is_empty() {
                self.faults.push(format!("the tree {name:?} is missing"));
            }
            return Ok(());
        };
        let mut bytes = Vec::new();
        let mut rest = wanted.iter().peekable();
        let mut count = 0;
        for entry in self.snapshot.range(&tree, ..)? {
            let (key, value) = entry?;
            count += 1;
            while let Some((missing, _)) = rest.next_if(|(wanted, _)| ***wanted < *key) {
                self.faults.push(format!("{name}: {missing:?} is missing"));
            }
            match rest.next_if(|(wanted, _)| ***wanted == *key) {
                None => self.faults.push(format!("{name}: {:?} should not be there", &key[..])),
                Some((_, filling)) => {
                    filling.write(&mut bytes);
                    if *value != bytes[..] {
                        self.faults.push(format!("{name}: {:?} has another value", &key[..]));
                    }
                }
            }
        }
        for (missing, _) in rest {
            self.faults.push(format!("{name}: {missing:?} is missing"));
        }
        self.count(name, &tree, count)
    }

    fn count(&mut self, name: &str, tree: &Tree, count: u64) -> Result<(), Error> {
        let said = self.snapshot.len(tree)?;
        if said != count {
            self.faults.push(format!("{name}: has {count} entries, and says {said}"));
        }
        Ok(())
    }

    /// Links without a gap, of transactions that are there, which saw what is there, and each no less than the one before.
    fn chain(&mut self) -> Result<(), Error> {
        let Some(head) = self.snapshot.existing_tree(NAMES[1])? else { return Ok(()) };
        let links = number_of(self.snapshot.get(&head, HEAD)?.as_deref());
        let Some(chain) = self.snapshot.existing_tree(NAMES[2])? else { return Ok(()) };
        let mut count = 0_u64;
        let mut before = vec![0; self.expected.len()];
        for entry in self.snapshot.range(&chain, ..)? {
            let (key, value) = entry?;
            count += 1;
            if key[..] != count.to_be_bytes() {
                self.faults.push(format!("chain: {:?} stands in place of link {count}", &key[..]));
            }
            let Some((writer, number, seen)) = self.decode(&value) else {
                self.faults.push(format!("chain: link {count} makes no sense"));
                continue;
            };
            if seen[writer] + 1 != number {
                self.faults.push(format!("chain: link {count} is of {number}, and saw {}", seen[writer]));
            }
            if self.expected[writer].number() < number {
                self.faults.push(format!("chain: link {count} is of a transaction that is not there"));
            }
            for (other, (seen, before)) in seen.iter().zip(&before).enumerate() {
                let there = self.expected[other].number();
                if *seen > there || seen < before {
                    let found =
                        format!("saw {seen} of writer {other}, the one before {before}; {there} are there");
                    self.faults.push(format!("chain: link {count} {found}"));
                }
            }
            before = seen;
            before[writer] = number;
        }
        if count != links {
            self.faults.push(format!("chain: {count} links, the head says {links}"));
        }
        self.count(NAMES[2], &chain, count)
    }

    fn decode(&self, link: &[u8]) -> Option<(usize, u64, Vec<u64>)> {
        let (writer, rest) = link.split_first()?;
        let (numbers, []) = rest.as_chunks::<8>() else { return None };
        let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let number = numbers.next()?;
        let seen: Vec<u64> = numbers.collect();
        let sound = usize::from(*writer) < seen.len() && seen.len() == self.expected.len();
        sound.then_some((usize::from(*writer), number, seen))
    }
}
