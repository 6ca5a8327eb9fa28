//! The questions. Each is asked of one snapshot, so the indexes have to agree about the answer.

use std::collections::{HashMap, HashSet};

use kestreldb::{Error, KeyRange, ReadTxn};

use crate::Failure;
use crate::hit::Hit;
use crate::indexes::{Indexes, decoded, from_page, from_time, from_visitor, page_prefix};

/// More visitors of a site are not followed up.
const VISITORS_MAX: usize = 100;

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    begin: u64,
    end: u64,
}

impl Window {
    /// About the newest `hits` hits; `None` while there are none at all.
    pub fn newest(snapshot: &ReadTxn, indexes: &Indexes, hits: u64) -> Result<Option<Window>, Failure> {
        let mut entries = snapshot.range(&indexes.by_time, ..)?;
        let Some(first) = entries.next() else { return Ok(None) };
        let begin = decoded(first, from_time)?.time;
        let end = match entries.next_back() {
            Some(last) => decoded(last, from_time)?.time,
            None => begin,
        };
        let all = snapshot.len(&indexes.by_time)?;
        let share = u128::from(end - begin) * u128::from(hits.min(all)) / u128::from(all);
        Ok(Some(Window { begin: end - share as u64, end }))
    }

    /// The keys of the window behind a prefix.
    fn keys(self, prefix: &[u8]) -> KeyRange {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let low = [prefix, &self.begin.to_be_bytes()].concat();
        match self.end.checked_add(1) {
            Some(end) => KeyRange::new(Included(low), Excluded([prefix, &end.to_be_bytes()].concat())),
            None => KeyRange::new(Included(low), Unbounded),
        }
    }
}

/// All hits of a window, from `by_time`.
pub fn hits(snapshot: &ReadTxn, indexes: &Indexes, window: Window) -> Result<Vec<Hit>, Failure> {
    snapshot.range(&indexes.by_time, window.keys(&[]))?.map(|entry| decoded(entry, from_time)).collect()
}

/// How often a page was hit in the window, from `by_page`.
pub fn page_hits(
    snapshot: &ReadTxn,
    indexes: &Indexes,
    site: &[u8],
    page: &[u8],
    window: Window,
) -> Result<u64, Failure> {
    let mut count = 0;
    for entry in snapshot.range(&indexes.by_page, window.keys(&page_prefix(site, page)))? {
        let hit = decoded(entry, from_page)?;
        if (&hit.site[..], &hit.page[..]) != (site, page) {
            return Err("by_page shows a hit of another page".into());
        }
        count += 1;
    }
    Ok(count)
}

/// The `count` pages that were hit most, with how often.
pub fn top_pages(hits: &[Hit], count: usize) -> Vec<(u64, &[u8], &[u8])> {
    let mut pages: HashMap<(&[u8], &[u8]), u64> = HashMap::new();
    for hit in hits {
        *pages.entry((&hit.site, &hit.page)).or_default() += 1;
    }
    let mut top: Vec<_> = pages.into_iter().map(|((site, page), hits)| (hits, site, page)).collect();
    top.sort_unstable_by(|a, b| b.cmp(a));
    top.truncate(count);
    top
}

/// How many of the first visitors of `one` visited `other` as well in the window, from `by_visitor`. `hits` are those of
/// the window; an index that contradicts them is a failure.
pub fn shared_audience(
    snapshot: &ReadTxn,
    indexes: &Indexes,
    hits: &[Hit],
    window: Window,
    (one, other): (&[u8], &[u8]),
) -> Result<u64, Failure> {
    let visitors_of = |site: &[u8]| -> HashSet<u64> {
        hits.iter().filter(|hit| hit.site == site).map(|hit| hit.visitor).collect()
    };
    let known = visitors_of(other);
    let mut shared = 0;
    for visitor in visitors_of(one).into_iter().take(VISITORS_MAX) {
        let visited = visits(snapshot, indexes, visitor, other, window)?;
        if visited != known.contains(&visitor) {
            return Err(format!("by_visitor and by_time contradict each other about {visitor:x}").into());
        }
        shared += u64::from(visited);
    }
    Ok(shared)
}

fn visits(
    snapshot: &ReadTxn,
    indexes: &Indexes,
    visitor: u64,
    site: &[u8],
    window: Window,
) -> Result<bool, Failure> {
    for entry in snapshot.range(&indexes.by_visitor, window.keys(&visitor.to_be_bytes()))? {
        if decoded(entry, from_visitor)?.site == site {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Entries of all indexes: in one snapshot they are as many.
pub fn check_counts(snapshot: &ReadTxn, indexes: &Indexes) -> Result<(), Failure> {
    let count = |tree| -> Result<u64, Error> { snapshot.len(tree) };
    let counts = [count(&indexes.by_time)?, count(&indexes.by_page)?, count(&indexes.by_visitor)?];
    if counts.iter().any(|&count| count != counts[0]) {
        return Err(format!("one snapshot shows indexes of {counts:?} entries").into());
    }
    Ok(())
}
