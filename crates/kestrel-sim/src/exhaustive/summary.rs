//! What a mode did and found.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// So many findings are kept in words; the rest is counted.
const FINDINGS_MAX: usize = 20;

/// Counts, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    counts: BTreeMap<&'static str, u64>,
    found: u64,
    findings: Vec<String>,
}

impl Summary {
    pub(super) fn count(&mut self, what: &'static str, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }

    pub(super) fn finding(&mut self, what: String) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }

    /// How often something was counted.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// What is wrong, the first of them in words.
    #[must_use]
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found == 0
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        for (what, more) in other.counts {
            self.count(what, more);
        }
        self.found += other.found;
        self.findings.extend(other.findings);
        self.findings.truncate(FINDINGS_MAX);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "  {what:<44} {count:>12}")?;
        }
        writeln!(f, "  {:<44} {:>12}", "findings", self.found)?;
        for finding in &self.findings {
            writeln!(f, "  ! {finding}")?;
        }
        Ok(())
    }
}
