//! The bugs that can be planted in the engine, each looked for by the seeds: proof that the world would see them.
//!
//! A seed finds a bug if it finds nothing without it. Bugs are planted for a whole process, so they are looked for one after the
//! other.

use clap::Args;
use kestrel_check::planted::Bug;

use crate::apart::processors;
use crate::command::run_seeds;
use crate::generate::Shape;
use crate::planting::plant;
use crate::run::run_seed;
use crate::world::Finding;

/// Of what a finding says, so much is told.
const TOLD_MAX: usize = 150;

/// Plants bugs, one after the other, and looks for the first seed that finds each; prints a table of them. Only in a build with
/// `--cfg kestrel_planted`
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Only these bugs
    #[arg(value_name = "BUG")]
    pub bugs: Vec<String>,
    /// In so many seeds each has to be found
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub seeds: u64,
    /// Threads; as many as there are processors by default
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Runs the command; whether every bug was found.
pub fn execute(arguments: &Arguments) -> Result<bool, String> {
    let names: Vec<String> = match &arguments.bugs[..] {
        [] => Bug::IN_SIMULATION.iter().map(|bug| format!("{bug:?}")).collect(),
        some => some.to_vec(),
    };
    let threads = arguments.threads.unwrap_or_else(processors);
    let mut missed = 0;
    println!("| bug | what is wrong | seed | step | what the world says |\n|---|---|---|---|---|");
    for name in &names {
        let description = plant(Some(name))?.map_or("", Bug::description);
        match first_to_find(name, arguments.seeds, threads)? {
            Some((seed, Finding { step, what })) => {
                println!("| `{name}` | {description} | {seed} | {step} | {} |", cell(&what));
            }
            None => {
                missed += 1;
                println!("| `{name}` | {description} | none of {} | | |", arguments.seeds);
            }
        }
    }
    println!("\n{} of {} bugs found", names.len() - missed, names.len());
    Ok(missed == 0)
}

/// The first seed that finds something with a bug and nothing without.
fn first_to_find(name: &str, seeds: u64, threads: usize) -> Result<Option<(u64, Finding)>, String> {
    let mut from = 0;
    while from < seeds {
        plant(Some(name))?;
        let found = run_seeds(from..seeds, threads, 0, true, || {});
        let Some((seed, finding)) = found.findings.into_iter().next() else { break };
        plant(None)?;
        if run_seed(seed, &Shape::default(), false).is_ok() {
            return Ok(Some((seed, finding)));
        }
        from = seed + 1;
    }
    Ok(None)
}

/// What fits a cell of a table.
fn cell(what: &str) -> String {
    let line: String = what.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    if line.chars().count() <= TOLD_MAX {
        return line;
    }
    line.chars().take(TOLD_MAX).chain(['…']).collect()
}
