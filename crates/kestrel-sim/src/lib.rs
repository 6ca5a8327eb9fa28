//! A simulated world for the engine: a disk that fails in every way that disks do, a workload over the whole API, and a
//! model that judges every state.
//!
//! [`Program::generate`] draws from a seed what happens, [`World::run`] lets it happen and compares every answer with that of the
//! model, [`judge()`] says whether a crash left what it may.
#![allow(missing_docs, reason = "a program and its parts, read by those who work on it")]

use std::any::Any;

mod apart;
pub mod command;
pub mod deed;
pub mod digest;
pub mod disk;
mod execute;
pub mod exhaustive;
mod faults;
pub mod full;
mod generate;
mod ground;
mod history;
mod judge;
pub mod kill;
pub mod model;
mod place;
pub mod planted;
mod planting;
mod random;
mod run;
mod shrink;
pub mod step;
mod tap;
pub mod trace;
mod work;
mod world;
pub mod writers;

pub use apart::apart;
pub use generate::{Program, Shape};
pub use ground::Disk;
pub use history::{Commit, History, Touched};
pub use judge::{Verdict, builder, judge, judge_damaged};
pub use random::Random;
pub use run::{run, run_seed};
pub use shrink::{Shrunk, shrink};
pub use tap::{Tap, Trace};
pub use world::{Finding, Report, World};

/// What closures panic with that are to.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// Whether a panic was one of those.
pub(crate) fn is_on_purpose(panic: &(dyn Any + Send)) -> bool {
    panic_message(panic) == ON_PURPOSE
}

/// What a panic said.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "a panic without words",
    }
}
