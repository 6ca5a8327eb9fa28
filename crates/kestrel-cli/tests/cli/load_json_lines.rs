//! `load --format jsonl`

use crate::harness::{Place, Run};

fn load(place: &Place, more: &[&str], input: &[u8]) -> Run {
    place.run_with_input(&[&["load", "--tree", "t", "--format", "jsonl"], more].concat(), input)
}

#[test]
fn objects_are_entries() {
    let place = Place::new();
    let input = concat!(
        r#"{"key":"text","value":"größe \"q\" \u0041\n"}"#,
        "\r\n\n   \n",
        r#"{"value":{"a": [1, 2.50]},"key":7}"#,
        "\n",
        r#"{"key":"","value":""}"#,
        "\n",
        r#"{"key_base64":"//4=","value_base64":"AAE="}"#,
        "\n",
        r#"{"key":"null","value":null}"#,
    );
    let said = load(&place, &[], input.as_bytes()).ok();
    assert!(said.contains("loaded 5 entries"), "{said}");
    assert_eq!(place.ok(&["get", "text"]), "größe \"q\" A\n");
    assert_eq!(place.ok(&["get", "7"]), r#"{"a": [1, 2.50]}"#, "as it is written");
    assert_eq!(place.ok(&["get", ""]), "");
    assert_eq!(place.ok(&["get", "null"]), "null");
    assert_eq!(place.run(&["get", "-e", r"\xff\xfe"]).stdout, b"\0\x01");
}

#[test]
fn the_key_is_made_of_fields_and_the_value_is_the_line() {
    let place = Place::new();
    let lines = [
        r#"{ "site": "b", "time": 20, "ok": true, "page": "/x" }"#,
        r#"{"time":3,"site":"a","ok":false}"#,
        r#"{"time":3.50,"site":"a b","ok":false}"#,
    ];
    let input = lines.join("\r\n");
    load(&place, &["--key", "site,time,ok"], input.as_bytes()).ok();
    assert_eq!(place.scan(&["--keys"]), ["a 3 false", "a b 3.50 false", "b 20 true"]);
    assert_eq!(place.ok(&["get", "b 20 true"]), lines[0]);
    assert_eq!(place.ok(&["get", "a b 3.50 false"]), lines[2]);
    let other = Place::new();
    load(&other, &["--key", "time", "--key", "site", "--separator", r"\0\t"], input.as_bytes()).ok();
    assert_eq!(other.ok(&["get", "-e", r"20\0\tb"]), lines[0]);
}

#[test]
fn bad_lines_are_named() {
    for (keys, line, why) in [
        ("", "{", "no JSON object"),
        ("", "[1]", "no JSON object"),
        ("", r#"{"key":"a"}"#, "there is no field \"value\""),
        ("", r#"{"key":"a","value":"b","time":1}"#, "the field \"time\" would be lost"),
        ("", r#"{"key_base64":"!","value":"b"}"#, "no Base64"),
        ("id", r#"{"key":"a","value":"b"}"#, "there is no field \"id\""),
        ("id", r#"{"id":null}"#, "the field \"id\" is null"),
        ("id", r#"{"id":{"a":1}}"#, "the field \"id\" is no text"),
    ] {
        let place = Place::new();
        let arguments: &[&str] = if keys.is_empty() { &[] } else { &["--key", keys] };
        let good = r#"{"key":"good","value":"1"}"#;
        let good = if keys.is_empty() { good } else { r#"{"id":"good"}"# };
        let input = format!("{good}\n\n{line}\n{good}\n");
        let refused = load(&place, arguments, input.as_bytes()).refused();
        assert!(refused.starts_with("line 3: ") && refused.contains(why), "{line}: {refused}");
        assert_eq!(place.ok(&["scan", "--tree", "t"]), "", "nothing of the batch is stored");
        let skipped = load(&place, &[arguments, &["--skip-bad"]].concat(), input.as_bytes());
        assert_eq!(skipped.code, 0);
        assert!(skipped.stderr.contains("skipped line 3"), "{}", skipped.stderr);
        assert_eq!(place.scan(&["--count"]), ["1"]);
    }
    let place = Place::new();
    let refused = load(&place, &[], b"{\"key\":\"\xff\",\"value\":\"\"}").refused();
    assert!(refused.starts_with("line 1: no JSON object"), "{refused}");
}

#[test]
fn what_scan_prints_loads_again_whatever_the_bytes() {
    let place = Place::new();
    let mut random = crate::random::Random(7);
    let every: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
    let mut input = Vec::new();
    for alphabet in [&b"ab\"\\\r\x01\x7f "[..], "äö\u{2028}".as_bytes(), &every] {
        for _ in 0..300 {
            let (key_len, value_len) = (random.below(20), random.below(300));
            let mut key = random.bytes(key_len, alphabet);
            key.retain(|&byte| byte != b'\t');
            input.extend([&key, &b"\t"[..], &random.bytes(value_len, alphabet), b"\n"].concat());
        }
    }
    place.load("tsv", &input);
    place.run_with_input(&["load", "--format", "tsv"], b"").ok();
    place.ok(&["put", "-e", r"line\nfeed\tand tab", r"a\nb"]);
    let printed = place.ok(&["scan", "--json"]);
    let copy = Place::new();
    load(&copy, &[], printed.as_bytes()).ok();
    assert_eq!(copy.run(&["scan"]).stdout, place.run(&["scan"]).stdout);
    assert_eq!(copy.ok(&["scan", "--json", "--reverse"]), place.ok(&["scan", "--json", "--reverse"]));
    assert_eq!(copy.ok(&["get", "-e", r"line\nfeed\tand tab"]), "a\nb");
}
