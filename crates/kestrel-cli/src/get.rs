//! `kestrel get`

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use crate::escape::shown;
use crate::failure::{Failure, Outcome};
use crate::place::{Missing, Place};
use crate::tree_choice::TreeChoice;

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel get apple --tree stock
  kestrel shop.kestrel get photo --tree files > photo.jpg
  kestrel shop.kestrel get -e 'a\\x00b' --tree stock      # the key a, zero byte, b";

/// Prints the value of a key.
///
/// The value is written byte for byte, with nothing behind it; only to a terminal with a line feed if it does
/// not end with one. If the key is not there, nothing is printed and the exit code is 1.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Get {
    /// The key.
    key: OsString,
    #[command(flatten)]
    tree: TreeChoice,
}

impl Get {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let key = place.bytes(&self.key)?;
        place.with_database(Missing::Refuse, |db| {
            let tree = self.tree.existing(db)?;
            let Some(value) = tree.get(&key)? else {
                return Err(Failure::new(format!(
                    "there is no key {} in the tree {:?}",
                    shown(&key),
                    tree.name()
                )));
            };
            print(&value).map_err(|error| Failure::output(&error))
        })
    }
}

fn print(value: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(value)?;
    if out.is_terminal() && !value.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}
