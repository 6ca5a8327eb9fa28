//! The command: runs seeds, and says what they found.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::apart::{on_threads, processors};
use crate::disk::DiskFault;
use crate::generate::{Program, Shape};
use crate::planting::plant;
use crate::run::{run, run_seed};
use crate::shrink::shrink;
use crate::world::{Finding, Report};

/// What fires in fewer hundredths of the seeds is told of,
const FIRED_PERCENT_MIN: u64 = 20;
/// which fewer seeds than this do not tell.
const SEEDS_TO_TELL: u64 = 200;
/// Failures that are made small; the others are only told.
const SHRUNK_MAX: usize = 3;

/// Which seeds to run, and how.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    pub seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub first: u64,
    /// Runs one seed, twice, and tells what it does
    #[arg(long, value_name = "SEED")]
    pub replay: Option<u64>,
    /// With --replay: does only these steps, for example 0,3,7-12
    #[arg(long, value_name = "STEPS", requires = "replay")]
    pub keep: Option<String>,
    /// Threads; as many as there are processors by default
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// In how many seeds of a hundred it is checked that they do the same when they are run again
    #[arg(long, default_value_t = 10, value_name = "PERCENT")]
    pub twice: u64,
    /// Plants a bug, in a build with `--cfg kestrel_planted`, and stops at the first seed that finds it
    #[arg(long, value_name = "BUG")]
    pub plant: Option<String>,
    /// Does not look for the fewest steps that fail
    #[arg(long)]
    pub no_shrink: bool,
}

/// What seeds found.
#[derive(Debug, Default)]
pub struct Found {
    /// Seeds that were run.
    pub seeds: u64,
    /// All their figures together.
    pub total: Report,
    /// In how many seeds each fault fired, in the order of [`DiskFault::ALL`].
    pub fired_in: Vec<u64>,
    /// What is wrong, by seed.
    pub findings: Vec<(u64, Finding)>,
}

impl Found {
    fn add(&mut self, seed: u64, result: Result<Report, Finding>) {
        self.seeds += 1;
        self.fired_in.resize(DiskFault::COUNT, 0);
        match result {
            Ok(report) => {
                for (count, (_, fired)) in self.fired_in.iter_mut().zip(report.fired.iter()) {
                    *count += u64::from(fired > 0);
                }
                self.total += report;
            }
            Err(finding) => self.findings.push((seed, finding)),
        }
    }

    /// Faults that fired too seldom to prove anything.
    #[must_use]
    pub fn too_seldom(&self) -> Vec<DiskFault> {
        let enough = self.seeds * FIRED_PERCENT_MIN / 100;
        let seldom = DiskFault::ALL.into_iter().zip(&self.fired_in).filter(|(_, count)| **count < enough);
        if self.seeds < SEEDS_TO_TELL { Vec::new() } else { seldom.map(|(fault, _)| fault).collect() }
    }

    /// How often each fault fired.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!("{:<34} {:>10} {:>9}\n", "fault", "times", "of seeds");
        for ((fault, times), seeds) in self.total.fired.iter().zip(&self.fired_in) {
            let percent = seeds * 100 / self.seeds.max(1);
            let _ = writeln!(table, "{:<34} {times:>10} {percent:>7} %", fault.name());
        }
        table
    }
}

/// Runs so many seeds from a first one on, on so many threads; `each` is told of every one. Stops early if `until_found` and something is.
pub fn run_seeds(
    seeds: std::ops::Range<u64>,
    threads: usize,
    twice_percent: u64,
    until_found: bool,
    each: impl Fn() + Sync,
) -> Found {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let found = Mutex::new(Found::default());
    on_threads(threads.max(1), || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let twice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 100 < twice_percent;
            let result = run_seed(seed, &Shape::default(), twice);
            stop.fetch_or(until_found && result.is_err(), Ordering::Relaxed);
            found.lock().unwrap_or_else(PoisonError::into_inner).add(seed, result);
            each();
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.findings.sort_by_key(|(seed, _)| *seed);
    found
}

/// Runs the command; whether nothing is wrong.
pub fn execute(arguments: &Arguments) -> Result<bool, String> {
    plant(arguments.plant.as_deref())?;
    if let Some(seed) = arguments.replay {
        return replay(seed, arguments.keep.as_deref());
    }
    let bar = ProgressBar::new(arguments.seeds);
    let style =
        ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds  {per_sec}  {elapsed}, {eta} left");
    bar.set_style(style.map_err(|error| error.to_string())?);
    bar.enable_steady_tick(Duration::from_millis(250));
    let seeds = arguments.first..arguments.first.saturating_add(arguments.seeds);
    let threads = arguments.threads.unwrap_or_else(processors);
    let until_found = arguments.plant.is_some();
    let found = run_seeds(seeds, threads, arguments.twice, until_found, || bar.inc(1));
    let elapsed = bar.elapsed();
    bar.finish_and_clear();

    let per_second = found.seeds as f64 / elapsed.as_secs_f64().max(1e-9);
    println!("{} seeds in {:.1} s, {per_second:.0} a second", found.seeds, elapsed.as_secs_f64());
    println!("{}", found.total);
    print!("{}", found.table());
    for (number, (seed, finding)) in found.findings.iter().enumerate() {
        tell(*seed, finding, number < SHRUNK_MAX && !arguments.no_shrink);
    }
    let seldom = found.too_seldom();
    for fault in &seldom {
        println!("too seldom: {fault} fired in less than {FIRED_PERCENT_MIN} % of the seeds");
    }
    println!("{} findings", found.findings.len());
    Ok(found.findings.is_empty())
}

fn tell(seed: u64, finding: &Finding, small: bool) {
    println!("\nseed {seed}, step {}: {}", finding.step, finding.what);
    println!("  cargo run --release -p kestrel-sim -- --replay {seed}");
    if small {
        let program = Program::generate(seed, &Shape::default());
        let shrunk = shrink(&program, finding);
        let list = list(&shrunk.kept);
        println!("with {} of {} steps: {}", shrunk.kept.len(), program.steps.len(), shrunk.finding.what);
        print!("{}", selected(&program, &shrunk.kept));
        println!("  cargo run --release -p kestrel-sim -- --replay {seed} --keep {list}");
    }
}

/// The steps that are left, with their numbers.
fn selected(program: &Program, kept: &[usize]) -> String {
    let mut text = format!("seed {}: {}\n", program.seed, program.setup);
    for &number in kept {
        if let Some(step) = program.steps.get(number) {
            let _ = writeln!(text, "{number:4}  {step}");
        }
    }
    text
}

fn replay(seed: u64, keep: Option<&str>) -> Result<bool, String> {
    let whole = Program::generate(seed, &Shape::default());
    let kept = match keep {
        Some(list) => numbers(list)?,
        None => (0..whole.steps.len()).collect(),
    };
    print!("{}", selected(&whole, &kept));
    let program = whole.with(&kept);
    let (first, second) = (run(&program), run(&program));
    let same = first == second;
    println!("{}", if same { "the same twice" } else { "NOT the same twice" });
    match &first {
        Ok(report) => println!("digest {:016x}\n{report}", report.digest),
        Err(finding) => {
            let number = kept.get(finding.step).map_or("the end".to_owned(), |step| format!("step {step}"));
            println!("{number}: {}", finding.what);
        }
    }
    if let (Err(second), false) = (&second, same) {
        println!("the second time: step {}: {}", second.step, second.what);
    }
    Ok(same && first.is_ok())
}

/// `0,3,7-12`
fn numbers(list: &str) -> Result<Vec<usize>, String> {
    let number =
        |text: &str| text.trim().parse::<usize>().map_err(|_| format!("{text:?} is no number of a step"));
    let mut numbers = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            Some((first, last)) => numbers.extend(number(first)?..=number(last)?),
            None => numbers.push(number(part)?),
        }
    }
    Ok(numbers)
}

/// The opposite of [`numbers`].
fn list(numbers: &[usize]) -> String {
    let mut list = String::new();
    let mut rest = numbers;
    while let Some(&first) = rest.first() {
        let run = rest.iter().zip(first..).take_while(|(number, expected)| *number == expected).count();
        let comma = if list.is_empty() { "" } else { "," };
        let _ = match run {
            1 => write!(list, "{comma}{first}"),
            _ => write!(list, "{comma}{first}-{}", first + run - 1),
        };
        rest = &rest[run..];
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_listed_and_read() {
        for kept in [vec![], vec![0], vec![0, 1, 2], vec![3, 5, 6, 7, 9]] {
            assert_eq!(numbers(&list(&kept)), Ok(kept));
        }
        assert_eq!(list(&[3, 5, 6, 7, 9]), "3,5-7,9");
        assert!(numbers("3,x").is_err());
    }
}
