//! The program `kestrel-sim`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kestrel_sim::{full, kill, trace};

/// Looks for ways in which a database loses or garbles what it was given. Ends with 1 if it finds one, with 2 if it could
/// not run.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Kill(kill::Arguments),
    /// The process that `kill` kills
    #[command(hide = true)]
    KillChild(kill::ChildArguments),
    Trace(trace::Arguments),
    FullDisk(full::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Kill(arguments) => kill::run(&arguments),
        Command::KillChild(arguments) => kill::run_child(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::FullDisk(arguments) => full::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
