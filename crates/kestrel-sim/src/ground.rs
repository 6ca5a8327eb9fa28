//! What a world needs of the disk that it runs on.

use std::sync::Arc;

use kestrel_io::{CrashStorage, Storage};

use crate::disk::{FaultCounts, FaultPlan, SimDisk};

/// A simulated disk. Clones are the same disk.
pub trait Disk: Clone {
    /// The files.
    fn storage(&self) -> Arc<dyn Storage>;

    /// What a power cut leaves, as a seed decides: another disk, with power.
    #[must_use]
    fn crash(&self, seed: u64) -> Self;

    /// Cuts the power at the call of this number.
    fn stop_at(&self, call: u64);

    /// Calls so far.
    fn calls(&self) -> u64;

    /// Whether there is power.
    fn has_power(&self) -> bool;

    /// Forgets when the power is to be cut, and whatever else was planned.
    fn go_on(&self);

    /// Plans a fault. A disk that has none ignores it.
    fn plan(&self, _plan: FaultPlan) {}

    /// How often each fault fired.
    fn fired(&self) -> FaultCounts {
        FaultCounts::default()
    }
}

impl Disk for SimDisk {
    fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    fn crash(&self, seed: u64) -> SimDisk {
        SimDisk::crash(self, seed)
    }

    fn stop_at(&self, call: u64) {
        SimDisk::stop_at(self, call);
    }

    fn calls(&self) -> u64 {
        self.operations()
    }

    fn has_power(&self) -> bool {
        SimDisk::has_power(self)
    }

    fn go_on(&self) {
        self.clear_plans();
    }

    fn plan(&self, plan: FaultPlan) {
        SimDisk::plan(self, plan);
    }

    fn fired(&self) -> FaultCounts {
        SimDisk::fired(self)
    }
}

impl Disk for CrashStorage {
    fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    fn crash(&self, seed: u64) -> CrashStorage {
        CrashStorage::crash(self, seed)
    }

    fn stop_at(&self, call: u64) {
        CrashStorage::stop_at(self, call);
    }

    fn calls(&self) -> u64 {
        self.operations().total()
    }

    fn has_power(&self) -> bool {
        CrashStorage::has_power(self)
    }

    fn go_on(&self) {
        self.clear_faults();
    }
}
