//! `kestrel put`

use std::ffi::OsString;

use crate::failure::Outcome;
use crate::place::{Missing, Place};
use crate::tree_choice::TreeChoice;

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel put apple 3 --tree stock
  kestrel shop.kestrel put -e 'a\\tb' '\\xff\\x00' --tree stock
  kestrel shop.kestrel put --tree stock -- -5 minus   # what begins with a hyphen stands behind --";

/// Stores a value under a key, in place of the one it had.
///
/// The database and the tree are created if they do not exist. When the command ends with exit code 0, the
/// entry is on disk.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Put {
    /// The key.
    key: OsString,
    /// The value.
    value: OsString,
    #[command(flatten)]
    tree: TreeChoice,
}

impl Put {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let (key, value) = (place.bytes(&self.key)?, place.bytes(&self.value)?);
        place.with_database(Missing::Create { page_size: None }, |db| {
            Ok(self.tree.existing_or_new(db)?.put(key, value)?)
        })
    }
}
