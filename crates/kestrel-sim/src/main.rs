//! The program `kestrel-sim`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kestrel_sim::{command, exhaustive, full, kill, planted, trace};

/// Looks for ways in which a database loses or garbles what it was given. Without a command: runs seeded worlds on a disk
/// that fails. Ends with 1 if it finds something, with 2 if it could not run.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    seeds: command::Arguments,
}

#[derive(Subcommand, Debug)]
enum Command {
    Exhaustive(exhaustive::Arguments),
    Kill(kill::Arguments),
    /// The process that `kill` kills
    #[command(hide = true)]
    KillChild(kill::ChildArguments),
    Planted(planted::Arguments),
    Trace(trace::Arguments),
    FullDisk(full::Arguments),
}

fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let outcome = match arguments.command {
        None => command::execute(&arguments.seeds),
        Some(Command::Exhaustive(arguments)) => exhaustive::run(&arguments),
        Some(Command::Kill(arguments)) => kill::run(&arguments),
        Some(Command::KillChild(arguments)) => kill::run_child(&arguments),
        Some(Command::Planted(arguments)) => planted::execute(&arguments),
        Some(Command::Trace(arguments)) => trace::run(&arguments),
        Some(Command::FullDisk(arguments)) => full::run(&arguments),
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
