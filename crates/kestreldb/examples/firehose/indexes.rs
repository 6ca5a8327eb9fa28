//! How hits are laid out in trees: three indexes, each of which has all of a hit, and the acknowledgements.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `by_time` | time, number | visitor, site, page, referrer |
//! | `by_page` | site `00` page `00` time, number | visitor, referrer |
//! | `by_visitor` | visitor, time, number | site, page, referrer |
//! | `acknowledgements` | number of the batch | first number, hits, sum of the fingerprints |
//!
//! Numbers are big-endian, so that their order is the order of keys. Texts in values have their length in front.

use kestreldb::{Database, Error, Key, Tree, Value, WriteTxn};

use crate::Failure;
use crate::feed::Batch;
use crate::hit::Hit;

/// The trees.
pub struct Indexes {
    pub by_time: Tree,
    pub by_page: Tree,
    pub by_visitor: Tree,
    pub acknowledgements: Tree,
}

/// Where an earlier run stopped.
pub struct Resume {
    pub next_batch: u64,
    pub next_hit: u64,
    pub last_time: Option<u64>,
}

/// What is noted about a batch, in the transaction that stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub first_hit: u64,
    pub hits: u64,
    pub fingerprints: u64,
}

impl Indexes {
    pub fn open(db: &Database) -> Result<Indexes, Error> {
        Ok(Indexes {
            by_time: db.tree("by_time")?,
            by_page: db.tree("by_page")?,
            by_visitor: db.tree("by_visitor")?,
            acknowledgements: db.tree("acknowledgements")?,
        })
    }

    pub fn resume(&self, db: &Database) -> Result<Resume, Failure> {
        let snapshot = db.begin_read()?;
        let last_time = match snapshot.last(&self.by_time)? {
            Some((key, _)) => Some(take_number(&mut &key[..]).ok_or("a key of by_time is too short")?),
            None => None,
        };
        let Some((key, value)) = snapshot.last(&self.acknowledgements)? else {
            return Ok(Resume { next_batch: 0, next_hit: 0, last_time });
        };
        let (batch, last) = Acknowledgement::decode(&key, &value).ok_or("an acknowledgement is damaged")?;
        Ok(Resume { next_batch: batch + 1, next_hit: last.first_hit + last.hits, last_time })
    }

    /// Stores a batch in all trees.
    pub fn store(&self, tx: &WriteTxn, batch: &Batch) -> Result<(), Error> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for hit in &batch.hits {
            by_time(hit, &mut key, &mut value);
            tx.put(&self.by_time, &key, &value)?;
            by_page(hit, &mut key, &mut value);
            tx.put(&self.by_page, &key, &value)?;
            by_visitor(hit, &mut key, &mut value);
            tx.put(&self.by_visitor, &key, &value)?;
        }
        let acknowledgement = Acknowledgement::of(batch);
        tx.put(&self.acknowledgements, batch.number.to_be_bytes(), acknowledgement.encode())
    }
}

impl Acknowledgement {
    pub fn of(batch: &Batch) -> Acknowledgement {
        Acknowledgement {
            first_hit: batch.hits.first().map_or(0, |hit| hit.number),
            hits: batch.hits.len() as u64,
            fingerprints: batch.hits.iter().map(Hit::fingerprint).fold(0, u64::wrapping_add),
        }
    }

    fn encode(&self) -> Vec<u8> {
        [self.first_hit, self.hits, self.fingerprints].map(u64::to_be_bytes).concat()
    }

    /// With the number of the batch.
    pub fn decode(key: &[u8], value: &[u8]) -> Option<(u64, Acknowledgement)> {
        let batch = u64::from_be_bytes(key.try_into().ok()?);
        let rest = &mut &value[..];
        let (first_hit, hits, fingerprints) = (take_number(rest)?, take_number(rest)?, take_number(rest)?);
        rest.is_empty().then_some((batch, Acknowledgement { first_hit, hits, fingerprints }))
    }
}

fn by_time(hit: &Hit, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    set(key, &[&hit.time.to_be_bytes(), &hit.number.to_be_bytes()]);
    set(value, &[&hit.visitor.to_be_bytes()]);
    push_texts(value, &[&hit.site, &hit.page, &hit.referrer]);
}

fn by_page(hit: &Hit, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    *key = page_prefix(&hit.site, &hit.page);
    key.extend(hit.time.to_be_bytes());
    key.extend(hit.number.to_be_bytes());
    set(value, &[&hit.visitor.to_be_bytes()]);
    push_texts(value, &[&hit.referrer]);
}

fn by_visitor(hit: &Hit, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    set(key, &[&hit.visitor.to_be_bytes(), &hit.time.to_be_bytes(), &hit.number.to_be_bytes()]);
    value.clear();
    push_texts(value, &[&hit.site, &hit.page, &hit.referrer]);
}

/// What the keys of a page's hits begin with in `by_page`.
pub fn page_prefix(site: &[u8], page: &[u8]) -> Vec<u8> {
    [site, &[0], page, &[0]].concat()
}

/// A hit out of an entry of `by_time`.
pub fn from_time(key: &[u8], value: &[u8]) -> Option<Hit> {
    let (key, value) = (&mut &key[..], &mut &value[..]);
    let (time, number) = (take_number(key)?, take_number(key)?);
    let visitor = take_number(value)?;
    let (site, page, referrer) = (take_text(value)?, take_text(value)?, take_text(value)?);
    (key.is_empty() && value.is_empty()).then_some(Hit { number, time, visitor, site, page, referrer })
}

/// A hit out of an entry of `by_page`.
pub fn from_page(key: &[u8], value: &[u8]) -> Option<Hit> {
    let mut texts = key.splitn(3, |&byte| byte == 0);
    let (site, page) = (texts.next()?.to_vec(), texts.next()?.to_vec());
    let (key, value) = (&mut texts.next()?, &mut &value[..]);
    let (time, number) = (take_number(key)?, take_number(key)?);
    let visitor = take_number(value)?;
    let referrer = take_text(value)?;
    (key.is_empty() && value.is_empty()).then_some(Hit { number, time, visitor, site, page, referrer })
}

/// A hit out of an entry of `by_visitor`.
pub fn from_visitor(key: &[u8], value: &[u8]) -> Option<Hit> {
    let (key, value) = (&mut &key[..], &mut &value[..]);
    let (visitor, time, number) = (take_number(key)?, take_number(key)?, take_number(key)?);
    let (site, page, referrer) = (take_text(value)?, take_text(value)?, take_text(value)?);
    (key.is_empty() && value.is_empty()).then_some(Hit { number, time, visitor, site, page, referrer })
}

/// Decodes an entry, or says where the damage is.
pub fn decoded(
    entry: Result<(Key, Value), Error>,
    decode: fn(&[u8], &[u8]) -> Option<Hit>,
) -> Result<Hit, Failure> {
    let (key, value) = entry?;
    decode(&key, &value).ok_or_else(|| format!("the entry of key {key:?} is damaged: {value:?}").into())
}

fn set(to: &mut Vec<u8>, parts: &[&[u8]]) {
    to.clear();
    parts.iter().for_each(|part| to.extend_from_slice(part));
}

fn push_texts(to: &mut Vec<u8>, texts: &[&[u8]]) {
    for text in texts {
        to.extend((text.len() as u32).to_be_bytes());
        to.extend_from_slice(text);
    }
}

fn take_number(from: &mut &[u8]) -> Option<u64> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_be_bytes(*number))
}

fn take_text(from: &mut &[u8]) -> Option<Vec<u8>> {
    let (len, rest) = from.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *from = rest;
    Some(text.to_vec())
}
