//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

/// Pour page hits into a Kestrel database, ask it questions meanwhile, and prove that nothing was lost.
#[derive(Parser, Debug)]
#[command(name = "firehose")]
pub struct Arguments {
    /// How long to pour, in seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Where the database lies or is to lie [default: a temporary directory, removed at the end].
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
    /// What the made-up hits follow from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Hits from a file (`-`: standard input) instead: time, site, visitor, page, referrer, separated by tabs; the time
    /// is a whole number, for example milliseconds since 1970.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Hits per transaction.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub batch: u64,
    /// Threads that write.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub writers: u64,
    /// Threads that ask.
    #[arg(long, default_value_t = 2)]
    pub readers: u64,
    /// The database's memory budget, in bytes or with KiB, MiB, GiB.
    #[arg(long, default_value = "256MiB")]
    pub memory: Size,
    /// Whether a commit waits for the disk.
    #[arg(long, value_enum, default_value_t = Durability::Immediate)]
    pub durability: Durability,
}

/// As on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Durability {
    /// It does.
    Immediate,
    /// It is on disk some milliseconds later.
    Eventual,
}

impl From<Durability> for kestreldb::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Immediate => kestreldb::Durability::Immediate,
            Durability::Eventual => kestreldb::Durability::Eventual,
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Size(u64);

impl Size {
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text[digits.len()..].trim() {
            "" | "B" => 0,
            "K" | "KiB" => 10,
            "M" | "MiB" => 20,
            "G" | "GiB" => 30,
            unit => return Err(format!("{unit} is no unit; KiB, MiB and GiB are")),
        };
        let number: u64 = digits.parse().map_err(|_| format!("{text} is no size"))?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(|| format!("{text} is too much"))
    }
}
