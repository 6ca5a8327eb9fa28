//! Running programs: each in a thread of its own, on a disk of its own.

use crate::apart::apart;
use crate::disk::SimDisk;
use crate::generate::{Program, Shape};
use crate::world::{Finding, Report, World};

/// Runs a program. A panic is a finding, too.
pub fn run(program: &Program) -> Result<Report, Finding> {
    let ran = apart(|| World::run(program, SimDisk::new(program.seed)));
    ran.unwrap_or_else(|panic| Err(Finding { step: program.steps.len(), what: panic }))
}

/// Runs a seed; `twice`: and once more, which has to be the same.
pub fn run_seed(seed: u64, shape: &Shape, twice: bool) -> Result<Report, Finding> {
    let program = Program::generate(seed, shape);
    let report = run(&program)?;
    if twice {
        let again = run(&program)?;
        if again != report {
            let step = program.steps.len();
            let what = format!("not the same when run again: {report:?}, then {again:?}");
            return Err(Finding { step, what });
        }
    }
    Ok(report)
}
