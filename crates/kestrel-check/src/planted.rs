//! Bugs that can be planted, to prove that a test would catch them. They exist only under `--cfg kestrel_planted`, which no
//! release has; there, one bug at a time can be switched on for the whole process.
//!
//! ```
//! use kestrel_check::planted::{Bug, is_planted};
//!
//! let validate = |valid: bool| is_planted(Bug::ReadsNotValidated) || valid;
//! assert!(validate(true) && !validate(false));
//! ```

/// A bug that the engine would have if it were planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Bug {
    /// A commit does not look whether keys that it read were changed.
    ReadsNotValidated = 1,
    /// A commit does not look whether ranges that it scanned were changed.
    RangesNotValidated,
    /// A commit publishes what it made of an old state, although others changed the same pages.
    ReplaySkipped,
    /// A commit's timestamp can be seen before all of its pages can.
    TimestampBeforePages,
    /// A superseded version goes although one snapshot can still see it.
    VersionFreedTooEarly,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Bug] = &[
        Bug::ReadsNotValidated,
        Bug::RangesNotValidated,
        Bug::ReplaySkipped,
        Bug::TimestampBeforePages,
        Bug::VersionFreedTooEarly,
    ];
}

/// Whether a bug was planted. Always `false`, and known to be so by the compiler, in a build without `--cfg kestrel_planted`.
#[cfg(not(kestrel_planted))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

#[cfg(kestrel_planted)]
mod switch {
    use super::Bug;
    use std::sync::atomic::{AtomicU32, Ordering};

    static PLANTED: AtomicU32 = AtomicU32::new(0);

    /// Whether a bug was planted.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u32
    }

    /// Plants a bug for the whole process, in place of the one before; `None`: takes it away.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u32), Ordering::Relaxed);
    }
}

#[cfg(kestrel_planted)]
pub use switch::{is_planted, plant};
