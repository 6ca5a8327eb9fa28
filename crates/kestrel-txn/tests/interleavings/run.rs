//! Runs schedules on an engine, and holds what comes of them against the oracle.

use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::MemoryStorage;
use kestrel_txn::{
    Cursor, Durability, Engine, EngineOptions, ErrorKind, Isolation, ReadTxn, TreeId, WriteTxn,
};

use crate::oracle::{Entry, Model, Oracle, Seen, State};
use crate::program::{Op, Program};

const KEYS: [&[u8]; 2] = [b"k1", b"k2"];
/// With so large a value four entries fill a page, so that these lie between the leaves of the two keys.
const FILLERS: [&[u8]; 5] = [b"k1-a", b"k1-b", b"k1-c", b"k1-d", b"k1-e"];
const FILLER_LEN: usize = 900;
/// Of such values two make a transaction take the leaf whole. Then commits meet a leaf that is no longer what it was, and run
/// their operations again.
const BULKY_LEN: usize = 800;

/// Where the two keys lie, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// On one leaf.
    Together,
    /// On different leaves, others between them.
    Apart,
    /// On one leaf, with large values.
    Bulky,
}

/// All layouts.
pub(crate) const LAYOUTS: [Layout; 3] = [Layout::Together, Layout::Apart, Layout::Bulky];

/// How often what happened.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) schedules: u64,
    pub(crate) commits: u64,
    pub(crate) conflicts: u64,
    /// Outcomes that no order of the transactions explains in which they commit. None at the serializable level.
    pub(crate) skewed: u64,
    /// Commits whose operations the engine ran again.
    pub(crate) replays: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, more: Counts) {
        self.schedules += more.schedules;
        self.commits += more.commits;
        self.conflicts += more.conflicts;
        self.skewed += more.skewed;
        self.replays += more.replays;
    }
}

/// An engine with one tree, used for many schedules.
pub(crate) struct World {
    engine: Engine,
    tree: TreeId,
    layout: Layout,
    state: State,
    next_value: u32,
    counts: Counts,
}

enum Running {
    Write(WriteTxn),
    Read(ReadTxn),
}

impl World {
    pub(crate) fn new(layout: Layout) -> World {
        // Superseded pages wait for the epoch, which all threads of the process share: a thread of another test that the system
        // does not let run for a while keeps them. So there is far more room than one schedule needs.
        let options = EngineOptions { memory_budget: 64 << 20, ..EngineOptions::default() };
        let engine = Engine::open(Arc::new(MemoryStorage::new()), &options).unwrap();
        let txn = engine.begin_write(Isolation::Serializable).unwrap();
        let tree = txn.create_tree("t").unwrap();
        for key in FILLERS.iter().filter(|_| layout == Layout::Apart) {
            txn.put(tree, key, &[0; FILLER_LEN]).unwrap();
        }
        txn.commit(Durability::Eventual).unwrap();
        World { engine, tree, layout, state: [None; 2], next_value: 0, counts: Counts::default() }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { replays: self.engine.statistics().replays, ..self.counts }
    }

    fn value(&mut self) -> u32 {
        self.next_value += 1;
        self.next_value
    }

    /// Makes the keys present or absent, as the next schedule wants to meet them.
    fn reset(&mut self, present: [bool; 2]) {
        if [0, 1].map(|slot: usize| self.state[slot].is_some()) == present {
            return;
        }
        let txn = self.engine.begin_write(Isolation::Snapshot).unwrap();
        for slot in 0..2 {
            self.state[slot] = present[slot].then(|| self.value());
            match self.state[slot] {
                Some(value) => txn.put(self.tree, KEYS[slot], &bytes(value, self.layout)).unwrap(),
                None => assert!(txn.delete(self.tree, KEYS[slot]).is_ok()),
            }
        }
        txn.commit(Durability::Eventual).unwrap();
    }

    /// Runs the programs, each at its level, with their steps in this order.
    pub(crate) fn run(
        &mut self,
        programs: &[Program],
        levels: &[Isolation],
        present: [bool; 2],
        order: &[usize],
    ) {
        self.reset(present);
        let mut oracle = Oracle::new(self.state);
        let mut running: Vec<Option<(Running, Model)>> = programs.iter().map(|_| None).collect();
        let mut done = vec![0; programs.len()];
        for (place, &number) in order.iter().enumerate() {
            let program = &programs[number];
            let trouble = |what: String| -> ! {
                let programs: Vec<String> = programs.iter().map(ToString::to_string).collect();
                panic!(
                    "{levels:?}, {programs:?}, keys there {present:?}, {:?}, order {order:?}, step {place}: {what}",
                    self.layout
                )
            };
            let (txn, mut model) = running[number].take().unwrap_or_else(|| {
                let txn = if program.reader {
                    Running::Read(self.engine.begin_read().unwrap())
                } else {
                    Running::Write(self.engine.begin_write(levels[number]).unwrap())
                };
                (txn, oracle.begin(levels[number], self.layout == Layout::Apart))
            });
            if let Some(&op) = program.ops.get(done[number]) {
                self.next_value += 1;
                let seen = perform(&txn, (self.tree, self.layout), op, self.next_value);
                let expected = model.perform(op, self.next_value);
                if seen != expected {
                    trouble(format!("{op} returned {seen:?}, and not {expected:?}"));
                }
                model.note(op, self.next_value, seen);
                done[number] += 1;
                running[number] = Some((txn, model));
                continue;
            }
            let committed = match txn {
                Running::Read(_) => true,
                Running::Write(txn) => match txn.commit(Durability::Eventual) {
                    Ok(_) => true,
                    Err(error) if error.kind() == ErrorKind::Conflict => false,
                    Err(error) => trouble(format!("commit: {error}")),
                },
            };
            let expected = oracle.commit(model);
            if committed != expected {
                trouble(format!("commits: {committed}, has to: {expected}"));
            }
            self.counts.commits += u64::from(committed);
            self.counts.conflicts += u64::from(!committed);
        }
        let serial = oracle.is_serial();
        assert!(
            serial || levels.contains(&Isolation::Snapshot),
            "not serial: {levels:?}, {programs:?}, keys there {present:?}, order {order:?}"
        );
        self.counts.skewed += u64::from(!serial);
        self.state = oracle.state;
        self.check_state(programs, order);
        self.counts.schedules += 1;
    }

    fn check_state(&self, programs: &[Program], order: &[usize]) {
        let read = self.engine.begin_read().unwrap();
        let state = KEYS.map(|key| read.get(self.tree, key).unwrap().map(|value| number(&value)));
        assert_eq!(state, self.state, "the end of {programs:?} in the order {order:?}");
        let fillers = if self.layout == Layout::Apart { FILLERS.len() } else { 0 };
        let entries = state.iter().flatten().count() + fillers;
        assert_eq!(read.len(self.tree).unwrap(), entries as u64, "{programs:?} in the order {order:?}");
    }

    /// The structure, at the end.
    pub(crate) fn verify(&self) {
        let report = self.engine.verify(&mut |_, _| {}).unwrap();
        assert_eq!(report.damages, []);
    }
}

fn bytes(value: u32, layout: Layout) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    if layout == Layout::Bulky {
        bytes.resize(BULKY_LEN, 0);
    }
    bytes
}

fn number(value: &[u8]) -> u32 {
    u32::from_le_bytes(value[..4].try_into().unwrap())
}

fn entry((key, value): &(Vec<u8>, kestrel_txn::Value)) -> Entry {
    match KEYS.iter().position(|known| known == key) {
        Some(slot) => Entry::Key(slot, number(value)),
        None => Entry::Filler,
    }
}

fn perform(txn: &Running, (tree, layout): (TreeId, Layout), op: Op, value: u32) -> Seen {
    let cursor = || -> Cursor {
        match txn {
            Running::Write(txn) => txn.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap(),
            Running::Read(txn) => txn.range(tree, Bound::Unbounded, Bound::Unbounded).unwrap(),
        }
    };
    match (op, txn) {
        (Op::Read(slot), Running::Write(txn)) => {
            Seen::Value(txn.get(tree, KEYS[slot]).unwrap().map(|value| number(&value)))
        }
        (Op::Read(slot), Running::Read(txn)) => {
            Seen::Value(txn.get(tree, KEYS[slot]).unwrap().map(|value| number(&value)))
        }
        (Op::Write(slot), Running::Write(txn)) => {
            txn.put(tree, KEYS[slot], &bytes(value, layout)).unwrap();
            Seen::Nothing
        }
        (Op::Delete(slot), Running::Write(txn)) => Seen::Existed(txn.delete(tree, KEYS[slot]).unwrap()),
        (Op::Write(_) | Op::Delete(_), Running::Read(_)) => panic!("a read transaction does not write"),
        (Op::Scan, _) => {
            let mut state = State::default();
            for found in cursor() {
                if let Entry::Key(slot, value) = entry(&found.unwrap()) {
                    state[slot] = Some(value);
                }
            }
            Seen::All(state)
        }
        (Op::HalfBack, _) => Seen::Last(cursor().next_back().map(|found| entry(&found.unwrap()))),
    }
}
