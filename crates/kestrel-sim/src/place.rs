//! What the commands that work on a real file system have in common: where, with which seed, and with which bug.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::planting::plant;

/// Where a command works, and with what.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// On which disk: a directory, in which one is made [default: the temporary directory]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Decides settings, transactions and whatever else is drawn; when threads meet is not to be repeated
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A bug to run with; only in builds with RUSTFLAGS="--cfg kestrel_planted"
    #[arg(long)]
    pub planted: Option<String>,
}

impl Place {
    /// Plants the bug, if there is to be one. Returns the directory of this process for such work; it is not made yet.
    pub(crate) fn prepare(&self, work: &str) -> Result<PathBuf, String> {
        plant(self.planted.as_deref())?;
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        Ok(parent.join(format!("kestrel-{work}.{}", std::process::id())))
    }

    /// The seed of a part of the work, the part's number being far below a million.
    pub(crate) fn seed_of(&self, number: u64) -> u64 {
        self.seed.wrapping_mul(1_000_000).wrapping_add(number)
    }
}

/// A bar for so many things of a kind.
pub(crate) fn progress(total: u64, things: &str) -> ProgressBar {
    let template = format!("{{bar:24}} {{human_pos}} of {{human_len}} {things}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
