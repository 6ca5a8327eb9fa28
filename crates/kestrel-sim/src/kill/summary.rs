//! The figures of a run.

use std::fmt;
use std::time::Duration;

use super::moment::Phase;

/// What was killed and what was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    phases: [u64; Phase::ALL.len()],
    pub(crate) directories: u64,
    pub(crate) judged: u64,
    pub(crate) commits: u64,
    pub(crate) lost: u64,
    pub(crate) took: Duration,
}

impl Summary {
    pub(crate) fn killed(&mut self, phase: Phase) {
        self.phases[phase as usize] += 1;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:36} {:>10}", "kills", self.phases.iter().sum::<u64>())?;
        for phase in Phase::ALL {
            writeln!(f, "  {phase:34} {:>10}", self.phases[phase as usize])?;
        }
        writeln!(f, "{:36} {:>10}", "directories", self.directories)?;
        writeln!(f, "{:36} {:>10}", "states judged whole", self.judged)?;
        writeln!(f, "{:36} {:>10}", "commits", self.commits)?;
        writeln!(f, "{:36} {:>10}", "  not promised, and gone", self.lost)?;
        write!(f, "{:36} {:>8.1} s", "took", self.took.as_secs_f64())
    }
}
