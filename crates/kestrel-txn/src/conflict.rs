//! Conflicts: what two transactions collided over.

use std::fmt;

use kestrel_pager::TreeId;

/// The longest part of a key that a message shows, in bytes.
const SHOWN_MAX: usize = 48;

/// What a transaction relied on and another one, which committed after it began, changed.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The tree.
    pub tree: TreeId,
    /// What the tree is called, if it has a name in the state that the transaction began with, or that it gave it.
    pub tree_name: Option<String>,
    /// What of the tree.
    pub place: ConflictPlace,
    /// What the transaction that got the error had done there.
    pub access: Access,
    /// Whether both really touched the place. Otherwise one of them touched so much that only ranges were remembered, and it
    /// may have been something near.
    pub exact: bool,
}

/// Where in a tree a conflict is.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConflictPlace {
    /// One key.
    Key(Vec<u8>),
    /// The keys from `low` up to, not including, `high` (`None`: to the end of the tree).
    Range {
        /// The first key.
        low: Vec<u8>,
        /// The first key behind.
        high: Option<Vec<u8>>,
    },
    /// The tree itself: it was created, dropped or renamed.
    Tree,
    /// A name that a tree has or may get; the conflict's tree is the [catalogue](TreeId::CATALOGUE).
    Name(String),
}

/// What a transaction did.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Looked at it, found it absent, came by in a scan, or counted it.
    Read,
    /// Changed or removed it.
    Written,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transaction that committed meanwhile changed ")?;
        match &self.place {
            ConflictPlace::Key(key) => write!(f, "key {} of ", Shown(key))?,
            ConflictPlace::Range { low, high: None } if low.is_empty() => f.write_str("keys of ")?,
            ConflictPlace::Range { low, high: None } => write!(f, "keys from {} on of ", Shown(low))?,
            ConflictPlace::Range { low, high: Some(high) } => {
                write!(f, "keys from {} up to {} of ", Shown(low), Shown(high))?;
            }
            ConflictPlace::Tree => f.write_str("the existence or the name of ")?,
            ConflictPlace::Name(name) => write!(f, "which tree is called {}", Shown(name.as_bytes()))?,
        }
        match (&self.place, &self.tree_name) {
            (ConflictPlace::Name(_), _) => {}
            (_, Some(name)) => write!(f, "tree {}", Shown(name.as_bytes()))?,
            (_, None) => write!(f, "{}", self.tree)?,
        }
        f.write_str(match self.access {
            Access::Read => ", which this one read",
            Access::Written => ", which this one wrote, too",
        })?;
        if !self.exact {
            f.write_str(", or near it: one of them touched more than is remembered key by key")?;
        }
        f.write_str("; run the transaction again")
    }
}

/// Bytes in quotes, escaped, and shortened if they are long.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_MAX).filter(|_| self.0.len() > SHOWN_MAX) {
            None => write!(f, "\"{}\"", self.0.escape_ascii()),
            Some(begin) => write!(f, "\"{}...\" ({} bytes)", begin.escape_ascii(), self.0.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(place: ConflictPlace, name: Option<&str>, access: Access, exact: bool) -> String {
        Conflict { tree: TreeId(7), tree_name: name.map(str::to_owned), place, access, exact }.to_string()
    }

    #[test]
    fn a_message_names_the_tree_the_place_and_what_was_done_there() {
        let said = message(ConflictPlace::Key(b"k\xFF\"".into()), Some("birds"), Access::Read, true);
        assert_eq!(
            said,
            "a transaction that committed meanwhile changed key \"k\\xff\\\"\" of tree \"birds\", which this one read; run \
             the transaction again"
        );
        let range = ConflictPlace::Range { low: b"a".into(), high: Some(b"b".into()) };
        let said = message(range, None, Access::Written, false);
        assert!(
            said.contains("keys from \"a\" up to \"b\" of tree 7, which this one wrote, too, or near it"),
            "{said}"
        );
        let open = ConflictPlace::Range { low: b"a".into(), high: None };
        assert!(message(open, None, Access::Read, true).contains("keys from \"a\" on of tree 7"));
        let whole = ConflictPlace::Range { low: Vec::new(), high: None };
        assert!(message(whole, Some("t"), Access::Read, true).contains("changed keys of tree \"t\", which"));
        let said = message(ConflictPlace::Name("new".into()), None, Access::Written, true);
        assert!(said.contains("which tree is called \"new\", which this one wrote, too;"), "{said}");
        let said = message(ConflictPlace::Tree, Some("t"), Access::Read, true);
        assert!(said.contains("the existence or the name of tree \"t\", which this one read;"), "{said}");
    }

    #[test]
    fn long_keys_are_shortened() {
        let said = message(ConflictPlace::Key(vec![b'x'; 1000]), None, Access::Read, true);
        assert!(said.contains("xxx...\" (1000 bytes)") && said.len() < 250, "{said}");
    }
}
