//! The command line as a whole.

use clap::{Parser, Subcommand};

use crate::checkpoint::Checkpoint;
use crate::del::Del;
use crate::failure::Outcome;
use crate::get::Get;
use crate::load::Load;
use crate::place::Place;
use crate::put::Put;
use crate::salvage::Salvage;
use crate::scan::Scan;
use crate::stat::Stat;
use crate::trees::Trees;
use crate::verify::Verify;

const EXAMPLES: &str = "\
Examples:
  kestrel shop.kestrel put apple 3 --tree stock     # the directory before the command,
  kestrel get apple --tree stock --db shop.kestrel  # or with --db anywhere
  sort -u words | awk '{print $0 \"\\t\" NR}' | kestrel words.kestrel load --tree words --format tsv
  kestrel words.kestrel scan --prefix un --reverse --limit 10
  kestrel words.kestrel scan --json | kestrel copy.kestrel load --tree words --format jsonl
  kestrel words.kestrel verify
  kestrel words.kestrel salvage rescued.kestrel

Exit codes: 0 done; 1 not done, and one line on the standard error says why; 2 `verify` found
damage, or `salvage` could not save all.
`kestrel help COMMAND` says more about a command.";

/// Load, read, check and inspect a Kestrel database.
///
/// A database is a directory. It holds trees: ordered maps from keys to values, both bytes, under a name. One
/// process at a time has a database open.
#[derive(Parser, Debug)]
#[command(name = "kestrel", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Load(Load),
    Get(Get),
    Put(Put),
    Del(Del),
    Scan(Scan),
    Trees(Trees),
    Stat(Stat),
    Verify(Verify),
    Salvage(Salvage),
    Checkpoint(Checkpoint),
}

impl Arguments {
    /// Runs the command.
    pub(crate) fn run(self) -> Outcome {
        let Arguments { place, command } = self;
        match command {
            Command::Load(load) => load.run(&place),
            Command::Get(get) => get.run(&place),
            Command::Put(put) => put.run(&place),
            Command::Del(del) => del.run(&place),
            Command::Scan(scan) => scan.run(&place),
            Command::Trees(trees) => trees.run(&place),
            Command::Stat(stat) => stat.run(&place),
            Command::Verify(verify) => verify.run(&place),
            Command::Salvage(salvage) => salvage.run(&place),
            Command::Checkpoint(checkpoint) => checkpoint.run(&place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
