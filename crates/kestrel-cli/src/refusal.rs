//! What is said to arguments that make no sense, and to those who ask for help.

use clap::error::ErrorKind;

use crate::failure::{Failure, Outcome};

/// Prints help or the version if they were asked for; otherwise says in one line what is wrong with the
/// arguments.
pub(crate) fn answer(refusal: &clap::Error) -> Outcome {
    match refusal.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closed the pipe does not want to read it.
            let _ = refusal.print();
            Ok(())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = refusal.print();
            Err(Failure::Told)
        }
        kind => Err(Failure::new(format!("{}; {}", one_line(&refusal.to_string()), advice(kind)))),
    }
}

/// The parser's paragraphs up to the usage, which is for those who ask for it.
fn one_line(text: &str) -> String {
    let paragraphs =
        text.split("\n\n").take_while(|text| !text.starts_with("Usage:") && !text.starts_with("For more"));
    let line =
        paragraphs.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    line.join("; ").trim_start_matches("error: ").to_owned()
}

/// A directory in the wrong place is the likely reason where the parser does not know a word.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand => {
            "the form is `kestrel DIR COMMAND ...`, and `kestrel help COMMAND` says more"
        }
        _ => "`kestrel help COMMAND` says more",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::Arguments;

    fn said(arguments: &[&str]) -> String {
        let refusal = Arguments::try_parse_from([&["kestrel"], arguments].concat()).unwrap_err();
        match answer(&refusal) {
            Err(Failure::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_fits_a_line_and_says_what_to_do() {
        assert_eq!(
            said(&["shop", "laod"]),
            "unrecognized subcommand 'laod'; tip: a similar subcommand exists: 'load'; the form is `kestrel DIR \
             COMMAND ...`, and `kestrel help COMMAND` says more"
        );
        assert_eq!(
            said(&["shop", "get"]),
            "the following required arguments were not provided: <KEY>; `kestrel help COMMAND` says more"
        );
        let formats = said(&["shop", "load", "--format", "csv"]);
        assert!(
            formats.contains("'csv'") && formats.contains("[possible values: tsv, jsonl, paragraphs]"),
            "{formats}"
        );
        for wrong in
            [&["laod", "x"][..], &["--db", "shop", "scam"], &["trees", "shop"], &["shop", "scan", "-n", "x"]]
        {
            assert!(!said(wrong).contains('\n'), "{wrong:?}");
        }
    }
}
