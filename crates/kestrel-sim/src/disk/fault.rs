//! What can go wrong, what the engine then has to do, and how it is planned.

use std::fmt;

/// A thing that goes wrong on a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum DiskFault {
    /// A read, or the question for a length, fails.
    ReadError,
    /// A write, an allocation or a change of length fails and does nothing.
    WriteError,
    /// A write fails after a part of it was done.
    TornWrite,
    /// A sync of a file fails; what it was to make durable is in doubt for good.
    SyncError,
    /// A sync of the directory fails.
    DirectorySyncError,
    /// Opening, creating, renaming, removing, listing or locking fails.
    NameError,
    /// A write, allocation or creation fails for want of room.
    NoSpace,
    /// The same, as a quota does it.
    OverQuota,
    /// A read or write is interrupted before it did anything.
    Interrupted,
    /// A read returns less than was asked.
    ShortRead,
    /// A write does less than was asked.
    ShortWrite,
    /// A write is acknowledged and never done.
    LostWrite,
    /// A write is done at another place of the same file, or in another file.
    MisdirectedWrite,
    /// A read shows a sector as it was before its last write.
    StaleRead,
    /// After a sync, a sector goes back to what it held before its last write.
    StaleSector,
    /// A read shows a flipped bit.
    RotInRead,
    /// A bit of a durable sector flips for good.
    RotOnDisk,
    /// A sync of a file says it is done and did nothing.
    LyingSync,
    /// A sync of the directory says it is done and did nothing.
    LyingDirectorySync,
    /// The power went off in the middle of an operation. Not planned, but told by [`SimDisk::stop_at`](super::SimDisk::stop_at).
    PowerOff,
    /// A power cut kept some sectors of a write and lost others. Not planned: it happens at a crash, as do all below.
    TornAtCrash,
    /// A power cut lost a write and kept a later one.
    ReorderedAtCrash,
    /// A power cut took back an unsynced write or length.
    LostAtCrash,
    /// A power cut took back a creation, a renaming or a removal.
    NameLostAtCrash,
}

/// What the engine has to do about a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// Nobody notices: it tries again.
    Retry,
    /// The call fails with a clear error and the state of before it. A failed write or sync makes the database read-only until it
    /// is opened again; a lack of room does not. Opened again, it holds every acknowledged commit.
    Error,
    /// A read of the place gives what was written there, or an error that names the place. Never anything else.
    Detect,
    /// Acknowledged commits may be gone after a crash, the newest first; or the database is refused. Never a hole, never a wrong
    /// value.
    Lose,
    /// Every acknowledged commit is there after a crash; what is there is a prefix of all commits.
    Survive,
}

impl DiskFault {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of declaration.
    pub const ALL: [DiskFault; 24] = [
        DiskFault::ReadError,
        DiskFault::WriteError,
        DiskFault::TornWrite,
        DiskFault::SyncError,
        DiskFault::DirectorySyncError,
        DiskFault::NameError,
        DiskFault::NoSpace,
        DiskFault::OverQuota,
        DiskFault::Interrupted,
        DiskFault::ShortRead,
        DiskFault::ShortWrite,
        DiskFault::LostWrite,
        DiskFault::MisdirectedWrite,
        DiskFault::StaleRead,
        DiskFault::StaleSector,
        DiskFault::RotInRead,
        DiskFault::RotOnDisk,
        DiskFault::LyingSync,
        DiskFault::LyingDirectorySync,
        DiskFault::PowerOff,
        DiskFault::TornAtCrash,
        DiskFault::ReorderedAtCrash,
        DiskFault::LostAtCrash,
        DiskFault::NameLostAtCrash,
    ];

    /// Those that a [`FaultPlan`] can ask for.
    #[must_use]
    pub fn can_be_planned(self) -> bool {
        (self as u8) < DiskFault::PowerOff as u8
    }

    /// What the engine has to do about it.
    #[must_use]
    pub fn demand(self) -> Demand {
        use DiskFault as F;
        match self {
            F::Interrupted | F::ShortRead | F::ShortWrite => Demand::Retry,
            F::ReadError
            | F::WriteError
            | F::TornWrite
            | F::SyncError
            | F::DirectorySyncError
            | F::NameError
            | F::NoSpace
            | F::OverQuota => Demand::Error,
            F::LostWrite
            | F::MisdirectedWrite
            | F::StaleRead
            | F::StaleSector
            | F::RotInRead
            | F::RotOnDisk => Demand::Detect,
            F::LyingSync | F::LyingDirectorySync => Demand::Lose,
            F::PowerOff | F::TornAtCrash | F::ReorderedAtCrash | F::LostAtCrash | F::NameLostAtCrash => {
                Demand::Survive
            }
        }
    }

    /// A short name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        use DiskFault as F;
        match self {
            F::ReadError => "read error",
            F::WriteError => "write error",
            F::TornWrite => "torn write, error",
            F::SyncError => "sync error",
            F::DirectorySyncError => "directory sync error",
            F::NameError => "open/create/rename/remove error",
            F::NoSpace => "no space",
            F::OverQuota => "over quota",
            F::Interrupted => "interrupted",
            F::ShortRead => "short read",
            F::ShortWrite => "short write",
            F::LostWrite => "lost write",
            F::MisdirectedWrite => "misdirected write",
            F::StaleRead => "stale read",
            F::StaleSector => "stale sector",
            F::RotInRead => "rot in one read",
            F::RotOnDisk => "rot on the disk",
            F::LyingSync => "lying sync",
            F::LyingDirectorySync => "lying directory sync",
            F::PowerOff => "power off in an operation",
            F::TornAtCrash => "torn at a crash",
            F::ReorderedAtCrash => "reordered at a crash",
            F::LostAtCrash => "lost at a crash",
            F::NameLostAtCrash => "name lost at a crash",
        }
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which files a fault concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Target {
    /// All, and the directory.
    #[default]
    Any,
    /// The data file, under either of its names.
    Data,
    /// Segments of the log.
    Log,
    /// All others, and the directory.
    Others,
}

impl Target {
    /// Which of the kinds a file is of, by its name.
    #[must_use]
    pub fn of(name: &str) -> Target {
        if name.starts_with("kestrel.data") {
            Target::Data
        } else if name.starts_with("kestrel.log.") {
            Target::Log
        } else {
            Target::Others
        }
    }

    pub(super) fn includes(self, kind: Target) -> bool {
        self == Target::Any || self == kind
    }
}

/// When a planned fault happens. Calls are those that the fault could hit, on files that it concerns, from when it was planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At each call with this chance in 65,536.
    Sometimes(u16),
    /// At the call of this number (0 is the first), or the first one after it at which it has an effect. Once.
    Nth(u64),
    /// At every call from this number on.
    From(u64),
}

/// A fault to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultPlan {
    /// What goes wrong.
    pub fault: DiskFault,
    /// Where.
    pub target: Target,
    /// When.
    pub when: When,
}

/// How often each fault fired: had an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts {
    counts: [u64; DiskFault::COUNT],
}

impl FaultCounts {
    /// How often one fault fired.
    #[must_use]
    pub fn of(&self, fault: DiskFault) -> u64 {
        self.counts[fault as usize]
    }

    /// All faults, with how often they fired.
    pub fn iter(&self) -> impl Iterator<Item = (DiskFault, u64)> {
        DiskFault::ALL.into_iter().map(|fault| (fault, self.of(fault)))
    }

    /// Whether one with this demand fired.
    #[must_use]
    pub fn demanded(&self, demand: Demand) -> bool {
        self.iter().any(|(fault, count)| count > 0 && fault.demand() == demand)
    }

    /// What fired since another count.
    #[must_use]
    pub fn since(&self, before: &FaultCounts) -> FaultCounts {
        let mut counts = *self;
        counts.counts.iter_mut().zip(before.counts).for_each(|(count, before)| *count -= before);
        counts
    }

    pub(super) fn add(&mut self, fault: DiskFault) {
        self.counts[fault as usize] += 1;
    }
}

impl std::ops::AddAssign for FaultCounts {
    fn add_assign(&mut self, other: FaultCounts) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }
}
