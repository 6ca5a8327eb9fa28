//! Lists in a database, in two ways: those with an even number are one value each, which an append reads and writes as a
//! whole; those with an odd number are a row for each element, which an append finds the last of.
//!
//! Each element is stored with its complement, mixed with the list's number; rows are filled up as their element
//! says. So a value that was never written, or belongs elsewhere, is noticed.

use std::fmt;

use kestreldb::{Database, Error, KeyRange, Range, ReadTxn, Tree, Value, WriteTxn};

use crate::{Element, Key};

/// Bytes of a stored element.
const STORED: usize = 8;
/// A row is filled up with fewer bytes than this.
const FILL: u32 = 160;

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Failure {
    Engine(Error),
    /// It did not, but what it returned was never written.
    Nonsense(String),
    /// It panicked.
    Panic(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Engine(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Engine(error) => write!(f, "{:?}: {error}", error.kind()),
            Failure::Nonsense(what) => f.write_str(what),
            Failure::Panic(said) => write!(f, "panicked: {said}"),
        }
    }
}

type Result<T, E = Failure> = std::result::Result<T, E>;

/// The trees that hold the lists.
pub(super) struct Lists {
    values: Tree,
    rows: Tree,
}

/// What lists are read from.
pub(super) trait State {
    fn get(&self, tree: &Tree, key: [u8; 4]) -> Result<Option<Value>, Error>;
    fn range(&self, tree: &Tree, range: KeyRange) -> Result<Range, Error>;
}

impl State for ReadTxn {
    fn get(&self, tree: &Tree, key: [u8; 4]) -> Result<Option<Value>, Error> {
        ReadTxn::get(self, tree, key)
    }

    fn range(&self, tree: &Tree, range: KeyRange) -> Result<Range, Error> {
        ReadTxn::range(self, tree, range)
    }
}

impl State for WriteTxn {
    fn get(&self, tree: &Tree, key: [u8; 4]) -> Result<Option<Value>, Error> {
        WriteTxn::get(self, tree, key)
    }

    fn range(&self, tree: &Tree, range: KeyRange) -> Result<Range, Error> {
        WriteTxn::range(self, tree, range)
    }
}

/// The end of a list, and what is needed to append to it.
pub(super) struct Tail {
    pub(super) len: u32,
    pub(super) last: Option<Element>,
    /// The value, if the list is one.
    value: Vec<u8>,
}

impl Lists {
    pub(super) fn open(database: &Database) -> Result<Lists, Error> {
        Ok(Lists { values: database.tree("values")?, rows: database.tree("rows")? })
    }

    /// A whole list; `backwards`: rows are read from their end.
    pub(super) fn read(&self, state: &impl State, key: Key, backwards: bool) -> Result<Vec<Element>> {
        if is_one_value(key) {
            let value = state.get(&self.values, name(key))?;
            return elements(key, value.as_deref().unwrap_or_default());
        }
        let rows = state.range(&self.rows, rows_of(key))?;
        let rows: Result<Vec<_>, Error> = if backwards { rows.rev().collect() } else { rows.collect() };
        let mut rows = rows?;
        if backwards {
            rows.reverse();
        }
        let numbered = (0_u32..).zip(rows);
        numbered
            .map(|(at, (row, value))| decode_row(key, &row, &value, Some(at)).map(|(_, element)| element))
            .collect()
    }

    pub(super) fn tail(&self, state: &impl State, key: Key) -> Result<Tail> {
        if is_one_value(key) {
            let value = state.get(&self.values, name(key))?.map_or_else(Vec::new, |value| value.to_vec());
            let list = elements(key, &value)?;
            return Ok(Tail { len: list.len() as u32, last: list.last().copied(), value });
        }
        let Some(row) = state.range(&self.rows, rows_of(key))?.next_back() else {
            return Ok(Tail { len: 0, last: None, value: Vec::new() });
        };
        let (row, value) = row?;
        let (at, element) = decode_row(key, &row, &value, None)?;
        Ok(Tail { len: at + 1, last: Some(element), value: Vec::new() })
    }

    /// Appends behind a list's end.
    pub(super) fn append(&self, txn: &WriteTxn, key: Key, tail: Tail, element: Element) -> Result<()> {
        let mut stored = tail.value;
        stored.extend(element.0.to_le_bytes());
        stored.extend(check(key, element).to_le_bytes());
        if is_one_value(key) {
            txn.put(&self.values, name(key), stored)?;
        } else {
            stored.resize(STORED + (element.0 % FILL) as usize, element.0 as u8);
            let row = [name(key), tail.len.to_be_bytes()].concat();
            txn.put(&self.rows, row, stored)?;
        }
        Ok(())
    }

    pub(super) fn remove(&self, txn: &WriteTxn, key: Key) -> Result<()> {
        let tree = if is_one_value(key) { &self.values } else { &self.rows };
        txn.remove_range(tree, rows_of(key))?;
        Ok(())
    }
}

fn is_one_value(key: Key) -> bool {
    key.0.is_multiple_of(2)
}

fn name(key: Key) -> [u8; 4] {
    key.0.to_be_bytes()
}

fn rows_of(key: Key) -> KeyRange {
    KeyRange::prefix(name(key))
}

fn check(key: Key, element: Element) -> u32 {
    !element.0 ^ key.0.rotate_left(16)
}

fn elements(key: Key, value: &[u8]) -> Result<Vec<Element>> {
    let pairs = value.chunks(STORED).map(|stored| element(key, stored));
    pairs.collect::<Option<Vec<_>>>().ok_or_else(|| nonsense(key, value))
}

fn element(key: Key, stored: &[u8]) -> Option<Element> {
    let (element, rest) = stored.split_first_chunk()?;
    let element = Element(u32::from_le_bytes(*element));
    (rest == check(key, element).to_le_bytes()).then_some(element)
}

/// A row's number and element. `at`: which number it has to have.
fn decode_row(key: Key, row: &[u8], value: &[u8], at: Option<u32>) -> Result<(u32, Element)> {
    let number =
        row.strip_prefix(&name(key)).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
    let number = number.filter(|number| at.is_none_or(|at| at == *number));
    let decoded = number.zip(value.split_at_checked(STORED).and_then(|(stored, fill)| {
        let element = element(key, stored)?;
        let filled =
            fill.len() == (element.0 % FILL) as usize && fill.iter().all(|&byte| byte == element.0 as u8);
        filled.then_some(element)
    }));
    decoded.ok_or_else(|| {
        let expected = at.map_or_else(String::new, |at| format!(", expected number {at}"));
        Failure::Nonsense(format!("list {} has the row {row:?} = {value:?}{expected}", key.0))
    })
}

fn nonsense(key: Key, value: &[u8]) -> Failure {
    Failure::Nonsense(format!("list {} is {value:?}", key.0))
}
