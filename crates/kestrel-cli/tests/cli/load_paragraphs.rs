//! `load --format paragraphs`

use crate::harness::{Place, Run};

fn load(place: &Place, more: &[&str], input: &[u8]) -> Run {
    place.run_with_input(&[&["load", "--tree", "t", "--format", "paragraphs"], more].concat(), input)
}

const FIRST: &str =
    "Package: libz\nVersion: 1.3-1\nArchitecture: amd64\nDescription: zip\n Package: no\n .\n more\n";
const SECOND: &str = "package:\tapt \nVersion:2.7\nArchitecture: all\nEmpty:\n";
const THIRD: &str = "Package: libz\r\nVersion: 1.2-1\r\nArchitecture: i386";

#[test]
fn stanzas_are_values_byte_for_byte() {
    let place = Place::new();
    let input = format!("\n\n{FIRST}\n{SECOND}\r\n\n\n{THIRD}");
    let said = load(&place, &["--key", "Package,Version,Architecture"], input.as_bytes()).ok();
    assert!(said.contains("loaded 3 entries") && said.contains(&format!("{} bytes", input.len())), "{said}");
    assert_eq!(place.scan(&["--keys"]), ["apt 2.7 all", "libz 1.2-1 i386", "libz 1.3-1 amd64"]);
    assert_eq!(place.ok(&["get", "libz 1.3-1 amd64"]), FIRST);
    assert_eq!(place.ok(&["get", "apt 2.7 all"]), SECOND);
    assert_eq!(place.ok(&["get", "libz 1.2-1 i386"]), THIRD);
}

#[test]
fn the_separator_can_be_chosen_and_later_stanzas_replace_earlier_ones() {
    let place = Place::new();
    let input = format!("{FIRST}\n{SECOND}\n{THIRD}");
    load(&place, &["--key", "Package", "--key", "Architecture", "--separator", r"\0"], input.as_bytes()).ok();
    assert_eq!(place.ok(&["get", "-e", r"libz\0amd64"]), FIRST);
    let said = load(&place, &["--key", "PACKAGE"], input.as_bytes()).ok();
    assert!(said.contains("2 inserted, 1 replaced"), "{said}");
    assert_eq!(place.ok(&["get", "libz"]), THIRD);
}

#[test]
fn a_stanza_without_its_key_is_named_by_its_first_line() {
    let place = Place::new();
    let input = format!("{FIRST}\nVersion: 1\nX: 2\n\n{SECOND}\n");
    let refused = load(&place, &["--key", "Package"], input.as_bytes()).refused();
    assert!(refused.starts_with("line 9: the stanza has no field \"Package\""), "{refused}");
    assert_eq!(place.ok(&["scan"]), "");
    let skipped = load(&place, &["--key", "Package", "--skip-bad"], input.as_bytes());
    assert_eq!(skipped.code, 0);
    assert!(skipped.stderr.contains("skipped line 9: "), "{}", skipped.stderr);
    assert_eq!(place.scan(&["--count"]), ["2"]);
    for (stanza, why) in [("Package: a\nPackage: b\n", "twice"), ("Package: a\n b\n", "several lines")] {
        let refused = load(&place, &["--key", "Package"], stanza.as_bytes()).refused();
        assert!(refused.starts_with("line 1: ") && refused.contains(why), "{refused}");
    }
}

#[test]
fn input_without_stanzas_is_no_error() {
    let place = Place::new();
    for input in [&b""[..], b"\n\r\n\n"] {
        assert!(load(&place, &["--key", "Package"], input).ok().contains("loaded 0 entries"));
    }
}
