//! Damage: what is not as it was written, where, and which keys it concerns.

use std::fmt;

use kestrel_pager::PageId;

/// The name of the data file.
pub(crate) const DATA_FILE: &str = "kestrel.data";
/// More of a key is not shown.
const SHOWN_MAX: usize = 40;

/// Keys from `low` up to, not including, `high`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyBounds {
    /// The least key that may be concerned.
    pub low: Vec<u8>,
    /// The least key beyond; `None`: there is no limit.
    pub high: Option<Vec<u8>>,
}

impl KeyBounds {
    /// All keys.
    #[must_use]
    pub fn all() -> KeyBounds {
        KeyBounds { low: Vec::new(), high: None }
    }

    /// One key.
    #[must_use]
    pub fn one(key: &[u8]) -> KeyBounds {
        KeyBounds { low: key.to_vec(), high: Some([key, &[0]].concat()) }
    }

    /// Whether the key is concerned.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.low.as_slice() <= key && self.high.as_deref().is_none_or(|high| key < high)
    }
}

/// `all keys`, `key "a"`, `keys from "a" to before "m"`: what is not printable is escaped, long keys are cut.
impl fmt::Display for KeyBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.low[..], self.high.as_deref()) {
            ([], None) => write!(f, "all keys"),
            ([], Some(high)) => write!(f, "keys before {}", Shown(high)),
            (low, None) => write!(f, "keys from {}", Shown(low)),
            (low, Some(high)) if KeyBounds::one(low).high.as_deref() == Some(high) => {
                write!(f, "key {}", Shown(low))
            }
            (low, Some(high)) => write!(f, "keys from {} to before {}", Shown(low), Shown(high)),
        }
    }
}

/// A key on one line.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = self.0.get(..SHOWN_MAX).unwrap_or(self.0);
        write!(f, "\"{}\"", cut.escape_ascii())?;
        if cut.len() < self.0.len() { write!(f, "... ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// One thing that is not as it was written. What is not known is `None`.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The file it lies in.
    pub file: Option<String>,
    /// Where in that file, in bytes.
    pub offset: Option<u64>,
    /// The number of the page it belongs to.
    pub page: Option<u32>,
    /// The name of the tree whose keys are concerned.
    pub tree: Option<String>,
    /// Which of its keys may be.
    pub keys: Option<KeyBounds>,
    /// What is wrong.
    pub detail: String,
}

impl Damage {
    pub(crate) fn new(detail: impl Into<String>) -> Damage {
        Damage { detail: detail.into(), ..Damage::default() }
    }

    /// Damage in a file.
    pub(crate) fn in_file(file: impl Into<String>, offset: Option<u64>, detail: impl Into<String>) -> Damage {
        Damage { file: Some(file.into()), offset, ..Damage::new(detail) }
    }

    pub(crate) fn on(mut self, page: PageId) -> Damage {
        self.page.get_or_insert(page.0);
        self
    }

    pub(crate) fn of(mut self, tree: &str, keys: Option<KeyBounds>) -> Damage {
        self.tree.get_or_insert_with(|| tree.to_owned());
        if self.keys.is_none() {
            self.keys = keys;
        }
        self
    }
}

impl From<kestrel_pager::Error> for Damage {
    fn from(error: kestrel_pager::Error) -> Damage {
        match error {
            kestrel_pager::Error::Corrupted { page, offset, detail } => {
                let place = (offset > 0).then_some(offset);
                let damage = Damage::in_file(DATA_FILE, place, detail);
                Damage { page: page.map(|page| page.0), ..damage }
            }
            other => Damage::in_file(DATA_FILE, None, other.to_string()),
        }
    }
}

impl From<kestrel_wal::Error> for Damage {
    fn from(error: kestrel_wal::Error) -> Damage {
        match error {
            kestrel_wal::Error::Damaged { lsn, segment, detail } => {
                Damage::in_file(segment, None, format!("log position {lsn}: {detail}"))
            }
            other => Damage::new(other.to_string()),
        }
    }
}

/// For example `tree "stock", keys from "a" to before "m": page 7 at byte 4096 of kestrel.data: the checksum is wrong`.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tree) = &self.tree {
            write!(f, "tree {tree:?}")?;
            if let Some(keys) = &self.keys {
                write!(f, ", {keys}")?;
            }
            write!(f, ": ")?;
        }
        match (self.page, self.offset, &self.file) {
            (Some(page), Some(offset), Some(file)) => write!(f, "page {page} at byte {offset} of {file}: ")?,
            (Some(page), None, Some(file)) => write!(f, "page {page} in {file}: ")?,
            (Some(page), _, None) => write!(f, "page {page}: ")?,
            (None, Some(offset), Some(file)) => write!(f, "byte {offset} of {file}: ")?,
            (None, None, Some(file)) => write!(f, "{file}: ")?,
            (None, _, None) => {}
        }
        f.write_str(&self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_reads_as_a_sentence_and_names_what_is_known() {
        let bounds = KeyBounds { low: b"a".to_vec(), high: Some(b"m\xff".to_vec()) };
        let damage = Damage::in_file(DATA_FILE, Some(4096), "the checksum is wrong");
        assert_eq!(damage.to_string(), "byte 4096 of kestrel.data: the checksum is wrong");
        let damage = damage.on(PageId(7)).of("stock", Some(bounds.clone()));
        assert_eq!(
            damage.to_string(),
            "tree \"stock\", keys from \"a\" to before \"m\\xff\": page 7 at byte 4096 of kestrel.data: the checksum \
             is wrong"
        );
        assert!(bounds.contains(b"a") && bounds.contains(b"m") && !bounds.contains(b"m\xff"));
        assert_eq!(KeyBounds::one(b"k").to_string(), "key \"k\"");
        assert_eq!(KeyBounds::all().to_string(), "all keys");
    }
}
