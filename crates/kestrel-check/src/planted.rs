//! Bugs that can be planted, to prove that a test would catch them. They exist only under `--cfg kestrel_planted`, which no
//! release has; there, one bug at a time can be switched on for the whole process. Most are bugs that other engines had.
//!
//! ```
//! use kestrel_check::planted::{Bug, is_planted};
//!
//! let validate = |valid: bool| is_planted(Bug::ReadsNotValidated) || valid;
//! assert!(validate(true) && !validate(false));
//! ```

/// Makes the list of bugs, each of which is described once, by its documentation.
macro_rules! bugs {
    ($($(#[$group_doc:meta])* $group:ident { $($(#[doc = $doc:literal])+ $name:ident,)+ })+) => {
        /// A bug that the engine would have if it were planted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(u32)]
        pub enum Bug {
            $($($(#[doc = $doc])+ $name,)+)+
        }

        impl Bug {
            $($(#[$group_doc])* pub const $group: &[Bug] = &[$(Bug::$name),+];)+

            /// All of them.
            pub const ALL: &[Bug] = &[$($(Bug::$name,)+)+];

            /// What goes wrong.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self {
                    $($(Bug::$name => concat!($($doc),+),)+)+
                }
                .trim()
            }
        }
    };
}

bugs! {
    /// Those that need threads to show: histories of concurrent transactions are checked for them.
    IN_HISTORIES {
        /// A commit does not look whether keys that it read were changed.
        ReadsNotValidated,
        /// A commit does not look whether ranges that it scanned were changed.
        RangesNotValidated,
        /// A commit publishes what it made of an old state, although others changed the same pages.
        ReplaySkipped,
        /// A commit's timestamp can be seen before all of its pages can.
        TimestampBeforePages,
        /// A superseded version goes although one snapshot can still see it.
        VersionFreedTooEarly,
    }
    /// Those that one thread over a disk that fails has to meet: the simulation looks for them.
    IN_SIMULATION {
        /// The log is called durable without a sync.
        LogNotSynced,
        /// A sync of the log that failed is tried again, and believed when it succeeds.
        FailedSyncRetried,
        /// Of the segments that a flight of the log wrote to, only the last is synced.
        OnlyLastSegmentSynced,
        /// After a write or sync of the log failed, the database takes writes as before.
        FailureForgotten,
        /// A short write of the log is taken for a whole one.
        ShortWriteTaken,
        /// A segment gets its name without a sync of the directory.
        SegmentNameNotSynced,
        /// The checksum of a log record is not compared.
        RecordChecksumIgnored,
        /// Recovery takes records behind a torn tail that an earlier opening left there.
        LeftOverRecordsTaken,
        /// Recovery ends the log at damage in its middle, although later records prove that more was durable.
        HoleEndsLog,
        /// Recovery believes the end of the log that it read, which may lie in the system's cache only.
        LogEndNotRewritten,
        /// The filler at the end of a segment says that it is eight bytes shorter than it is.
        FillerTooShort,
        /// Recovery wants more room behind a segment's last record than the writer leaves there.
        FullSegmentRefused,
        /// The superblock is written before what it refers to is synced.
        SuperblockBeforeData,
        /// A checkpoint is called durable without a sync of its superblock.
        SuperblockNotSynced,
        /// A checkpoint gives the room of images that it replaces back while the one before is in force.
        ExtentsFreedTooEarly,
        /// A checkpoint that failed keeps the room that it took.
        CheckpointRoomLeaks,
        /// The checksum of a page image is not compared.
        ImageChecksumIgnored,
        /// Whatever image lies in a page's place is taken for the page's: another's, or an older one.
        ImageNotIdentified,
        /// The checksum of a large value is not compared.
        LargeValueChecksumIgnored,
        /// The last sector of a large value is not written.
        LargeValueCutShort,
        /// The room of a large value is used again although the log can still refer to it.
        LargeValueFreedTooEarly,
        /// A commit refers to a large value in the data file, which is not synced before.
        LargeValueNotSynced,
        /// Consolidating a page drops the state before, although a snapshot needs it.
        ConsolidatedUnderSnapshot,
        /// What deltas take of a page's room is not added up.
        DeltaCostForgotten,
        /// A checkpoint that failed forgets which pages had changed.
        DirtyPagesForgotten,
        /// A split loses the entry whose key is the separator.
        SplitLosesSeparator,
        /// Where two deltas of a leaf change the same key, merging them keeps the older change.
        OldDeltaWins,
        /// Removing a range ends with the first leaf.
        RangeRemovalEndsAtLeaf,
        /// A commit that does its operations again over a newer state counts entries twice.
        CountsKeptOnReplay,
        /// Commits are visible, and acknowledged, before they are durable.
        VisibleBeforeDurable,
        /// A ticket says that its commit is durable while it still is on its way.
        TicketResolvedTooEarly,
        /// A checkpoint lets the log forget what came before it when it is not durable yet.
        LogForgottenTooEarly,
        /// A checkpoint lets the log forget what a running transaction streamed to it.
        FragmentsForgotten,
        /// Recovery does not remove ranges.
        RangeRemovalNotReplayed,
        /// Recovery does not bring back trees whose drop was rolled back.
        RestoredTreeNotReplayed,
        /// Of a large transaction, recovery does only what stands in its last record.
        FragmentsNotReplayed,
        /// Recovery gives commits smaller timestamps than they had, so that later ones get theirs again.
        TimestampsReused,
        /// Ids of trees that the log created are given out again after recovery.
        TreeIdsReused,
        /// Rolling back to a savepoint leaves the trees that were created since.
        SavepointForgetsTree,
        /// Rolling back to a savepoint takes changes back in the order in which they were made.
        RollbackInWrongOrder,
        /// Releasing a savepoint forgets how to take back what was done since, for those that are still open.
        ReleaseForgetsChanges,
        /// A cursor skips an entry when the transaction has changed something since its last step.
        CursorSkipsAfterChange,
        /// The lock on the database's files is let go of as soon as they are open.
        LockLetGo,
        /// A dropped tree is forgotten although a snapshot still sees it.
        DroppedTreeForgottenTooEarly,
    }
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

    /// The bug's number plus one; zero: none.
    static PLANTED: AtomicU32 = AtomicU32::new(0);

    /// Whether a bug was planted.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u32 + 1
    }

    /// Plants a bug for the whole process, in place of the one before; `None`: takes it away.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u32 + 1), Ordering::Relaxed);
    }
}

#[cfg(kestrel_planted)]
pub use switch::{is_planted, plant};
