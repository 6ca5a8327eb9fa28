//! `trees`

use crate::harness::{Place, is_database};

#[test]
fn trees_are_listed_created_renamed_and_dropped() {
    let place = Place::new();
    place.ok(&["trees", "create", "stock"]);
    assert!(is_database(&place.db()));
    assert_eq!(place.ok(&["trees"]), "entries  tree\n      0  stock\n");
    place.load("tsv", b"a\t1\nb\t2\n");
    assert_eq!(place.ok(&["trees"]), "entries  tree\n      0  stock\n      2  t\n");
    place.ok(&["trees", "rename", "t", "numbers"]);
    assert_eq!(place.ok(&["get", "b", "--tree", "numbers"]), "2");
    assert!(place.refused(&["get", "b", "--tree", "t"]).contains("no tree \"t\""));
    place.ok(&["trees", "drop", "stock"]);
    let listed = place.ok(&["trees", "--json"]);
    assert_eq!(listed, "{\"entries\":2,\"name\":\"numbers\"}\n");
    place.assert_whole();
}

#[test]
fn what_cannot_be_done_with_a_tree_is_said() {
    let place = Place::new();
    place.ok(&["trees", "create", "a"]);
    place.ok(&["trees", "create", "b"]);
    assert!(place.refused(&["trees", "create", "a"]).contains("\"a\""));
    assert!(place.refused(&["trees", "rename", "a", "b"]).contains("\"b\""));
    assert_eq!(
        place.refused(&["trees", "rename", "x", "y"]),
        "there is no tree \"x\"; there are \"a\", \"b\""
    );
    assert_eq!(place.refused(&["trees", "drop", "x"]), "there is no tree \"x\"; there are \"a\", \"b\"");
    place.ok(&["trees", "drop", "a"]);
    place.ok(&["trees", "drop", "b"]);
    assert_eq!(place.refused(&["trees", "drop", "b"]), "there is no tree \"b\", nor any other");
    assert_eq!(place.ok(&["trees"]), "entries  tree\n");
}

#[test]
fn names_are_shown_on_one_line_whatever_they_are() {
    let place = Place::new();
    for name in ["two words", "größe", "a\nb", "\"quoted\""] {
        place.ok(&["put", "k", name, "--tree", name]);
        assert_eq!(place.ok(&["get", "k", "--tree", name]), name);
    }
    let listed = place.ok(&["trees"]);
    let names: Vec<&str> =
        listed.lines().skip(1).map(|line| line.trim_start().split_once("  ").unwrap().1).collect();
    assert_eq!(names, [r#""\"quoted\"""#, r#""a\nb""#, "größe", "two words"]);
    let json = place.ok(&["trees", "--json"]);
    assert!(json.contains(r#"{"entries":1,"name":"a\nb"}"#), "{json}");
}
