//! `kestrel del`

use std::ffi::OsString;

use crate::escape::shown;
use crate::failure::{Failure, Outcome};
use crate::place::{Missing, Place};
use crate::tree_choice::TreeChoice;

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel del apple --tree stock";

/// Removes a key and its value.
///
/// If the key is not there, the exit code is 1.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Del {
    /// The key.
    key: OsString,
    #[command(flatten)]
    tree: TreeChoice,
}

impl Del {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let key = place.bytes(&self.key)?;
        place.with_database(Missing::Refuse, |db| {
            let tree = self.tree.existing(db)?;
            if tree.delete(&key)? {
                return Ok(());
            }
            Err(Failure::new(format!("there is no key {} in the tree {:?}", shown(&key), tree.name())))
        })
    }
}
