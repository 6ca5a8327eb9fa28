//! Every public operation, on trees and in transactions.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod bulk;
mod catalogue;
mod lifecycle;
mod points;
mod ranges;
mod transactions;
mod values;

use kestreldb::{Database, Key, Result, Value};

/// A database in memory.
fn database() -> Database {
    Database::in_memory().unwrap()
}

/// Entries as text, to compare with.
fn texts(entries: impl Iterator<Item = Result<(Key, Value)>>) -> Vec<(String, String)> {
    entries
        .map(|entry| {
            let (key, value) = entry.unwrap();
            (String::from_utf8(key.into_vec()).unwrap(), String::from_utf8(value.into_vec()).unwrap())
        })
        .collect()
}

/// Only the keys, joined by blanks.
fn keys(entries: impl Iterator<Item = Result<(Key, Value)>>) -> String {
    let keys: Vec<String> = texts(entries).into_iter().map(|(key, _)| key).collect();
    keys.join(" ")
}

/// Handles go anywhere and are kept by anyone.
#[test]
fn everything_can_be_sent_and_shared_and_has_no_lifetime() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Database>();
    anywhere::<kestreldb::Tree>();
    anywhere::<kestreldb::ReadTxn>();
    anywhere::<kestreldb::WriteTxn>();
    anywhere::<Value>();
    anywhere::<Key>();
    anywhere::<kestreldb::Error>();
    fn sendable<T: Send + 'static>() {}
    sendable::<kestreldb::Range>();
}
