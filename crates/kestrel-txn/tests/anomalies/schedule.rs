//! A notation for schedules.
//!
//! A schedule is a line of steps, each with the number of the transaction that takes it: `w1(k1,11) r2(k1)=10 c1 c2`. What
//! stands behind `=` is what the step has to return. A transaction begins with its first step.
//!
//! | step | does |
//! |---|---|
//! | `b1` | begins, and nothing else |
//! | `r1(k1)=10`, `r1(k1)=none` | reads a key |
//! | `w1(k1,11)` | stores a value |
//! | `d1(k1)`, `d1(k1..k3)` | deletes a key; a range of keys, both ends included |
//! | `s1(all)=k1:10,k2:20`, `s1(v%3=0)=none`, `s1(v=30)` | scans the tree forwards, and keeps what fits |
//! | `z1(all)` | the same backwards |
//! | `f1(k2)=k1:10,k2:20`, `f1(<k2)=k1:10` | scans forwards up to a key and stops there; stops just before it |
//! | `v1(k2)=k2:20`, `v1(>k1)=k2:20` | the same backwards |
//! | `o1(t)`, `n1=k1:10`, `m1=k2:20` | opens a cursor on a tree, which stays; its next entry from the front, from the back |
//! | `e1(t)` | scans no keys at all: bounds that cross |
//! | `u1(10)`, `x1(v=20)` | adds to all values; deletes those that fit: a scan, and then what it found |
//! | `p1(first)=k1:10`, `p1(last)=k2:20` | takes the first or the last entry out |
//! | `l1(t)=2` | the number of entries of a tree |
//! | `t1` | the list of trees with their numbers of entries |
//! | `sp1`, `rb1`, `rl1` | sets a savepoint; rolls back to the newest; releases it |
//! | `mk1(y)`, `rm1(y)`, `mv1(y,z)`, `q1(y)=yes` | creates, drops, renames a tree; looks for it by name |
//! | `c1`, `a1` | commits, aborts |
//!
//! Keys are `k1` to `k4`, of the tree `t`; `y/k1` is a key of another tree. The conflicts that a schedule ends with are told
//! beside it: `c2 X` says that the second transaction's commit is one.

use std::collections::BTreeSet;

/// A key, and the name of its tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) tree: String,
    pub(crate) bytes: Vec<u8>,
}

/// Which values a scan keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filter {
    All,
    MultiplesOf(u32),
    Equal(u32),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Begin,
    Read(Key),
    Write(Key, u32),
    Delete(Key),
    DeleteRange(Key, Key),
    Scan { filter: Filter, back: bool },
    Half { key: Key, back: bool, before: bool },
    Open(String),
    Empty(String),
    Next { back: bool },
    Add(u32),
    DeleteWhere(Filter),
    Pop { last: bool },
    Len(String),
    Trees,
    Savepoint,
    RollBack,
    Release,
    Make(String),
    Drop(String),
    Rename(String, String),
    Find(String),
    Commit,
    Abort,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) txn: usize,
    pub(crate) act: Act,
    pub(crate) expected: Option<String>,
    pub(crate) text: String,
}

/// A line of a table: what it is called, its steps, and whose commits are conflicts at the two levels.
pub(crate) type Row = (&'static str, &'static str, &'static str, &'static str);

/// The steps of a schedule.
pub(crate) fn steps(schedule: &str) -> Vec<Step> {
    schedule.split_whitespace().map(step).collect()
}

/// `"c1 X c3 X"`: the transactions whose commits are conflicts.
pub(crate) fn conflicts(text: &str) -> BTreeSet<usize> {
    text.split_terminator(" X").map(|commit| commit.trim()[1..].parse().unwrap()).collect()
}

impl Key {
    pub(crate) fn new(tree: &str, number: u8) -> Key {
        Key { tree: tree.to_owned(), bytes: vec![b'0' + number, b':', b'k'] }
    }

    fn parse(text: &str) -> Key {
        let (tree, key) = text.split_once('/').unwrap_or(("t", text));
        Key::new(tree, key.strip_prefix('k').unwrap().parse().unwrap())
    }

    /// The same place with another ending: `a` and `z` are its guards, which nobody changes.
    pub(crate) fn beside(&self, ending: &str) -> Vec<u8> {
        [&self.bytes[..2], ending.as_bytes()].concat()
    }
}

impl Filter {
    fn parse(text: &str) -> Filter {
        match text.split_once('=') {
            None => Filter::All,
            Some(("v", number)) => Filter::Equal(number.parse().unwrap()),
            Some((left, _)) => Filter::MultiplesOf(left.strip_prefix("v%").unwrap().parse().unwrap()),
        }
    }

    pub(crate) fn keeps(self, value: u32) -> bool {
        match self {
            Filter::All => true,
            Filter::MultiplesOf(number) => value.is_multiple_of(number),
            Filter::Equal(number) => value == number,
        }
    }
}

fn step(text: &str) -> Step {
    let (verb, rest) = text.split_at(text.find(|c: char| c.is_ascii_digit()).unwrap());
    let txn = usize::from(rest.as_bytes()[0] - b'0');
    let (argument, rest) = match rest[1..].strip_prefix('(') {
        Some(inside) => inside.split_once(')').unwrap(),
        None => ("", &rest[1..]),
    };
    let expected = rest.strip_prefix('=').map(str::to_owned);
    let name = || argument.to_owned();
    let pair = || argument.split_once(',').unwrap();
    let half = |back: bool| {
        let before = argument.starts_with(['<', '>']);
        Act::Half { key: Key::parse(argument.trim_start_matches(['<', '>'])), back, before }
    };
    let act = match verb {
        "b" => Act::Begin,
        "r" => Act::Read(Key::parse(argument)),
        "w" => Act::Write(Key::parse(pair().0), pair().1.parse().unwrap()),
        "d" => match argument.split_once("..") {
            Some((low, high)) => Act::DeleteRange(Key::parse(low), Key::parse(high)),
            None => Act::Delete(Key::parse(argument)),
        },
        "s" | "z" => Act::Scan { filter: Filter::parse(argument), back: verb == "z" },
        "f" | "v" => half(verb == "v"),
        "o" => Act::Open(name()),
        "e" => Act::Empty(name()),
        "n" | "m" => Act::Next { back: verb == "m" },
        "u" => Act::Add(argument.parse().unwrap()),
        "x" => Act::DeleteWhere(Filter::parse(argument)),
        "p" => Act::Pop { last: argument == "last" },
        "l" => Act::Len(name()),
        "t" => Act::Trees,
        "sp" => Act::Savepoint,
        "rb" => Act::RollBack,
        "rl" => Act::Release,
        "mk" => Act::Make(name()),
        "rm" => Act::Drop(name()),
        "mv" => Act::Rename(pair().0.to_owned(), pair().1.to_owned()),
        "q" => Act::Find(name()),
        "c" => Act::Commit,
        "a" => Act::Abort,
        _ => panic!("no step: {text}"),
    };
    Step { txn, act, expected, text: text.to_owned() }
}
