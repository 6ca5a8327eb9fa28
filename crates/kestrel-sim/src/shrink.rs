//! Making a failure small: the fewest steps that still fail in the same way.
//!
//! Zeller and Hildebrandt's delta debugging ("Simplifying and isolating failure-inducing input", 2002), on the steps of a program.
//! Any selection of the steps is a program, so the numbers of those that are left, together with the seed, are the failure.

use crate::generate::Program;
use crate::run::run;
use crate::world::Finding;

/// Runs, at most.
const RUNS_MAX: usize = 1500;

/// A failure with only the steps that it needs.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The numbers of the steps that are left.
    pub kept: Vec<usize>,
    /// What is found then; the step counts among those that are left.
    pub finding: Finding,
}

/// What sort of finding it is: the words of its beginning, without what differs from run to run.
fn sort(finding: &Finding) -> String {
    let words = finding.what.split([':', '(']).next().unwrap_or_default();
    words.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Leaves out steps for as long as that is found which was found.
#[must_use]
pub fn shrink(program: &Program, finding: &Finding) -> Shrunk {
    let wanted = sort(finding);
    let mut runs = 0;
    let mut fails = |kept: &[usize]| {
        runs += 1;
        let again = if runs <= RUNS_MAX { run(&program.with(kept)).err() } else { None };
        again.filter(|again| sort(again) == wanted)
    };
    let mut kept: Vec<usize> = (0..program.steps.len()).collect();
    let mut last = finding.clone();
    let until: Vec<usize> = (0..=finding.step.min(program.steps.len().saturating_sub(1))).collect();
    if let Some(again) = fails(&until) {
        (kept, last) = (until, again);
    }
    let mut size = kept.len().div_ceil(2);
    while size > 0 && !kept.is_empty() {
        let mut at = 0;
        let mut smaller = false;
        while at < kept.len() {
            let without: Vec<usize> =
                kept[..at].iter().chain(&kept[(at + size).min(kept.len())..]).copied().collect();
            match fails(&without) {
                Some(again) => {
                    (kept, last) = (without, again);
                    smaller = true;
                }
                None => at += size,
            }
        }
        if size > 1 || !smaller {
            size /= 2;
        }
    }
    Shrunk { kept, finding: last }
}
