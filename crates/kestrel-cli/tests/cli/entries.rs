//! `put`, `get` and `del`.

use crate::harness::{Place, is_database};

#[test]
fn what_was_put_is_got_until_it_is_deleted() {
    let place = Place::new();
    assert_eq!(place.ok(&["put", "apple", "3", "--tree", "stock"]), "");
    assert_eq!(place.ok(&["put", "pear", "5", "--tree", "stock"]), "");
    assert_eq!(place.ok(&["get", "apple", "--tree", "stock"]), "3", "the bytes and nothing else");
    place.ok(&["put", "apple", "4", "--tree", "stock"]);
    assert_eq!(place.ok(&["get", "apple", "--tree", "stock"]), "4");
    assert_eq!(place.ok(&["del", "apple", "--tree", "stock"]), "");
    let absent = r#"there is no key "apple" in the tree "stock""#;
    assert_eq!(place.refused(&["get", "apple", "--tree", "stock"]), absent);
    assert_eq!(place.refused(&["del", "apple", "--tree", "stock"]), absent);
    assert_eq!(place.ok(&["scan", "--tree", "stock"]), "pear\t5\n");
    place.assert_whole();
}

#[test]
fn keys_and_values_may_be_empty_and_begin_with_hyphens() {
    let place = Place::new();
    place.ok(&["put", "", "value of the empty key", "--tree", "t"]);
    place.ok(&["put", "empty value", "", "--tree", "t"]);
    place.ok(&["put", "--tree", "t", "--", "-k", "--v"]);
    assert_eq!(place.ok(&["get", "", "--tree", "t"]), "value of the empty key");
    assert_eq!(place.ok(&["get", "empty value", "--tree", "t"]), "");
    assert_eq!(place.ok(&["get", "--tree", "t", "--", "-k"]), "--v");
    assert_eq!(place.scan(&["--count"]), ["3"]);
    place.ok(&["del", "", "--tree", "t"]);
    assert_eq!(place.scan(&["--keys"]), ["-k", "empty value"]);
}

#[test]
fn escapes_name_bytes_that_no_argument_can_hold() {
    let place = Place::new();
    place.ok(&["put", "-e", r"a\0b\xfF", r"\t\\\n", "--tree", "t"]);
    place.ok(&["put", r"a\0b", "plain", "--tree", "t"]);
    assert_eq!(place.run(&["get", "--tree", "t", r"a\0b\xff", "--escape"]).stdout, b"\t\\\n");
    assert_eq!(place.ok(&["get", "--tree", "t", r"a\0b"]), "plain", "taken byte for byte without -e");
    assert_eq!(place.run(&["scan", "-e", "--prefix", r"a\0", "--keys"]).stdout, b"a\0b\xff\n");
    let refused = place.refused(&["get", "-e", r"a\q", "--tree", "t"]);
    assert!(refused.contains("backslash") && refused.contains(r"\xNN"), "{refused}");
}

#[cfg(unix)]
#[test]
fn arguments_are_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = Place::new();
    let bytes = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    place.ok(&[bytes(b"put"), bytes(b"\xff\xfe"), bytes(b"\x80"), bytes(b"--tree"), bytes(b"t")]);
    assert_eq!(place.run(&[bytes(b"get"), bytes(b"\xff\xfe")]).stdout, b"\x80");
    assert_eq!(place.ok(&["scan", "--json"]), "{\"key_base64\":\"//4=\",\"value_base64\":\"gA==\"}\n");
}

#[test]
fn the_tree_may_be_left_out_where_there_is_one() {
    let place = Place::new();
    let refused = place.refused(&["put", "a", "1"]);
    assert!(refused.contains("no trees") && refused.contains("--tree"), "{refused}");
    place.ok(&["put", "a", "1", "--tree", "only"]);
    place.ok(&["put", "b", "2"]);
    assert_eq!(place.ok(&["get", "b"]), "2");
    place.ok(&["del", "a"]);
    assert_eq!(place.ok(&["scan"]), "b\t2\n");
    place.ok(&["put", "c", "3", "--tree", "other"]);
    for command in [&["get", "b"][..], &["del", "b"], &["put", "b", "3"], &["scan"]] {
        assert_eq!(place.refused(command), r#"which tree? Give --tree; there are "only", "other""#);
    }
    assert_eq!(place.refused(&["get", "b", "-t", "x"]), r#"there is no tree "x"; there are "only", "other""#);
    assert_eq!(place.ok(&["get", "b", "-t", "only"]), "2");
}

#[test]
fn a_key_that_is_too_long_is_refused_with_its_limit() {
    let place = Place::new();
    let longest = "k".repeat(1024);
    place.ok(&["put", &longest, "v", "--tree", "t"]);
    assert_eq!(place.ok(&["get", &longest]), "v");
    let refused = place.refused(&["put", &"k".repeat(1025), "v"]);
    assert!(refused.contains("1025") && refused.contains("1024"), "{refused}");
    assert_eq!(place.scan(&["--count"]), ["1"]);
}

#[test]
fn the_directory_stands_before_the_command_or_behind_db() {
    let place = Place::new();
    let db = place.db();
    let db = db.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = crate::harness::kestrel().args(arguments).output().unwrap();
        crate::harness::Run::of(output)
    };
    run(&["put", "a", "1", "--tree", "t", "--db", db]).ok();
    assert!(is_database(&place.db()));
    assert_eq!(run(&["--db", db, "get", "a"]).ok(), "1");
    assert_eq!(run(&[db, "get", "a"]).ok(), "1");
    assert_eq!(run(&["get", "--db", db, "a", "--memory", "8M"]).ok(), "1");
    assert!(run(&["get", "a"]).refused().contains("which database?"));
    assert!(run(&[db, "get", "a", "--db", db]).refused().contains("two databases"));
}
