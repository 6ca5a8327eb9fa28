//! What can be done to a database, as data to draw and to shrink.

use kestreldb::Durability;
use proptest::collection::vec;
use proptest::prelude::*;

/// Names of trees to choose from.
pub(crate) const TREES: usize = 4;

/// How the database is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) page_size: u32,
    pub(crate) memory_budget: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Transaction {
        changes: Vec<Change>,
        durability: Durability,
        commit: bool,
    },
    /// Begins a snapshot and keeps it.
    Snapshot,
    /// Compares one of the snapshots, and ends it.
    EndSnapshot(usize),
    Checkpoint,
    Maintain,
    Flush,
    /// Closes and opens again.
    Reopen,
    /// Ends the process: nothing that is not synced is sure to be there.
    Crash(u64),
    /// Lets the power fail after so many more operations of the disk, and ends the process then.
    PowerFailure {
        operations: u64,
        seed: u64,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(usize, KeySpec, ValueSpec),
    Insert(usize, KeySpec, ValueSpec),
    Remove(usize, KeySpec),
    Delete(usize, KeySpec),
    /// With an expectation that is right, or wrong.
    Swap(usize, KeySpec, bool, Option<ValueSpec>),
    Update(usize, KeySpec, Option<ValueSpec>),
    Get(usize, KeySpec),
    PopFirst(usize),
    PopLast(usize),
    RemoveRange(usize, KeySpec, KeySpec),
    Scan {
        tree: usize,
        low: KeySpec,
        high: KeySpec,
        backwards: bool,
    },
    Retain(usize, u8),
    /// Many entries at once, spread by a stride, so that pages split everywhere.
    Fill {
        tree: usize,
        first: u16,
        stride: u16,
        count: u16,
        value: ValueSpec,
    },
    Append {
        tree: usize,
        count: u16,
        value: ValueSpec,
    },
    DropTree(usize),
    Rename(usize, usize),
    Savepoint,
    Rollback(usize),
    Release(usize),
}

/// A key, whose length follows from the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeySpec {
    Empty,
    Short(u8),
    Shared(u16),
    /// So many thousandths of the limit, then a byte to tell them apart.
    Long(u16, u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueSpec {
    pub(crate) len: u32,
    pub(crate) seed: u8,
}

impl KeySpec {
    pub(crate) fn bytes(self, limit: usize) -> Vec<u8> {
        match self {
            KeySpec::Empty => Vec::new(),
            KeySpec::Short(n) => vec![n],
            KeySpec::Shared(n) => [&b"shared/by/many/"[..], &n.to_be_bytes()].concat(),
            KeySpec::Long(thousandths, last) => {
                let mut key = vec![b'l'; (limit * usize::from(thousandths) / 1_000).max(1)];
                key.last_mut().into_iter().for_each(|end| *end = last);
                key
            }
        }
    }
}

impl ValueSpec {
    pub(crate) fn bytes(self) -> Vec<u8> {
        (0..self.len).map(|at| (at as u8).wrapping_mul(self.seed | 1) ^ (at >> 8) as u8 ^ self.seed).collect()
    }
}

impl Arbitrary for Setup {
    type Parameters = ();
    type Strategy = BoxedStrategy<Setup>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        // Memory for some 64 pages, which is about as little as a database may have, or four times that.
        let of = |page_size: u32| {
            let smallest = u64::from(page_size) * 96;
            (Just(page_size), prop_oneof![Just(smallest), Just(4 * smallest)])
        };
        prop_oneof![4 => of(4_096), 1 => of(8_192), 1 => of(16_384), 2 => of(65_536)]
            .prop_map(|(page_size, memory_budget)| Setup { page_size, memory_budget })
            .boxed()
    }
}

impl Arbitrary for Step {
    type Parameters = ();
    type Strategy = BoxedStrategy<Step>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let durability = prop_oneof![Just(Durability::Immediate), Just(Durability::Eventual)];
        let transaction = (vec(any::<Change>(), 1..12), durability, prop::bool::weighted(0.9))
            .prop_map(|(changes, durability, commit)| Step::Transaction { changes, durability, commit });
        let power =
            (0..60_u64, any::<u64>()).prop_map(|(operations, seed)| Step::PowerFailure { operations, seed });
        prop_oneof![
            14 => transaction,
            2 => Just(Step::Snapshot),
            2 => any::<usize>().prop_map(Step::EndSnapshot),
            2 => Just(Step::Checkpoint),
            1 => Just(Step::Maintain),
            1 => Just(Step::Flush),
            1 => Just(Step::Reopen),
            2 => any::<u64>().prop_map(Step::Crash),
            1 => power,
        ]
        .boxed()
    }
}

impl Arbitrary for KeySpec {
    type Parameters = ();
    type Strategy = BoxedStrategy<KeySpec>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        prop_oneof![
            1 => Just(KeySpec::Empty),
            6 => any::<u8>().prop_map(KeySpec::Short),
            6 => (0..2_000_u16).prop_map(KeySpec::Shared),
            2 => (1..=1_000_u16, 0..4_u8).prop_map(|(len, last)| KeySpec::Long(len, last)),
            1 => (0..4_u8).prop_map(|last| KeySpec::Long(1_000, last)),
        ]
        .boxed()
    }
}

impl Arbitrary for ValueSpec {
    type Parameters = ();
    type Strategy = BoxedStrategy<ValueSpec>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let len = prop_oneof![
            8 => 0..50_u32,
            4 => 0..1_500_u32,
            2 => 900..5_000_u32,
            1 => 0..200_000_u32,
        ];
        (len, any::<u8>()).prop_map(|(len, seed)| ValueSpec { len, seed }).boxed()
    }
}

impl Arbitrary for Change {
    type Parameters = ();
    type Strategy = BoxedStrategy<Change>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        use Change::*;
        // Most of it happens in one tree.
        let tree = || prop_oneof![4 => Just(0), 1 => 0..TREES];
        let key = any::<KeySpec>;
        let value = any::<ValueSpec>;
        let many = || {
            let len = prop_oneof![3 => 0..40_u32, 1 => 0..600_u32];
            (len, any::<u8>()).prop_map(|(len, seed)| ValueSpec { len, seed })
        };
        let fill = (tree(), 0..2_000_u16, 1..50_u16, 1..600_u16, many())
            .prop_map(|(tree, first, stride, count, value)| Fill { tree, first, stride, count, value });
        prop_oneof![
            8 => (tree(), key(), value()).prop_map(|(t, k, v)| Put(t, k, v)),
            3 => (tree(), key(), value()).prop_map(|(t, k, v)| Insert(t, k, v)),
            3 => (tree(), key()).prop_map(|(t, k)| Remove(t, k)),
            2 => (tree(), key()).prop_map(|(t, k)| Delete(t, k)),
            2 => (tree(), key(), any::<bool>(), any::<Option<ValueSpec>>())
                .prop_map(|(t, k, right, v)| Swap(t, k, right, v)),
            2 => (tree(), key(), any::<Option<ValueSpec>>()).prop_map(|(t, k, v)| Update(t, k, v)),
            2 => (tree(), key()).prop_map(|(t, k)| Get(t, k)),
            1 => tree().prop_map(PopFirst),
            1 => tree().prop_map(PopLast),
            2 => (tree(), key(), key()).prop_map(|(t, a, b)| RemoveRange(t, a, b)),
            2 => (tree(), key(), key(), any::<bool>())
                .prop_map(|(tree, low, high, backwards)| Scan { tree, low, high, backwards }),
            1 => (tree(), 2..5_u8).prop_map(|(t, m)| Retain(t, m)),
            3 => fill,
            1 => (tree(), 1..600_u16, many()).prop_map(|(tree, count, value)| Append { tree, count, value }),
            1 => (1..TREES).prop_map(DropTree),
            1 => (0..TREES, 0..TREES).prop_map(|(from, to)| Rename(from, to)),
            2 => Just(Savepoint),
            2 => any::<usize>().prop_map(Rollback),
            1 => any::<usize>().prop_map(Release),
        ]
        .boxed()
    }
}
