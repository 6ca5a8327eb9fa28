//! Which tree of a database a command is about.

use kestreldb::{Database, Tree, TreeInfo};

use crate::failure::{Failure, Outcome};

/// More names are not listed in messages.
const NAMES_MAX: usize = 10;

/// The option `--tree`.
#[derive(clap::Args, Debug)]
pub(crate) struct TreeChoice {
    /// The tree; may be left out if the database has exactly one.
    #[arg(long, short, value_name = "NAME")]
    tree: Option<String>,
}

impl TreeChoice {
    /// The tree that was named, or the only one there is.
    pub(crate) fn existing(&self, db: &Database) -> Outcome<Tree> {
        let name = self.name(db)?;
        db.existing_tree(&name)?.ok_or_else(|| missing(db, &name))
    }

    /// As [`existing`](TreeChoice::existing), but a tree that was named is created if it does not exist.
    pub(crate) fn existing_or_new(&self, db: &Database) -> Outcome<Tree> {
        Ok(db.tree(self.name(db)?)?)
    }

    fn name(&self, db: &Database) -> Outcome<String> {
        if let Some(name) = &self.tree {
            return Ok(name.clone());
        }
        match <[TreeInfo; 1]>::try_from(db.trees()?) {
            Ok([only]) => Ok(only.name),
            Err(trees) if trees.is_empty() => {
                Err(Failure::new("the database has no trees; name one with --tree where you write to it"))
            }
            Err(trees) => Err(Failure::new(format!("which tree? Give --tree; there are {}", list(&trees)))),
        }
    }
}

/// What to say when there is no tree of a name.
pub(crate) fn missing(db: &Database, name: &str) -> Failure {
    match db.trees() {
        Ok(trees) if trees.is_empty() => Failure::new(format!("there is no tree {name:?}, nor any other")),
        Ok(trees) => Failure::new(format!("there is no tree {name:?}; there are {}", list(&trees))),
        Err(error) => error.into(),
    }
}

fn list(trees: &[TreeInfo]) -> String {
    let mut names: Vec<String> =
        trees.iter().take(NAMES_MAX).map(|tree| format!("{:?}", tree.name)).collect();
    if let Some(more) = trees.len().checked_sub(NAMES_MAX).filter(|&more| more > 0) {
        names.push(format!("{more} more (`kestrel trees` lists them)"));
    }
    names.join(", ")
}
