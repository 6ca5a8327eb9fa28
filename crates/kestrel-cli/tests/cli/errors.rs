//! What is not done, and what is said about it.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Place, Run, is_database, kestrel};

/// Commands that make no database.
const NOT_CREATING: [&[&str]; 9] = [
    &["get", "a", "--tree", "t"],
    &["del", "a", "--tree", "t"],
    &["scan", "--tree", "t"],
    &["trees"],
    &["trees", "drop", "t"],
    &["trees", "rename", "t", "u"],
    &["stat"],
    &["verify"],
    &["checkpoint"],
];

#[test]
fn no_database_is_made_by_looking_for_one() {
    let place = Place::new();
    for command in NOT_CREATING {
        let refused = place.refused(command);
        assert!(refused.starts_with("there is no database in") && refused.contains("`put`"), "{refused}");
        assert!(!place.db().exists(), "{command:?}");
    }
    std::fs::create_dir(place.db()).unwrap();
    for command in NOT_CREATING {
        assert!(place.refused(command).starts_with("there is no database in"), "{command:?}");
        assert!(!is_database(&place.db()), "{command:?}");
    }
    place.ok(&["put", "a", "1", "--tree", "t"]);
}

#[test]
fn what_is_no_database_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.db()).unwrap();
    place.file("db/letter.txt", b"dear");
    for command in [&["put", "a", "1", "--tree", "t"][..], &["trees", "create", "t"]] {
        let refused = place.refused(command);
        assert!(refused.contains("letter.txt"), "{refused}");
    }
    for command in NOT_CREATING {
        place.refused(command);
    }
    assert!(!is_database(&place.db()));
    assert_eq!(std::fs::read(place.path("db/letter.txt")).unwrap(), b"dear");
    let output = kestrel().arg(place.path("db/letter.txt")).arg("trees").output().unwrap();
    assert!(Run::of(output).refused().contains("not a directory"));
}

#[test]
fn a_database_that_is_open_elsewhere_names_the_process() {
    let place = Place::new();
    let acknowledged = place.path("ack");
    let arguments = ["load", "--tree", "t", "--format", "tsv", "--batch", "1", "--ack"];
    let mut command = place.command(&arguments);
    command.arg(&acknowledged).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut input = holder.stdin.take().unwrap();
    input.write_all(b"a\t1\nb\t2\n").unwrap();
    let started = Instant::now();
    while std::fs::read(&acknowledged).unwrap_or_default() != b"1 1\n2 2\n" {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing is acknowledged");
        std::thread::sleep(Duration::from_millis(2));
    }
    for command in NOT_CREATING.into_iter().chain([&["put", "c", "3"][..]]) {
        let refused = place.refused(command);
        let name = format!("process {} (kestrel", holder.id());
        assert!(refused.contains(&name) && refused.contains("close it there first"), "{refused}");
    }
    drop(input);
    assert!(Run::of(holder.wait_with_output().unwrap()).ok().starts_with("loaded 2 entries"));
    assert_eq!(place.ok(&["scan"]), "a\t1\nb\t2\n");
}

#[test]
fn wrong_arguments_are_told_in_one_line() {
    let place = Place::new();
    for (arguments, why) in [
        (&["scam"][..], "similar subcommand exists: 'scan'"),
        (&["get"], "<KEY>"),
        (&["load", "--tree", "t"], "--format"),
        (&["load", "--tree", "t", "--format", "csv"], "tsv, jsonl, paragraphs"),
        (&["load", "--tree", "t", "--format", "tsv", "--key", "a"], "--key is for jsonl"),
        (&["load", "--tree", "t", "--format", "jsonl", "--crlf"], "--crlf is for tsv"),
        (&["load", "--tree", "t", "--format", "paragraphs"], "--key"),
        (&["load", "--tree", "t", "--format", "tsv", "--batch", "0"], "--batch"),
        (&["load", "--tree", "t", "--format", "tsv", "--page-size", "5000"], "5000"),
        (&["load", "--tree", "t", "--format", "tsv", "--page-size", "5G"], "no page size"),
        (&["scan", "--prefix", "a", "--from", "b"], "--from"),
        (&["scan", "--count", "--json"], "--json"),
        (&["scan", "--limit", "-1"], "-1"),
        (&["trees", "--memory", "lots"], "lots"),
        (&["put", "a", "1", "--tree", "t", "--memory", "1K"], "1024"),
    ] {
        let refused = place.refused(arguments);
        assert!(refused.contains(why), "{arguments:?}: {refused}");
        assert!(!is_database(&place.db()), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_there_for_all_commands() {
    let run = |arguments: &[&str]| Run::of(kestrel().args(arguments).output().unwrap());
    let help = run(&["--help"]).ok();
    assert!(run(&["--version"]).ok().starts_with("kestrel 0."));
    for command in ["load", "get", "put", "del", "scan", "trees", "stat", "verify", "checkpoint"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let said = run(&["help", command]).ok();
        assert!(said.contains("Examples:\n") && said.contains("kestrel"), "{command}: {said}");
        assert_eq!(run(&[command, "--help"]).ok(), said);
    }
    let nothing = run(&[]);
    assert_eq!((nothing.code, nothing.stdout), (1, Vec::new()));
    assert!(nothing.stderr.contains("Examples:"));
}
