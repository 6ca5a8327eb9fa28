//! The command from end to end: the program is run as a user runs it, on directories of its own.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod entries;
mod errors;
mod harness;
mod kill;
mod load_json_lines;
mod load_paragraphs;
mod load_tsv;
mod random;
mod scan;
mod stat;
mod trees;
mod verify;
