//! What a command can end with besides success.

use std::io;
use std::process::ExitCode;

use kestreldb::ErrorKind;

/// How a command ends.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told in one line that says what to do. Exit code 1.
    Message(String),
    /// The user knows already. Exit code 1.
    Told,
    /// The database is damaged, which was printed. Exit code 2.
    Damaged,
    /// Whoever read the output has had enough. Not worth a word, and no failure: exit code 0.
    ClosedPipe,
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure::Message(message.into())
    }

    /// What a failed write to the standard output means.
    pub(crate) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::new(format!("writing to the standard output failed: {error}")),
        }
    }

    /// Prints the message; returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::Message(message) => {
                eprintln!("kestrel: {message}");
                ExitCode::from(1)
            }
            Failure::Told => ExitCode::from(1),
            Failure::Damaged => ExitCode::from(2),
            Failure::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

impl From<kestreldb::Error> for Failure {
    fn from(error: kestreldb::Error) -> Failure {
        let advice = match error.kind() {
            ErrorKind::OverBudget => "; give more memory with --memory",
            ErrorKind::Corrupted => {
                "; `kestrel verify` lists all damage, `kestrel salvage` saves what is left"
            }
            _ => "",
        };
        Failure::new(format!("{error}{advice}"))
    }
}
