//! Time, as the engine sees it.

use std::fmt;
use std::time::Duration;

/// A clock that never goes back. No ordering in the engine depends on it: only pacing and figures do.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
}
