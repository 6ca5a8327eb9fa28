//! `scan`, compared with sorting the same input.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::harness::Place;
use crate::random::Random;

/// A database and what is in it. The keys share prefixes, and some have bytes that are no text.
fn filled(entries: u64) -> (Place, BTreeMap<Vec<u8>, Vec<u8>>) {
    let place = Place::new();
    let mut random = Random(entries);
    let mut model = BTreeMap::new();
    let mut input = Vec::new();
    for number in 0..entries {
        let len = random.below(8);
        let key = random.bytes(len, b"ab-\x7f\xfe\xff");
        let value = format!("{number}").into_bytes();
        input.extend([&key[..], b"\t", &value, b"\n"].concat());
        model.insert(key, value);
    }
    place.load("tsv", &input);
    (place, model)
}

fn text<'m>(entries: impl Iterator<Item = (&'m Vec<u8>, &'m Vec<u8>)>) -> Vec<u8> {
    entries.flat_map(|(key, value)| [key, &b"\t"[..], value, b"\n"].concat()).collect()
}

#[test]
fn ranges_are_those_of_a_sorted_list() {
    let (place, model) = filled(5000);
    assert_eq!(place.run(&["scan"]).stdout, text(model.iter()));
    assert_eq!(place.run(&["scan", "--reverse"]).stdout, text(model.iter().rev()));
    let keys = text(model.iter()).split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(keys.len(), model.len() + 1);
    for escaped in ["", "a", "ab", "-", r"\xff", r"\xfe\xff", r"\xff\xff", "b-b", "nothing", r"\x7f\xffa"] {
        let prefix = unescaped(escaped);
        let matching = || model.iter().filter(|(key, _)| key.starts_with(&prefix));
        let run = |more: &[&str]| place.run(&[&["scan", "-e", "--prefix", escaped], more].concat()).stdout;
        assert_eq!(run(&[]), text(matching()), "{escaped}");
        assert_eq!(run(&["--reverse"]), text(matching().rev()), "{escaped}");
        assert_eq!(run(&["--limit", "3"]), text(matching().take(3)), "{escaped}");
        assert_eq!(run(&["-r", "-n", "3"]), text(matching().rev().take(3)), "{escaped}");
        let count = matching().count();
        assert_eq!(run(&["--count"]), format!("{count}\n").into_bytes(), "{escaped}");
        assert_eq!(run(&["--count", "--limit", "7"]), format!("{}\n", count.min(7)).into_bytes());
    }
    for (from, to) in
        [("a", "b"), ("", "a"), ("ab", "ab"), ("b", "a"), (r"a\xff", r"b\xfe"), ("a", ""), (r"\xff\xff", "")]
    {
        let (low, high) = (unescaped(from), unescaped(to));
        let run = |arguments: &[&str]| place.run(&[&["scan", "-e"], arguments].concat()).stdout;
        let between = || model.iter().filter(|(key, _)| **key >= low && **key < high);
        assert_eq!(run(&["--from", from, "--to", to]), text(between()), "{from} to {to}");
        assert_eq!(run(&["--from", from, "--to", to, "-r"]), text(between().rev()), "{from} to {to}");
        assert_eq!(run(&["--from", from]), text(model.iter().filter(|(key, _)| **key >= low)), "from {from}");
        assert_eq!(
            run(&["--to", to, "-r"]),
            text(model.iter().filter(|(key, _)| **key < high).rev()),
            "to {to}"
        );
        let count = between().count();
        assert_eq!(run(&["--from", from, "--to", to, "--count"]), format!("{count}\n").into_bytes());
    }
}

/// Only the escapes that are used here.
fn unescaped(text: &str) -> Vec<u8> {
    let mut pieces = text.split(r"\x");
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    bytes
}

#[test]
fn keys_and_limits_print_no_more_than_that() {
    let place = Place::new();
    place.load("tsv", b"a\t1\nb\t2\nc\t3\n");
    assert_eq!(place.ok(&["scan", "--keys"]), "a\nb\nc\n");
    assert_eq!(
        place.ok(&["scan", "--keys", "--json", "-r"]),
        "{\"key\":\"c\"}\n{\"key\":\"b\"}\n{\"key\":\"a\"}\n"
    );
    assert_eq!(place.ok(&["scan", "--limit", "0"]), "");
    assert_eq!(place.ok(&["scan", "--limit", "2"]), "a\t1\nb\t2\n");
    assert_eq!(place.ok(&["scan", "--count"]), "3\n");
    assert_eq!(place.ok(&["scan", "--count", "--limit", "2"]), "2\n");
    assert_eq!(place.ok(&["scan", "--json", "-n", "1"]), "{\"key\":\"a\",\"value\":\"1\"}\n");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let place = Place::new();
    let input: String = (0..50_000).map(|number| format!("{number:08}\tvalue {number}\n")).collect();
    place.load("tsv", input.as_bytes());
    for format in [&["scan"][..], &["scan", "--json"], &["scan", "--keys", "--reverse"]] {
        let mut command = place.command(format);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("00000000") || first.contains("00049999"), "{first}");
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{format:?}");
    }
    place.assert_whole();
}
