//! Which call meets which planned fault.

use super::fault::{DiskFault, FaultPlan, Target, When};
use crate::Random;

/// A call, as far as faults tell calls apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Read,
    Len,
    Write,
    /// Allocations and changes of length.
    Size,
    Sync,
    SyncDirectory,
    Create,
    Name,
}

fn can_meet(fault: DiskFault, call: Call) -> bool {
    use DiskFault as F;
    match fault {
        F::ReadError => matches!(call, Call::Read | Call::Len),
        F::WriteError => matches!(call, Call::Write | Call::Size),
        F::NoSpace | F::OverQuota => matches!(call, Call::Write | Call::Size | Call::Create),
        F::Interrupted => matches!(call, Call::Read | Call::Write),
        F::TornWrite | F::ShortWrite | F::LostWrite | F::MisdirectedWrite => call == Call::Write,
        F::SyncError | F::LyingSync | F::StaleSector => call == Call::Sync,
        F::DirectorySyncError | F::LyingDirectorySync => call == Call::SyncDirectory,
        F::NameError => matches!(call, Call::Create | Call::Name),
        F::ShortRead | F::StaleRead | F::RotInRead | F::RotOnDisk => call == Call::Read,
        F::PowerOff | F::TornAtCrash | F::ReorderedAtCrash | F::LostAtCrash | F::NameLostAtCrash => false,
    }
}

/// The plans, each with the number of calls that it has let pass.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: Vec<(FaultPlan, u64)>,
}

impl Plans {
    pub(super) fn add(&mut self, plan: FaultPlan) {
        debug_assert!(plan.fault.can_be_planned(), "{} happens by itself", plan.fault);
        self.plans.push((plan, 0));
    }

    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }

    /// The fault that a call meets: of several the one planned first. Whoever finds that it has an effect says so by
    /// [`Plans::fired`].
    pub(super) fn judge(&mut self, call: Call, kind: Target, random: &mut Random) -> Option<DiskFault> {
        let mut met = None;
        for (plan, passed) in &mut self.plans {
            if !plan.target.includes(kind) || !can_meet(plan.fault, call) {
                continue;
            }
            let meets = match plan.when {
                When::Sometimes(chance) => random.chance(chance.into(), 1 << 16),
                When::Nth(number) | When::From(number) => *passed >= number,
            };
            *passed += 1;
            if meets && met.is_none() {
                met = Some(plan.fault);
            }
        }
        met
    }

    /// Forgets a plan that happens once.
    pub(super) fn fired(&mut self, fault: DiskFault) {
        let done = |(plan, passed): &(FaultPlan, u64)| match plan.when {
            When::Nth(number) => plan.fault == fault && *passed > number,
            _ => false,
        };
        if let Some(index) = self.plans.iter().position(done) {
            self.plans.remove(index);
        }
    }
}
