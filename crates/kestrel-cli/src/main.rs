//! The command `kestrel`: a user's hands on the directory of a Kestrel database.
//!
//! Each command is a file that holds its arguments and what it does. [`place`] opens the database for all of them,
//! [`failure`] says what a command can end with, [`entry_writer`] and [`entry_object`] how entries are printed and read.
//! The command knows the engine by its public interface only.

mod arguments;
mod byte_size;
mod checkpoint;
mod del;
mod entry_object;
mod entry_writer;
mod escape;
mod failure;
mod get;
mod load;
mod place;
mod put;
mod scan;
mod stat;
mod table;
mod tree_choice;
mod trees;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};

fn main() -> ExitCode {
    let outcome = match Arguments::try_parse() {
        Ok(arguments) => arguments.run(),
        Err(refusal) => refuse(&refusal),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Prints what the parser has to say: help that was asked for, or what is wrong with the arguments.
fn refuse(refusal: &clap::Error) -> Outcome {
    // Whoever closed the pipe does not want to read it.
    let _ = refusal.print();
    if refusal.use_stderr() { Err(Failure::Told) } else { Ok(()) }
}
