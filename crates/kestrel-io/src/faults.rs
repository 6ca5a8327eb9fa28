//! What goes wrong in a [`CrashStorage`](crate::CrashStorage), and when: a plan over counted operations.

use std::io;

/// The calls that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`Storage::open`](crate::Storage::open).
    Open,
    /// [`Storage::create`](crate::Storage::create).
    Create,
    /// [`Storage::list`](crate::Storage::list).
    List,
    /// [`Storage::rename`](crate::Storage::rename).
    Rename,
    /// [`Storage::remove`](crate::Storage::remove).
    Remove,
    /// [`Storage::sync_directory`](crate::Storage::sync_directory).
    SyncDirectory,
    /// [`Storage::lock`](crate::Storage::lock).
    Lock,
    /// [`StorageFile::read_at`](crate::StorageFile::read_at).
    Read,
    /// [`StorageFile::write_at`](crate::StorageFile::write_at).
    Write,
    /// [`StorageFile::sync_data`](crate::StorageFile::sync_data).
    SyncData,
    /// [`StorageFile::len`](crate::StorageFile::len).
    Len,
    /// [`StorageFile::set_len`](crate::StorageFile::set_len).
    SetLen,
    /// [`StorageFile::preallocate`](crate::StorageFile::preallocate).
    Preallocate,
}

impl Operation {
    /// All of them, in the order of declaration.
    pub const ALL: [Operation; 13] = [
        Operation::Open,
        Operation::Create,
        Operation::List,
        Operation::Rename,
        Operation::Remove,
        Operation::SyncDirectory,
        Operation::Lock,
        Operation::Read,
        Operation::Write,
        Operation::SyncData,
        Operation::Len,
        Operation::SetLen,
        Operation::Preallocate,
    ];
}

/// How often each operation was called, whether it failed or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationCounts {
    counts: [u64; Operation::ALL.len()],
}

impl OperationCounts {
    /// Calls of one operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.counts[operation as usize]
    }

    /// Calls of all operations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What a failing operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEffect {
    /// It fails with this kind of error and does nothing. A failed [`Operation::SyncData`] leaves what was to be synced in
    /// doubt: a later sync that succeeds does not make it durable, as on real systems.
    Error(io::ErrorKind),
    /// A read or write that does half of what was asked (at least one byte); other operations succeed.
    Short,
    /// A write that fails although half of it was written; other operations fail as an error does.
    Torn,
}

/// One planned failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which operation fails; `None` for any.
    pub operation: Option<Operation>,
    /// How many such operations succeed first, counted from when the fault was planned.
    pub after: u64,
    /// Whether all later ones fail as well, or just one.
    pub lasting: bool,
    /// How it fails.
    pub effect: FaultEffect,
}

/// What the plan says about one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Succeed,
    Fail(FaultEffect),
    /// The power goes off during this operation: it may have begun, its caller does not learn.
    PowerGoesOff,
    /// The power is off already.
    PowerIsOff,
}

/// Counts operations and decides which of them fail.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    counts: OperationCounts,
    faults: Vec<Fault>,
    /// Those that are planned once the operation of a number comes.
    later: Vec<(u64, Fault)>,
    /// The number of the operation during which the power goes off, counting from 0.
    stop_at: Option<u64>,
}

impl FaultPlan {
    pub(crate) fn counts(&self) -> OperationCounts {
        self.counts
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn add_from(&mut self, number: u64, fault: Fault) {
        self.later.push((number, fault));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.later.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.faults.clear();
        self.later.clear();
        self.stop_at = None;
    }

    pub(crate) fn stop_at(&mut self, number: u64) {
        self.stop_at = Some(number);
    }

    pub(crate) fn has_power(&self) -> bool {
        self.stop_at.is_none_or(|stop| self.counts.total() <= stop)
    }

    pub(crate) fn judge(&mut self, operation: Operation) -> Verdict {
        let number = self.counts.total();
        self.counts.counts[operation as usize] += 1;
        match self.stop_at {
            Some(stop) if number == stop => return Verdict::PowerGoesOff,
            Some(stop) if number > stop => return Verdict::PowerIsOff,
            _ => {}
        }
        let faults = &mut self.faults;
        self.later.retain(|(from, fault)| {
            if number >= *from {
                faults.push(*fault);
            }
            number < *from
        });
        let mut verdict = Verdict::Succeed;
        self.faults.retain_mut(|fault| {
            if fault.operation.is_some_and(|only| only != operation) {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            verdict = Verdict::Fail(fault.effect);
            fault.lasting
        });
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_operation_fails_once_or_lastingly() {
        let effect = FaultEffect::Error(io::ErrorKind::Other);
        let mut plan = FaultPlan::default();
        plan.add(Fault { operation: Some(Operation::Write), after: 1, lasting: false, effect });
        assert_eq!(plan.judge(Operation::Write), Verdict::Succeed);
        assert_eq!(plan.judge(Operation::Read), Verdict::Succeed);
        assert_eq!(plan.judge(Operation::Write), Verdict::Fail(effect));
        assert_eq!(plan.judge(Operation::Write), Verdict::Succeed);
        plan.add(Fault { operation: None, after: 0, lasting: true, effect: FaultEffect::Short });
        assert_eq!(plan.judge(Operation::Len), Verdict::Fail(FaultEffect::Short));
        assert_eq!(plan.judge(Operation::Read), Verdict::Fail(FaultEffect::Short));
        plan.clear();
        assert_eq!(plan.judge(Operation::Read), Verdict::Succeed);
        assert_eq!((plan.counts().of(Operation::Write), plan.counts().total()), (3, 7));
    }

    #[test]
    fn the_power_goes_off_once_and_stays_off() {
        let mut plan = FaultPlan::default();
        plan.stop_at(1);
        assert_eq!(plan.judge(Operation::Write), Verdict::Succeed);
        assert!(plan.has_power());
        assert_eq!(plan.judge(Operation::Write), Verdict::PowerGoesOff);
        assert!(!plan.has_power());
        assert_eq!(plan.judge(Operation::Write), Verdict::PowerIsOff);
    }
}
