//! `verify`, on whole and on damaged databases.

use crate::harness::Place;

const MARK: &[u8] = b"needle in a value";

/// A database of some pages, one of which has the mark in it.
fn filled() -> Place {
    let place = Place::new();
    let mut input: Vec<u8> =
        (0..2000).flat_map(|number| format!("{number:06}\tvalue {number}\n").into_bytes()).collect();
    input.extend([b"001000x\t", MARK, b"\n"].concat());
    place.load("tsv", &input);
    place
}

/// Changes the data file.
fn damage(place: &Place, change: impl FnOnce(&mut Vec<u8>)) {
    let path = place.path("db/kestrel.data");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_whole_database_is_ok_with_counts() {
    let place = filled();
    place.ok(&["put", "k", "v", "--tree", "other"]);
    let said = place.ok(&["verify"]);
    let pages = said.strip_prefix("ok: 2 trees, 2002 entries, ").unwrap().strip_suffix(" pages\n").unwrap();
    assert!(pages.parse::<u64>().unwrap() > 10, "{said}");
}

#[test]
fn one_wrong_byte_is_found_and_is_exit_code_2() {
    let place = filled();
    damage(&place, |bytes| {
        let at = bytes.windows(MARK.len()).position(|window| window == MARK).unwrap();
        bytes[at] ^= 1;
    });
    let run = place.run(&["verify"]);
    let said = String::from_utf8(run.stdout).unwrap();
    assert_eq!((run.code, run.stderr.as_str()), (2, ""), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains(" damage") && said.lines().count() > 1, "{said}");
    // Reading what is whole goes on, reading the rest is an error that says what to do.
    assert_eq!(place.ok(&["get", "000001"]), "value 1");
    let refused = place.run(&["get", "001000x"]);
    assert_eq!((refused.code, refused.stdout), (1, Vec::new()));
    assert!(refused.stderr.contains("`kestrel verify`"), "{}", refused.stderr);
    assert_eq!(place.run(&["scan"]).code, 1);
    assert_eq!(place.run(&["verify"]).code, 2, "reading repaired nothing");
}

#[test]
fn a_database_that_does_not_open_for_damage_is_exit_code_2() {
    let place = filled();
    damage(&place, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x55));
    let run = place.run(&["verify"]);
    let said = String::from_utf8(run.stdout).unwrap();
    if run.code == 1 {
        // Not even the file's first bytes are a database's.
        assert!(run.stderr.contains("data"), "{}", run.stderr);
    } else {
        assert_eq!(run.code, 2, "{said}{}", run.stderr);
        assert!(said.lines().last().unwrap().contains(" damage"), "{said}");
    }
    // The magic bytes are kept, everything behind the superblocks' heads is not.
    let place = filled();
    damage(&place, |bytes| bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 0x55));
    let run = place.run(&["verify"]);
    let said = String::from_utf8(run.stdout).unwrap();
    assert_eq!((run.code, run.stderr.as_str()), (2, ""), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains(" damages: ") && said.contains("superblock 0 is damaged"), "{said}");
    assert_eq!(place.run(&["scan"]).code, 1);
}

#[test]
fn what_is_left_is_saved_and_the_rest_is_named() {
    let place = filled();
    place.ok(&["verify"]);
    damage(&place, |bytes| {
        let at = bytes.windows(MARK.len()).position(|window| window == MARK).unwrap();
        bytes[at] ^= 1;
    });
    let before = std::fs::read(place.path("db/kestrel.data")).unwrap();
    let target = place.path("saved");
    let run = place.run(&["salvage", target.to_str().unwrap()]);
    let said = String::from_utf8(run.stdout).unwrap();
    assert_eq!((run.code, run.stderr.as_str()), (2, ""), "{said}");
    assert!(said.contains("lost: tree ") && said.contains("damaged: "), "{said}");
    assert_eq!(std::fs::read(place.path("db/kestrel.data")).unwrap(), before);
    let again = place.run(&["salvage", target.to_str().unwrap()]);
    assert!(again.code == 1 && again.stderr.contains("already"), "{}", again.stderr);
    let json = place.run(&["salvage", place.path("other").to_str().unwrap(), "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let entries = object["trees"][0]["entries"].as_u64().unwrap();
    assert!(entries > 1500 && entries < 2001, "{object}");
    assert!(object["lost"][0]["from"].is_string(), "{object}");
}
