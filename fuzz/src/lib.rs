//! Fuzz targets as plain functions of bytes, so that a fuzzer, a test and a debugger run the same code.
//!
//! Each module has one `run`, which panics on what must not happen. An input is read as instructions rather than as a
//! file ([`Input`](input::Input)): random bytes are then a workload, and a checksum need not be guessed to get behind it.

pub mod api_model;
pub mod hostile;
pub mod input;
pub mod log_replay;
pub mod node_decode;
pub mod open_database;
pub mod open_directory;
pub mod recovery;
pub mod transactions;

mod allowance;
mod execute;
mod files;
mod forest;
mod model;
mod repair;
