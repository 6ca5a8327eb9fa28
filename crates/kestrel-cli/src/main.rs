//! The command `kestrel`: a user's hands on the directory of a Kestrel database.
//!
//! Each command is a file that holds its arguments and what it does. [`place`] opens the database for all of
//! them, [`failure`] says what a command can end with, [`entry_writer`] and [`entry_object`] how entries are
//! printed and read. The command knows the engine by its public interface only.

mod arguments;
mod byte_size;
mod checkpoint;
mod counted;
mod del;
mod entry_object;
mod entry_writer;
mod escape;
mod failure;
mod get;
mod load;
mod place;
mod put;
mod refusal;
mod salvage;
mod scan;
mod stat;
mod table;
mod tree_choice;
mod trees;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let outcome = match Arguments::try_parse() {
        Ok(arguments) => arguments.run(),
        Err(refusal) => refusal::answer(&refusal),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
