//! Every error, as a user meets it: its kind, what it says, and that nothing else was harmed.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod forbidden;
mod opening;
mod running;
mod storing;

use std::fmt::Debug;

use kestreldb::{ErrorKind, Result};

/// Checks the kind, and that the message has each of the texts; returns the message.
#[track_caller]
fn fails<T: Debug>(result: Result<T>, kind: ErrorKind, texts: &[&str]) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let message = error.to_string();
    for text in texts {
        assert!(message.contains(text), "{text:?} is not in {message:?}");
    }
    message
}
