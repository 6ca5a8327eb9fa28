//! Programs of transactions over two keys, and the orders in which their steps can follow each other.

use std::fmt;

/// One of the two keys.
pub(crate) type Slot = usize;

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Read(Slot),
    /// Stores a value that was never stored before.
    Write(Slot),
    Delete(Slot),
    /// Reads the whole tree forwards.
    Scan,
    /// Reads the whole tree backwards, and stops at the first entry that it meets.
    HalfBack,
}

/// All operations, in the order in which programs are numbered.
pub(crate) const OPS: [Op; 8] = [
    Op::Read(0),
    Op::Read(1),
    Op::Write(0),
    Op::Write(1),
    Op::Delete(0),
    Op::Delete(1),
    Op::Scan,
    Op::HalfBack,
];

/// What one transaction does before it commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    pub(crate) ops: Vec<Op>,
    /// Done in a read transaction, which has nothing to commit.
    pub(crate) reader: bool,
}

impl Program {
    /// `"r1 w2 d1 s h"`: read, write, delete a key, scan, half a scan backwards. `"ro: s r1"` is a read transaction.
    pub(crate) fn parse(text: &str) -> Program {
        let (reader, text) = text.strip_prefix("ro: ").map_or((false, text), |text| (true, text));
        let op = |word: &str| {
            *OPS.iter().find(|op| op.to_string() == word).unwrap_or_else(|| panic!("no operation: {word}"))
        };
        Program { ops: text.split(' ').map(op).collect(), reader }
    }

    /// All programs of so many operations.
    pub(crate) fn all(len: u32) -> impl Iterator<Item = Program> {
        (0..OPS.len().pow(len)).map(move |number| Program::numbered(number, len))
    }

    /// The digits of a number, each an operation.
    pub(crate) fn numbered(mut number: usize, len: u32) -> Program {
        let mut ops = Vec::new();
        for _ in 0..len {
            ops.push(OPS[number % OPS.len()]);
            number /= OPS.len();
        }
        Program { ops, reader: false }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Read(slot) => write!(f, "r{}", slot + 1),
            Op::Write(slot) => write!(f, "w{}", slot + 1),
            Op::Delete(slot) => write!(f, "d{}", slot + 1),
            Op::Scan => f.write_str("s"),
            Op::HalfBack => f.write_str("h"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.reader { "ro:" } else { "rw:" })?;
        self.ops.iter().try_for_each(|op| write!(f, " {op}"))
    }
}

/// Calls `each` with every order of the steps of the programs: of each its operations and its commit, in this order. An
/// order names for each step the transaction that takes it.
pub(crate) fn interleavings(programs: &[Program], mut each: impl FnMut(&[usize])) {
    let mut order: Vec<usize> = programs
        .iter()
        .enumerate()
        .flat_map(|(txn, program)| std::iter::repeat_n(txn, program.ops.len() + 1))
        .collect();
    loop {
        each(&order);
        if !next_permutation(&mut order) {
            return;
        }
    }
}

/// The next one in lexicographic order; `false` after the last.
fn next_permutation(order: &mut [usize]) -> bool {
    let Some(at) = order.windows(2).rposition(|pair| pair[0] < pair[1]) else { return false };
    let other = order.iter().rposition(|&step| step > order[at]).unwrap_or(at);
    order.swap(at, other);
    order[at + 1..].reverse();
    true
}
