//! The simulated disk: [`SimDisk`], and all that goes wrong on it.
//!
//! It stands on [`CrashStorage`](kestrel_io::CrashStorage), which knows of each sector, length and name what a power cut leaves,
//! and adds what acknowledges and lies. What goes wrong is *planned*: a [`FaultPlan`] says which [`DiskFault`], on which
//! files, and when. A fault counts as *fired* only if it had an effect: a lost write of what was there already is none.
//!
//! # What a power cut keeps
//! 1. What was synced: a file's bytes and length by a sync of the file, its name by one of the directory. A file with bytes
//!    but without a name is gone.
//! 2. Of everything written since, each 512-byte sector by itself: as it was synced, as it is, or as it was between. So
//!    writes are torn and change places; the length of a file is a piece of its own, and so is each creation, renaming and removal.
//!    Operations on one name keep their order.
//! 3. After a sync that failed, what it was to make durable is in doubt for good: a later sync that succeeds passes over it.
//! 4. At the operation during which the power goes off ([`SimDisk::stop_at`]), that operation may have begun; its caller
//!    sees an error, and so does every later one.
//!
//! # What lies
//! A *lost* write is acknowledged and never done; a *misdirected* one is done elsewhere. A *stale* sector shows what it held before
//! its last write, once or for good; *rot* flips a bit, in one read or for good. A *lying* sync says it is done
//! and did nothing, but a later one that does not lie makes up for it. All of these are silent: what the engine must do
//! is in [`DiskFault::demand`].
//!
//! Thread safety: all of it can be called from any thread, but a fault hits the same call again only if calls come in the same order.

mod fault;
mod file;
mod plans;
mod sim_disk;
mod tag;

pub use fault::{Demand, DiskFault, FaultCounts, FaultPlan, Target, When};
pub use sim_disk::SimDisk;

#[cfg(test)]
mod tests;
