//! `kestrel trees`

use std::io::{self, Write};

use clap::Subcommand;
use kestreldb::{Database, ErrorKind, TreeInfo};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::place::{Missing, Place};
use crate::table::Table;
use crate::tree_choice;

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel trees
  kestrel shop.kestrel trees create stock
  kestrel shop.kestrel trees rename stock stock-2026
  kestrel shop.kestrel trees drop stock-2026";

/// Lists the trees and how many entries each has; creates, renames and drops trees.
///
/// Names that contain control characters or quotes are shown in quotes, with escapes.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Trees {
    /// One JSON object a line, with the fields "name" and "entries".
    #[arg(long, short)]
    json: bool,
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Subcommand, Debug)]
enum Change {
    /// Creates an empty tree, and the database if there is none; an error if a tree of this name exists.
    Create {
        /// Its name.
        name: String,
    },
    /// Drops a tree and all that is in it.
    Drop {
        /// Its name.
        name: String,
    },
    /// Gives a tree another name, which must be free.
    Rename {
        /// The name it has.
        from: String,
        /// The name it gets.
        to: String,
    },
}

impl Trees {
    pub(crate) fn run(self, place: &Place) -> Outcome {
        let missing = match self.change {
            Some(Change::Create { .. }) => Missing::Create { page_size: None },
            _ => Missing::Refuse,
        };
        place.with_database(missing, |db| match self.change {
            None => print(&db.trees()?, self.json).map_err(|error| Failure::output(&error)),
            Some(change) => change.make(db),
        })
    }
}

impl Change {
    fn make(self, db: &Database) -> Outcome {
        let named = |result: kestreldb::Result<()>, name: &str| {
            result.map_err(|error| match error.kind() {
                ErrorKind::TreeNotFound => tree_choice::missing(db, name),
                _ => error.into(),
            })
        };
        match self {
            Change::Create { name } => Ok(db.create_tree(name).map(drop)?),
            Change::Drop { name } => named(db.drop_tree(&name), &name),
            Change::Rename { from, to } => named(db.rename_tree(&from, to), &from),
        }
    }
}

fn print(trees: &[TreeInfo], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for tree in trees {
            writeln!(out, "{}", json!({ "name": tree.name, "entries": tree.entries }))?;
        }
        return out.flush();
    }
    let mut table = Table::new(&[0]);
    table.row(["entries".to_owned(), "tree".to_owned()]);
    for tree in trees {
        table.row([tree.entries.to_string(), one_line(&tree.name)]);
    }
    table.write(&mut out)?;
    out.flush()
}

/// A name as it is, or in quotes where it would not be seen or not be told apart.
fn one_line(name: &str) -> String {
    let plain = !name.is_empty() && !name.chars().any(|c| c.is_control() || c == '"') && name.trim() == name;
    if plain { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_name_is_seen_whatever_it_is() {
        assert_eq!(one_line("hits of 2026"), "hits of 2026");
        assert_eq!(one_line(""), r#""""#);
        assert_eq!(one_line(" a"), r#"" a""#);
        assert_eq!(one_line("a\nb"), r#""a\nb""#);
        assert_eq!(one_line("\"a\""), r#""\"a\"""#);
    }
}
