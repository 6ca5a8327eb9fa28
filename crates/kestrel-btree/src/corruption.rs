//! What a structure that breaks its own rules is reported as.

use std::error::Error;
use std::fmt;

use kestrel_pager::PageId;

/// A node, a delta or a tree breaks the rules of its format. Damage on disk that passed a checksum, or a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The page it was found on, where that is known.
    pub page: Option<PageId>,
    /// Which rule is broken, and where.
    pub detail: String,
}

impl Corruption {
    /// Damage on a page that the caller will name.
    pub fn new(detail: impl Into<String>) -> Corruption {
        Corruption { page: None, detail: detail.into() }
    }

    /// Damage on a page.
    pub fn at(page: PageId, detail: impl Into<String>) -> Corruption {
        Corruption { page: Some(page), detail: detail.into() }
    }

    /// Names the page, if it has no name yet.
    #[must_use]
    pub fn on(mut self, page: PageId) -> Corruption {
        self.page.get_or_insert(page);
        self
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.page {
            Some(page) => write!(f, "{page}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl Error for Corruption {}
