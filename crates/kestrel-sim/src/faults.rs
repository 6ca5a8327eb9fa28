//! Which faults a seed meets, and when.
//!
//! What is retried may happen at any time. What is an error comes in the cycles before a crash, and the disk is repaired at the
//! end of each. What ruins the disk comes last, as nothing more can be asked of a database then than that it says so.

use crate::disk::{Demand, DiskFault, FaultPlan, Target, When};
use crate::random::Random;
use crate::step::Step;

/// Draws faults.
pub(crate) struct Faults {
    random: Random,
    on: bool,
    ruins: bool,
}

impl Faults {
    pub(crate) fn new(mut random: Random, on: bool) -> Faults {
        let ruins = on && random.percent(92);
        Faults { random, on, ruins }
    }

    /// Whether the seed ends with a disk that lies.
    pub(crate) fn ruins(&self) -> bool {
        self.ruins
    }

    /// Faults that an opening meets: those that a crash does not end come before the process is killed.
    pub(crate) fn at_the_beginning(&mut self, creation: bool) -> Vec<Step> {
        let mut steps = self.retried();
        if self.on && self.random.percent(if creation { 45 } else { 25 }) {
            let fault = self.random.one_of(&[
                DiskFault::NameError,
                DiskFault::DirectorySyncError,
                DiskFault::DirectorySyncError,
                DiskFault::SyncError,
                DiskFault::WriteError,
                DiskFault::ReadError,
            ]);
            let when =
                When::Nth(self.random.below(if fault == DiskFault::DirectorySyncError { 3 } else { 12 }));
            steps.push(Step::Plan(FaultPlan { fault, target: Target::Any, when }));
            if !creation {
                steps.push(Step::Kill);
            }
            steps.push(Step::Repair);
            steps.extend(self.retried());
        }
        steps
    }

    fn retried(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for fault in DiskFault::ALL.into_iter().filter(|fault| fault.demand() == Demand::Retry) {
            if self.on && self.random.percent(40) {
                let when = When::Sometimes(self.random.one_of(&[1 << 9, 1 << 12, 1 << 14]));
                steps.push(Step::Plan(FaultPlan { fault, target: Target::Any, when }));
            }
        }
        steps
    }

    /// Faults of a cycle of so many steps, each with the step before which it comes.
    pub(crate) fn of_a_cycle(&mut self, steps: u64) -> Vec<(u64, Step)> {
        let mut coming = Vec::new();
        if !self.on || self.random.percent(15) {
            return coming;
        }
        let (from, until) = (self.random.below(steps / 2 + 1), steps * 9 / 10);
        for _ in 0..self.random.between(2, 6) {
            let when = self.random.between(from, until.max(from + 1));
            coming.push((when, self.some_error()));
        }
        coming.sort_by_key(|(when, _)| *when);
        // Otherwise whatever went wrong is met by the end of the process as it is.
        if self.random.percent(60) {
            coming.push((until, Step::Repair));
        }
        coming
    }

    pub(crate) fn behind_a_cycle(&self) -> Option<Step> {
        self.on.then_some(Step::Repair)
    }

    fn some_error(&mut self) -> Step {
        let fault = self.random.one_of(&[
            DiskFault::ReadError,
            DiskFault::ReadError,
            DiskFault::ReadError,
            DiskFault::WriteError,
            DiskFault::TornWrite,
            DiskFault::TornWrite,
            DiskFault::SyncError,
            DiskFault::NoSpace,
            DiskFault::NoSpace,
            DiskFault::OverQuota,
            DiskFault::OverQuota,
            DiskFault::DirectorySyncError,
            DiskFault::NameError,
            DiskFault::StaleRead,
            DiskFault::RotInRead,
        ]);
        let target = self.some_target();
        let when = match self.random.below(6) {
            0 => When::From(self.random.below(4)),
            1 => When::Sometimes(1 << 13),
            _ => When::Nth(self.random.below(4)),
        };
        Step::Plan(FaultPlan { fault, target, when })
    }

    fn some_target(&mut self) -> Target {
        self.random.one_of(&[Target::Any, Target::Any, Target::Data, Target::Log])
    }

    /// Faults that nothing can be asked about but that they are noticed.
    pub(crate) fn of_the_end(&mut self, steps: u64) -> Vec<(u64, Step)> {
        let mut coming = Vec::new();
        for _ in 0..self.random.between(3, 8) {
            let fault = self.random.one_of(&[
                DiskFault::LostWrite,
                DiskFault::MisdirectedWrite,
                DiskFault::StaleRead,
                DiskFault::StaleSector,
                DiskFault::RotInRead,
                DiskFault::RotOnDisk,
                DiskFault::LyingSync,
                DiskFault::LyingDirectorySync,
            ]);
            let target = self.some_target();
            let when = match self.random.below(3) {
                0 => When::Nth(self.random.below(8)),
                1 => When::Sometimes(1 << 13),
                _ => When::Sometimes(1 << 15),
            };
            let at = self.random.below(steps);
            coming.push((at, Step::Plan(FaultPlan { fault, target, when })));
        }
        coming.sort_by_key(|(when, _)| *when);
        coming
    }
}
