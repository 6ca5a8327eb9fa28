//! The subcommand that runs the modes.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Mode, Size};

/// Tries all that can go wrong with tiny databases: every call a crash point, every call failing, every byte flipped
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Which modes: crash-points, recovery-crashes, failing-calls, flips, truncations, swaps. All of them without any
    #[arg(value_parser = mode)]
    modes: Vec<Mode>,
    /// All of each mode, not only what every change has to pass
    #[arg(long)]
    long: bool,
    /// Which part is run, if it is not all: each number is another one
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    part: u64,
}

fn mode(name: &str) -> Result<Mode, String> {
    let names = Mode::ALL.map(Mode::name).join(", ");
    Mode::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| format!("there are: {names}"))
}

/// Runs them; whether nothing was found.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let modes = if arguments.modes.is_empty() { &Mode::ALL[..] } else { &arguments.modes };
    let size = if arguments.long { Size::Long } else { Size::Short(arguments.part) };
    let style =
        ProgressStyle::with_template("{msg:>16} [{elapsed_precise}] {wide_bar} {pos}/{len} (another {eta})")
            .map_err(|error| error.to_string())?;
    let mut clean = true;
    for &mode in modes {
        let bar = ProgressBar::new(0).with_style(style.clone()).with_message(mode.name());
        bar.enable_steady_tick(Duration::from_millis(200));
        let begun = Instant::now();
        let summary = mode.run(size, &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        println!("{} ({:.1} s)\n{summary}", mode.name(), begun.elapsed().as_secs_f64());
        clean &= summary.is_clean();
    }
    Ok(clean)
}
