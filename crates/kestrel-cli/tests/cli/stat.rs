//! `stat` and `checkpoint`

use std::collections::BTreeMap;

use crate::harness::Place;

fn figures(place: &Place) -> BTreeMap<String, u64> {
    serde_json::from_str(&place.ok(&["stat", "--json"])).unwrap()
}

#[test]
fn figures_are_those_of_the_database() {
    let place = Place::new();
    place.ok(&["put", "k", "v", "--tree", "other"]);
    let input: String = (0..3000).map(|number| format!("{number:06}\t{}\n", "v".repeat(100))).collect();
    place.load("tsv", input.as_bytes());
    let figures = figures(&place);
    assert_eq!((figures["trees"], figures["entries"]), (2, 3001));
    assert_eq!((figures["page_size"], figures["max_key_len"]), (4096, 1024));
    assert_eq!(figures["data_file_bytes"], std::fs::metadata(place.path("db/kestrel.data")).unwrap().len());
    assert!((80..2000).contains(&figures["pages"]), "{figures:?}");
    assert!(figures["data_file_bytes"] - figures["data_free_bytes"] > 300_000, "{figures:?}");
    assert_eq!(figures["live_snapshots"], 0, "{figures:?}");
    assert!(figures["memory_budget"] == 256 << 20);
    let less = place.ok(&["stat", "--json", "--memory", "16M"]);
    assert!(less.contains(&format!("\"memory_budget\":{}", 16 << 20)), "{less}");
}

#[test]
fn the_table_has_the_figures_of_the_json() {
    let place = Place::new();
    place.load("tsv", b"a\t1\n");
    let table = place.ok(&["stat"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let figures = figures(&place);
    assert_eq!(lines.len(), figures.len());
    for line in lines {
        // What does not change from one opening to the next.
        if ["entries", "page_size", "data_file_bytes", "max_value_len"].contains(&line[0]) {
            assert_eq!(figures[line[0]].to_string(), line[1]);
        }
        assert!(figures.contains_key(line[0]) && line.len() > 2, "{line:?}");
    }
}

#[test]
fn a_checkpoint_leaves_nothing_to_run_again() {
    let place = Place::new();
    place.load("tsv", b"a\t1\nb\t2\n");
    let said = place.ok(&["checkpoint"]);
    assert!(said.starts_with("checkpoint in ") && said.ends_with(" bytes\n"), "{said}");
    let log_bytes = figures(&place)["log_bytes"];
    assert!(log_bytes < 4096, "{log_bytes} bytes of log are left");
    assert_eq!(place.ok(&["scan"]), "a\t1\nb\t2\n");
}
