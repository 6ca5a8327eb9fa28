//! What was found.

use std::collections::BTreeMap;
use std::fmt;

use crate::{History, TxnId};

/// Of each kind so many are kept in words; the rest is counted.
const KEPT: u64 = 5;

/// What sort of anomaly it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AnomalyKind {
    /// An element was read that nobody appended to that list.
    Garbage,
    /// An element was read twice in one list.
    Duplicate,
    /// An element was read that was taken back: G1a.
    AbortedRead,
    /// A list was read as it was in the middle of a transaction: G1b.
    IntermediateRead,
    /// A transaction did not see its own appends.
    OwnWrites,
    /// Two reads of a list are no beginnings of one list.
    IncompatibleOrder,
    /// An acknowledged element is missing from a read that began later.
    Missing,
    /// A cycle of overwritten versions.
    G0,
    /// A cycle of versions overwritten and read.
    G1c,
    /// A cycle with one read of a version that another transaction of it replaced.
    GSingle,
    /// A cycle with several such reads: write skew, which snapshot isolation allows.
    G2,
    /// Two commits have one timestamp, or a commit is not newer than its snapshot.
    Timestamps,
    /// What had been acknowledged before a transaction began is not in its snapshot.
    RealTime,
    /// Two transactions wrote to one list, and neither saw the other.
    LostUpdate,
    /// A read is not what the commits before it, one after the other, lead to.
    Replay,
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnomalyKind::Garbage => "garbage",
            AnomalyKind::Duplicate => "duplicate",
            AnomalyKind::AbortedRead => "G1a (aborted read)",
            AnomalyKind::IntermediateRead => "G1b (intermediate read)",
            AnomalyKind::OwnWrites => "own writes not seen",
            AnomalyKind::IncompatibleOrder => "incompatible order",
            AnomalyKind::Missing => "acknowledged but missing",
            AnomalyKind::G0 => "G0",
            AnomalyKind::G1c => "G1c",
            AnomalyKind::GSingle => "G-single",
            AnomalyKind::G2 => "G2",
            AnomalyKind::Timestamps => "timestamps",
            AnomalyKind::RealTime => "real time",
            AnomalyKind::LostUpdate => "lost update",
            AnomalyKind::Replay => "replay",
        })
    }
}

/// One anomaly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anomaly {
    /// What sort it is.
    pub kind: AnomalyKind,
    /// The transactions in question; of a cycle in its order.
    pub transactions: Vec<TxnId>,
    /// What is wrong, in words.
    pub what: String,
    /// The transactions in words, one a line.
    pub details: Vec<String>,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)?;
        self.details.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// All that was found in a history.
#[derive(Clone, Default, Debug)]
pub struct Report {
    anomalies: Vec<Anomaly>,
    counts: BTreeMap<AnomalyKind, u64>,
    /// Dependencies between transactions.
    pub dependencies: u64,
    /// Groups of transactions in which there is write skew; known at snapshot isolation only, where it is no anomaly.
    pub skewed: u64,
    /// Reads that were compared with the replay.
    pub replayed_reads: u64,
}

impl Report {
    /// Whether there is no anomaly.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many anomalies there are of each kind that was found.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<AnomalyKind, u64> {
        &self.counts
    }

    /// The first few anomalies of each kind.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        &self.anomalies
    }

    pub(crate) fn add(&mut self, history: &History, kind: AnomalyKind, transactions: &[TxnId], what: String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= KEPT {
            let details = transactions.iter().map(|&txn| history.describe(txn)).collect();
            self.anomalies.push(Anomaly { kind, transactions: transactions.to_vec(), what, details });
        }
    }

    pub(crate) fn merge(&mut self, other: Report) {
        self.anomalies.extend(other.anomalies);
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.dependencies += other.dependencies;
        self.skewed += other.skewed;
        self.replayed_reads += other.replayed_reads;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("no anomalies");
        }
        for (kind, count) in &self.counts {
            writeln!(f, "{count} x {kind}")?;
        }
        for anomaly in &self.anomalies {
            writeln!(f, "{anomaly}")?;
        }
        let all: u64 = self.counts.values().sum();
        let hidden = all - self.anomalies.len() as u64;
        if hidden > 0 { write!(f, "... and {hidden} more") } else { Ok(()) }
    }
}
