//! What has to hold when the database is opened again.

use std::fmt;
use std::thread;

use kestreldb::{Database, ReadTxn, Tree};

use crate::Failure;
use crate::hit::Hit;
use crate::indexes::{Acknowledgement, Indexes, decoded, from_page, from_time, from_visitor};
use crate::writers::Acknowledged;

/// What was proven.
pub struct Proof {
    batches: usize,
    stored: Sum,
    pages: u64,
}

/// How many hits, and the sum of their fingerprints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    hits: u64,
    fingerprints: u64,
}

/// Checks that every acknowledged batch is noted as it was written, that each index has exactly the hits of all noted
/// batches, and that the database finds nothing wrong with itself.
pub fn prove(db: &Database, acknowledged: &[Acknowledged]) -> Result<Proof, Failure> {
    let indexes = Indexes::open(db)?;
    let snapshot = db.begin_read()?;
    for Acknowledged { batch, content } in acknowledged {
        let key = batch.to_be_bytes();
        let value = snapshot.get(&indexes.acknowledgements, key)?;
        let value = value.ok_or_else(|| format!("batch {batch} was acknowledged and is gone"))?;
        if Acknowledgement::decode(&key, &value) != Some((*batch, *content)) {
            return Err(format!("batch {batch} was acknowledged as {content:?}, and is {value:?}").into());
        }
    }

    let expected = noted(&snapshot, &indexes)?;
    let (snapshot, indexes) = (&snapshot, &indexes);
    thread::scope(|scope| {
        let checks = [
            scope.spawn(move || check(snapshot, &indexes.by_time, from_time, expected)),
            scope.spawn(move || check(snapshot, &indexes.by_page, from_page, expected)),
            scope.spawn(move || check(snapshot, &indexes.by_visitor, from_visitor, expected)),
        ];
        checks.into_iter().try_for_each(|check| check.join().map_err(|_| "a check panicked")?)
    })?;

    let report = db.verify()?;
    if !report.damages.is_empty() {
        return Err(format!(
            "the database is damaged: {}",
            report.damages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        )
        .into());
    }
    Ok(Proof { batches: acknowledged.len(), stored: expected, pages: report.pages })
}

/// What all acknowledgements in the database promise, those of earlier runs too.
fn noted(snapshot: &ReadTxn, indexes: &Indexes) -> Result<Sum, Failure> {
    let mut sum = Sum::default();
    for entry in snapshot.range(&indexes.acknowledgements, ..)? {
        let (key, value) = entry?;
        let (_, noted) = Acknowledgement::decode(&key, &value).ok_or("an acknowledgement is damaged")?;
        sum.hits += noted.hits;
        sum.fingerprints = sum.fingerprints.wrapping_add(noted.fingerprints);
    }
    Ok(sum)
}

fn check(
    snapshot: &ReadTxn,
    tree: &Tree,
    decode: fn(&[u8], &[u8]) -> Option<Hit>,
    expected: Sum,
) -> Result<(), Failure> {
    let name = tree.name();
    let mut found = Sum::default();
    for entry in snapshot.range(tree, ..)? {
        let hit = decoded(entry, decode)?;
        found.hits += 1;
        found.fingerprints = found.fingerprints.wrapping_add(hit.fingerprint());
    }
    if found != expected {
        return Err(format!("{name} has {found:?}, the batches promise {expected:?}").into());
    }
    let len = snapshot.len(tree)?;
    if len != found.hits {
        return Err(format!("{name} says it has {len} entries, and has {}", found.hits).into());
    }
    Ok(())
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Proof { batches, stored: Sum { hits, fingerprints }, pages } = self;
        write!(
            f,
            "proven: all {batches} acknowledged batches are there, the three indexes agree on {hits} hits (checksum \
             {fingerprints:016x}), and {pages} pages are sound"
        )
    }
}
