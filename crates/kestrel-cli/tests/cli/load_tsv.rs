//! `load --format tsv`, and what all formats have in common.

use crate::harness::{Place, is_database};

const LOAD: [&str; 5] = ["load", "--tree", "t", "--format", "tsv"];

fn load(place: &Place, more: &[&str], input: &[u8]) -> crate::harness::Run {
    place.run_with_input(&[&LOAD, more].concat(), input)
}

#[test]
fn every_byte_of_key_and_value_is_kept() {
    let place = Place::new();
    let lines = [
        &b"plain\tvalue\n\tof the empty key\nempty value\t\n"[..],
        b"tabs\ta\tb\t\ncr\tx\r\n\xff\x00\t\x80\xfe\nspace \t lead\nlast\tno line feed",
    ];
    let input = &lines.concat();
    let said = place.load("tsv", input);
    assert!(said.starts_with(&format!("loaded 8 entries, {} bytes, in ", input.len())), "{said}");
    assert!(said.contains("8 inserted, 0 replaced, 0 skipped, 1 batch;"), "{said}");
    let mut lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    lines.sort_by_key(|line| line.split(|&byte| byte == b'\t').next().unwrap());
    let mut expected = lines.join(&b'\n');
    expected.push(b'\n');
    assert_eq!(place.run(&["scan"]).stdout, expected);
    assert_eq!(place.run(&["get", ""]).stdout, b"of the empty key");
    place.assert_whole();
}

#[test]
fn line_ends_of_windows_are_noticed_and_taken_off_on_request() {
    let place = Place::new();
    let kept = load(&place, &[], b"a\t1\r\nb\t2\r\n");
    assert_eq!(kept.code, 0);
    assert!(kept.stderr.contains("--crlf") && kept.stderr.lines().count() == 1, "{}", kept.stderr);
    assert_eq!(place.run(&["get", "a"]).stdout, b"1\r");
    load(&place, &["--crlf"], b"a\t1\r\nb\t2\nc\t\r\nd\t\r\r\n").ok();
    assert_eq!(place.run(&["scan"]).stdout, b"a\t1\nb\t2\nc\t\nd\t\r\n");
    load(&place, &[], b"a\t1\r\nb\t2\n").ok();
}

#[test]
fn input_comes_from_a_file_or_the_standard_input() {
    let place = Place::new();
    let file = place.file("input.tsv", b"a\t1\n");
    place.ok(&[&LOAD, &[file.to_str().unwrap()][..]].concat());
    load(&place, &["-"], b"b\t2\n").ok();
    load(&place, &[], b"c\t3\n").ok();
    assert_eq!(place.ok(&["scan"]), "a\t1\nb\t2\nc\t3\n");
    assert!(load(&place, &[], b"").ok().starts_with("loaded 0 entries, 0 bytes"));
}

#[test]
fn an_input_that_cannot_be_read_makes_no_database() {
    let place = Place::new();
    let missing = place.path("missing.tsv");
    let refused = place.refused(&[&LOAD, &[missing.to_str().unwrap()][..]].concat());
    assert!(refused.contains("missing.tsv"), "{refused}");
    let unwritable = place.path("no/such/folder/ack");
    let refused = load(&place, &["--ack", unwritable.to_str().unwrap()], b"a\t1\n").refused();
    assert!(refused.contains("no/such/folder"), "{refused}");
    assert!(!is_database(&place.db()));
}

#[test]
fn replaced_and_inserted_entries_are_told_apart() {
    let place = Place::new();
    assert!(place.load("tsv", b"a\t1\nb\t1\na\t2\n").contains("loaded 3 entries"));
    assert_eq!(place.ok(&["scan"]), "a\t2\nb\t1\n", "the later one counts");
    let said = place.load("tsv", b"b\t3\nc\t3\nd\t3\n");
    assert!(said.contains("2 inserted, 1 replaced, 0 skipped"), "{said}");
    assert_eq!(place.ok(&["scan"]), "a\t2\nb\t3\nc\t3\nd\t3\n");
}

#[test]
fn a_bad_line_is_named_and_nothing_of_its_batch_is_stored() {
    let place = Place::new();
    let acknowledged = place.path("ack");
    let arguments = ["--batch", "2", "--ack", acknowledged.to_str().unwrap()];
    let refused = load(&place, &arguments, b"a\t1\nb\t2\nc\t3\nno tab\nd\t4\n").refused();
    assert!(refused.starts_with("line 4: there is no tab"), "{refused}");
    assert!(refused.contains("--skip-bad") && refused.contains("Nothing of batch 2 was stored"), "{refused}");
    assert!(refused.contains("2 entries are stored"), "{refused}");
    assert_eq!(place.ok(&["scan"]), "a\t1\nb\t2\n");
    assert_eq!(std::fs::read(&acknowledged).unwrap(), b"1 2\n");
    assert!(load(&place, &[], b"x\t1\n\ny\t2\n").refused().starts_with("line 2: "));
    assert_eq!(place.ok(&["scan"]), "a\t1\nb\t2\n");
    place.assert_whole();
}

#[test]
fn bad_lines_are_skipped_on_request() {
    let place = Place::new();
    let mut input = b"a\t1\nno tab\nb\t2\n".to_vec();
    input.extend([&vec![b'k'; 1025][..], b"\ttoo long\n"].concat());
    input.extend(b"\n".repeat(20));
    input.extend_from_slice(b"c\t3");
    let run = load(&place, &["--skip-bad", "--batch", "2"], &input);
    assert_eq!(run.code, 0);
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(said.contains("loaded 3 entries") && said.contains("22 skipped, 2 batches"), "{said}");
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 11, "ten are named, the others counted: {lines:?}");
    assert!(lines[0].starts_with("kestrel: skipped line 2: there is no tab"), "{lines:?}");
    assert!(lines[1].starts_with("kestrel: skipped line 4: the key"), "{lines:?}");
    assert_eq!(place.ok(&["scan"]), "a\t1\nb\t2\nc\t3\n");
}

#[test]
fn a_key_too_long_for_the_pages_finds_room_in_larger_ones() {
    let place = Place::new();
    let input = [&vec![b'k'; 4000][..], b"\tv\n"].concat();
    let refused = load(&place, &[], &input).refused();
    assert!(
        refused.contains("line 1") && refused.contains("1024") && refused.contains("--page-size"),
        "{refused}"
    );
    let larger = Place::new();
    load(&larger, &["--page-size", "16K"], &input).ok();
    assert_eq!(larger.ok(&["get", &"k".repeat(4000)]), "v");
    assert!(larger.ok(&["stat", "--json"]).contains("\"page_size\":16384"));
}

#[test]
fn batches_are_acknowledged_one_by_one() {
    for durability in ["immediate", "eventual"] {
        let place = Place::new();
        let acknowledged = place.file("ack", b"before\n");
        let input: String = (0..25).map(|number| format!("{number:02}\t{number}\n")).collect();
        let arguments =
            ["--batch", "10", "--durability", durability, "--ack", acknowledged.to_str().unwrap()];
        let said = load(&place, &arguments, input.as_bytes()).ok();
        assert!(said.contains("3 batches"), "{said}");
        assert_eq!(std::fs::read(&acknowledged).unwrap(), b"before\n1 10\n2 20\n3 25\n");
        assert_eq!(place.ok(&["scan"]), input);
    }
}

#[test]
fn values_larger_than_pages_and_memory_are_stored() {
    let place = Place::new();
    let large = "v".repeat(3 << 20);
    let input: String = (0..20).map(|number| format!("{number:02}\t{number}{large}\n")).collect();
    load(&place, &["--memory", "8M", "--batch", "5"], input.as_bytes()).ok();
    assert_eq!(place.ok(&["get", "07", "--memory", "8M"]), format!("7{large}"));
    assert!(place.ok(&["scan", "--memory", "8M"]) == input);
    place.assert_whole();
}
