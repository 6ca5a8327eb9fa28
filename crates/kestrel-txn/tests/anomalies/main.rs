//! The known anomalies, and what keeps them out: schedules with what every read returns and every commit ends with, at both
//! levels, in all the manners that the engine offers to read and to write.
//!
//! `schedule.rs` explains the notation. Whatever a step returns, and the state in the end, is held against a model too.
#![allow(clippy::unwrap_used)]

mod cases;
mod manner;
mod model;
mod play;
mod schedule;
mod table;
mod trees;
mod world;

use kestrel_txn::Isolation;

const LEVELS: [Isolation; 2] = [Isolation::Snapshot, Isolation::Serializable];
