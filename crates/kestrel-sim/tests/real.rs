//! The two commands with real threads on the real file system, small.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::process::Command;

fn run(arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kestrel-sim"));
    let output = command.args(arguments).arg("--dir").arg(directory.path()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "something is left behind");
    said
}

#[test]
fn kills_lose_nothing() {
    let said = run(&["kill", "--rounds", "8", "--seed", "3"]);
    assert!(said.contains("8 kills, nothing lost"), "{said}");
}

#[test]
fn traces_have_no_bad_states_and_break_no_rule() {
    let said = run(&["trace", "--states", "400", "--traces", "4", "--seed", "3"]);
    assert!(said.contains("nothing lost, no rule broken"), "{said}");
}
