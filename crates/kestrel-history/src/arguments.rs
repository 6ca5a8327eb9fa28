//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use kestrel_history::{Isolation, Workload};

/// Runs concurrent transactions on lists, and checks their history for anomalies. Ends with 1 if there are any, with 2 if it
/// could not run.
#[derive(Parser, Debug)]
#[command(version)]
pub(crate) struct Arguments {
    /// How many transactions
    #[arg(long, default_value_t = 50_000)]
    transactions: u64,
    /// How many threads run them
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Decides what each thread does
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The isolation level of write transactions
    #[arg(long, value_enum, default_value_t = Level::Serializable)]
    isolation: Level,
    /// The database's memory budget in KiB: small, so that pages come and go
    #[arg(long, default_value_t = 1024)]
    memory: u64,
    /// An empty or missing directory for the database; without one it is in memory
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Also writes the history to this file, for other checkers
    #[arg(long)]
    pub(crate) edn: Option<PathBuf>,
    /// A bug to run with, such as ReadsNotValidated; only in builds with RUSTFLAGS="--cfg kestrel_planted"
    #[arg(long)]
    pub(crate) planted: Option<String>,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Level {
    Serializable,
    Snapshot,
}

impl Arguments {
    pub(crate) fn workload(&self) -> Workload {
        Workload {
            transactions: self.transactions,
            threads: self.threads,
            seed: self.seed,
            isolation: match self.isolation {
                Level::Serializable => Isolation::Serializable,
                Level::Snapshot => Isolation::Snapshot,
            },
            memory_budget: self.memory << 10,
            directory: self.directory.clone(),
        }
    }
}
