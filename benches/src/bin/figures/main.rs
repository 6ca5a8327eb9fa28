//! The figures that the project states about itself, each from one run of this program.
//!
//! `cargo run --release -p kestrel-benches --bin figures -- memory` measures one thread on data that fits into memory,
//! `-- threads` what more threads bring. Each figure stands beside what bounds it, measured in the same run: a bare
//! overwrite and sync of one block, or one thread. The disk is that of [`kestrel_benches::directory`].
#![allow(clippy::unwrap_used, reason = "a failure ends the measurement")]

mod memory;
mod report;
mod store;
mod threads;

use clap::{Parser, Subcommand};
use report::Report;

#[derive(Parser)]
#[command(about = "Measures the figures that the project states about itself")]
struct Arguments {
    #[command(subcommand)]
    figures: Figures,
}

#[derive(Subcommand)]
enum Figures {
    /// One thread on data that fits into memory
    Memory(memory::Arguments),
    /// What more threads bring
    Threads(threads::Arguments),
}

fn main() {
    let mut report = Report::default();
    match Arguments::parse().figures {
        Figures::Memory(arguments) => memory::measure(&arguments, &mut report),
        Figures::Threads(arguments) => threads::measure(&arguments, &mut report),
    }
    println!("{report}");
}
