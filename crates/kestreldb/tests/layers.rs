//! The rules of the workspace that no compiler checks, and proof that breaking them is noticed.
//!
//! 1. Crates use only what [`MAY_USE`] lists for them, in manifests and in paths: layers point one way.
//! 2. Files, threads and clocks belong to `kestrel-io`, with the exceptions in [`EXCEPTIONS`].
//! 3. `unsafe` belongs to `kestrel-pager`.
//! 4. No source file has more than 600 lines.
//! 5. `docs/architecture.md` names only files that exist.
//!
//! Comments and strings do not count, and rule 2 not for tests (`tests/`, `examples/`, `benches/`, what stands behind
//! `#[cfg(test)]`). Names hidden in macros, or made up by them, are not seen.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of the workspace each crate may use, bottom to top.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("kestrel-check", &[]),
    ("kestrel-io", &[]),
    ("kestrel-wal", &["kestrel-check", "kestrel-io"]),
    ("kestrel-pager", &["kestrel-check", "kestrel-io"]),
    ("kestrel-btree", &["kestrel-check", "kestrel-pager"]),
    ("kestrel-txn", &["kestrel-check", "kestrel-io", "kestrel-wal", "kestrel-pager", "kestrel-btree"]),
    ("kestreldb", &["kestrel-io", "kestrel-wal", "kestrel-pager", "kestrel-btree", "kestrel-txn"]),
    ("kestrel-history", &["kestrel-check", "kestreldb"]),
    ("kestrel-sim", &["kestrel-check", "kestrel-io", "kestreldb"]),
    ("kestrel-cli", &["kestrel-io", "kestreldb"]),
];

/// What only `kestrel-io` may name, and the places (by their beginnings) that may all the same.
const EXCEPTIONS: [(&str, &[&str]); 4] = [
    (
        "std::fs",
        &[
            "kestrel-io/",
            "kestrel-cli/",
            "kestrel-history/src/main.rs",
            "kestrel-sim/src/kill/",
            "kestrel-sim/src/full/",
            "kestrel-sim/src/trace/mod.rs",
        ],
    ),
    (
        "std::thread",
        &[
            "kestrel-check/",
            "kestrel-io/",
            "kestreldb/src/background",
            "kestrel-history/src/workload/",
            "kestrel-sim/src/apart.rs",
            "kestrel-sim/src/kill/",
            "kestrel-sim/src/full/",
            "kestrel-sim/src/trace/mod.rs",
        ],
    ),
    (
        "Instant",
        &[
            "kestrel-io/",
            "kestrel-cli/",
            "kestrel-history/src/main.rs",
            "kestrel-sim/src/exhaustive/",
            "kestrel-sim/src/kill/",
            "kestrel-sim/src/trace/mod.rs",
        ],
    ),
    ("SystemTime", &["kestrel-io/"]),
];

const UNSAFE_CRATE: &str = "kestrel-pager/";
const LINES_MAX: usize = 600;

/// The crates, by paths from `crates/` on.
#[derive(Default)]
struct Workspace {
    /// By crate.
    manifests: BTreeMap<String, String>,
    /// Rust files by path, with `/` between the parts.
    sources: BTreeMap<String, String>,
}

impl Workspace {
    fn read(crates: &Path) -> Workspace {
        let mut workspace = Workspace::default();
        let mut folders = vec![crates.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name: Vec<_> =
                    path.strip_prefix(crates).unwrap().iter().map(|p| p.to_str().unwrap()).collect();
                if path.is_dir() {
                    folders.push(path.clone());
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    workspace.sources.insert(name.join("/"), fs::read_to_string(&path).unwrap());
                } else if let [krate, "Cargo.toml"] = name[..] {
                    workspace.manifests.insert(krate.to_owned(), fs::read_to_string(&path).unwrap());
                }
            }
        }
        workspace
    }

    /// Every broken rule, in words.
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (krate, manifest) in &self.manifests {
            if may_use(krate).is_none() {
                found.push(format!("{krate}: has no place in the order of the layers"));
            }
            for dependency in dependencies(manifest) {
                if !is_allowed(krate, &dependency) {
                    found.push(format!("{krate}/Cargo.toml: depends on {dependency}"));
                }
            }
        }
        let tokens: BTreeMap<&str, Vec<Token>> =
            self.sources.iter().map(|(path, text)| (path.as_str(), tokens(text))).collect();
        let tests: BTreeSet<String> =
            tokens.iter().flat_map(|(path, tokens)| test_modules(path, tokens)).collect();
        for (path, text) in &self.sources {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                found.push(format!("{path}: has {lines} lines"));
            }
            let tokens = &tokens[path.as_str()];
            self.check_names(path, tokens, &mut found);
            if !is_test(path, &tests) {
                check_surroundings(path, &without_tests(tokens), &mut found);
            }
        }
        found
    }

    fn check_names(&self, path: &str, tokens: &[Token], found: &mut Vec<String>) {
        let krate = path.split('/').next().unwrap_or_default();
        for token in tokens {
            let other = token.text.replace('_', "-");
            if self.manifests.contains_key(&other) && other != krate && !is_allowed(krate, &other) {
                found.push(format!("{path}:{}: names {other}", token.line));
            }
            if token.text == "unsafe" && !path.starts_with(UNSAFE_CRATE) {
                found.push(format!("{path}:{}: is unsafe", token.line));
            }
        }
    }
}

fn may_use(krate: &str) -> Option<&'static [&'static str]> {
    MAY_USE.iter().find(|(name, _)| *name == krate).map(|(_, may)| *may)
}

fn is_allowed(krate: &str, other: &str) -> bool {
    may_use(krate).is_some_and(|may| may.contains(&other))
}

/// Rule 2 for code that is no test.
fn check_surroundings(path: &str, tokens: &[Token], found: &mut Vec<String>) {
    let may = |what: &str| {
        let places = EXCEPTIONS.iter().find(|(name, _)| *name == what).map(|(_, places)| *places);
        places.is_none_or(|places| places.iter().any(|place| path.starts_with(place)))
    };
    let mut report = |line: usize, what: &str| {
        if !may(what) {
            found.push(format!("{path}:{line}: uses {what}"));
        }
    };
    for (at, token) in tokens.iter().enumerate() {
        report(token.line, &token.text);
        if token.text == "std" && tokens.get(at + 1).is_some_and(|next| next.text == "::") {
            // To let other threads go first is not to own one.
            let yields = tokens[at..].iter().map(|token| token.text.as_str()).take(5);
            if yields.eq(["std", "::", "thread", "::", "yield_now"]) {
                continue;
            }
            for name in names_behind(&tokens[at + 2..]) {
                report(name.line, &format!("std::{}", name.text));
            }
        }
    }
}

/// The first names behind `std::`: one, or those of a group in braces.
fn names_behind(tokens: &[Token]) -> Vec<&Token> {
    if tokens.first().is_none_or(|first| first.text != "{") {
        return tokens.first().into_iter().collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    let mut expected = false;
    for token in tokens {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && expected => names.push(token),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        expected = depth == 1 && matches!(token.text.as_str(), "{" | ",");
    }
    names
}

/// The workspace's crates among the dependencies of a manifest, of all kinds and targets.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            // [dependencies.name]
            if let Some((kind, name)) = section.rsplit_once('.')
                && kind.ends_with("dependencies")
                && name.starts_with("kestrel")
            {
                found.push(name.to_owned());
            }
            continue;
        }
        // Also a dependency under another name has its own name on the line.
        if inside && !line.starts_with('#') {
            let mut names = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
            let first = names.find(|name| name.starts_with("kestrel"));
            found.extend(first.map(|name| name.replace('_', "-")));
        }
    }
    found
}

/// Whether a file is a test as a whole.
fn is_test(path: &str, tests: &BTreeSet<String>) -> bool {
    let mut folders = path.split('/').skip(1);
    matches!(folders.next(), Some("tests" | "examples" | "benches"))
        || tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")))
}

/// The modules that a file declares for tests only, each as its path without `.rs`.
fn test_modules(path: &str, tokens: &[Token]) -> Vec<String> {
    let mut folder = PathBuf::from(path);
    let stem = folder.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    folder.pop();
    if !matches!(stem.as_str(), "lib" | "main" | "mod") {
        folder.push(stem);
    }
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let Some(item) = behind_test_attribute(tokens, at) else { continue };
        let names: Vec<&str> = tokens[item..].iter().take(3).map(|token| token.text.as_str()).collect();
        if let ["mod", name, ";"] = names[..] {
            found.push(format!("{}/{name}", folder.display()));
        }
    }
    found
}

/// The tokens without the items that are compiled for tests only.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match behind_test_attribute(tokens, at) {
            Some(item) => at = behind_item(tokens, item),
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// If `#[cfg(test)]` or the like is at a place: where the item begins that it stands before.
fn behind_test_attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let mut end = behind_attribute(tokens, at)?;
    let inside: Vec<&str> = tokens[at..end].iter().map(|token| token.text.as_str()).collect();
    if inside.get(2) != Some(&"cfg") || !inside.contains(&"test") || inside.contains(&"not") {
        return None;
    }
    while let Some(next) = behind_attribute(tokens, end) {
        end = next;
    }
    Some(end)
}

fn behind_attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    if (text(at), text(at + 1)) != (Some("#"), Some("[")) {
        return None;
    }
    let close = (at + 2..tokens.len()).find(|&close| depth_at(&tokens[at + 1..=close]) == 0)?;
    Some(close + 1)
}

fn depth_at(tokens: &[Token]) -> i32 {
    tokens.iter().map(Token::depth).sum()
}

/// An item ends with its first block, or with a semicolon before.
fn behind_item(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        depth += token.depth();
        if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
            return at + 1;
        }
    }
    tokens.len()
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn depth(&self) -> i32 {
        match self.text.as_str() {
            "(" | "[" | "{" => 1,
            ")" | "]" | "}" => -1,
            _ => 0,
        }
    }
}

/// Words, `::` and single signs; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let skipped = comment_len(rest).or_else(|| literal_len(rest));
        let len = match skipped {
            Some(len) => len,
            None if word > 0 => word,
            None if rest.starts_with("::") => 2,
            None => first.len_utf8(),
        };
        let (piece, behind) = rest.split_at(len);
        if skipped.is_none() && !first.is_whitespace() {
            found.push(Token { text: piece.to_owned(), line });
        }
        line += piece.matches('\n').count();
        rest = behind;
    }
    found
}

fn comment_len(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// The length of the string or character that the text begins with. A lifetime is none.
fn literal_len(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let quoted = text.strip_prefix(prefix).map(|rest| rest.trim_start_matches('#'));
        quoted.is_some_and(|rest| rest.starts_with('"')) || (*prefix == "b" && text.starts_with("b'"))
    });
    let prefix = prefix.unwrap_or_default();
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    let opened = prefix.len() + hashes + 1;
    if prefix.ends_with('r') && body[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(text[opened..].find(&end).map_or(text.len(), |at| opened + at + end.len()));
    }
    let quote = body.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let mut characters = text[opened..].char_indices();
    let mut first = true;
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
                if quote == '\'' {
                    // The rest of an escape has no quotes.
                    return Some(
                        text[opened + at + 2..].find('\'').map_or(text.len(), |end| opened + at + end + 3),
                    );
                }
            }
            _ if character == quote => return Some(opened + at + 1),
            _ if quote == '\'' && !first => return None,
            _ => {}
        }
        first = false;
    }
    Some(text.len())
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_workspace_keeps_the_rules() {
    let workspace = Workspace::read(&project().join("crates"));
    assert!(workspace.sources.len() > 50 && workspace.manifests.len() == MAY_USE.len(), "not all was read");
    let violations = workspace.violations();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn the_map_names_only_what_exists() {
    let map = fs::read_to_string(project().join("docs/architecture.md")).unwrap();
    let quoted = map.split('`').skip(1).step_by(2);
    let paths: Vec<&str> =
        quoted.filter(|name| name.contains('/') && !name.contains(char::is_whitespace)).collect();
    let missing: Vec<&&str> = paths.iter().filter(|path| !project().join(path).exists()).collect();
    assert!(
        paths.len() > 50 && missing.is_empty(),
        "of {} paths these do not exist: {missing:?}",
        paths.len()
    );
}

/// What is found in a workspace of all crates, with one file more.
fn planted(path: &str, text: &str) -> Vec<String> {
    let mut workspace = Workspace::default();
    for (krate, _) in MAY_USE {
        workspace.manifests.insert(krate.to_owned(), String::new());
    }
    workspace
        .sources
        .insert("kestrel-btree/src/lib.rs".to_owned(), "#[cfg(test)]\nmod toy;\nmod put;".to_owned());
    if path.ends_with(".toml") {
        workspace.manifests.insert(path.split('/').next().unwrap().to_owned(), text.to_owned());
    } else {
        workspace.sources.insert(path.to_owned(), text.to_owned());
    }
    workspace.violations()
}

#[test]
fn upward_and_sideways_dependencies_are_found() {
    for section in
        ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
    {
        let manifest = format!("[package]\nname = \"x\"\n\n[{section}]\nkestrel-pager.workspace = true\n");
        assert_eq!(
            planted("kestrel-wal/Cargo.toml", &manifest),
            ["kestrel-wal/Cargo.toml: depends on kestrel-pager"]
        );
        assert!(planted("kestrel-btree/Cargo.toml", &manifest).is_empty());
    }
    let renamed =
        "[dependencies]\ntop = { package = \"kestreldb\", path = \"..\" }\n[dependencies.kestrel-txn]\n";
    assert_eq!(
        planted("kestrel-io/Cargo.toml", renamed),
        ["kestrel-io/Cargo.toml: depends on kestreldb", "kestrel-io/Cargo.toml: depends on kestrel-txn"]
    );
    assert_eq!(
        planted("kestrel-new/Cargo.toml", ""),
        ["kestrel-new: has no place in the order of the layers"]
    );
    assert!(planted("kestrel-io/Cargo.toml", "[dependencies]\n# kestreldb\nbytes = \"1\"\n").is_empty());
}

#[test]
fn upward_names_are_found() {
    let found = |text| planted("kestrel-pager/src/a.rs", text);
    assert_eq!(found("use kestrel_txn::Engine;"), ["kestrel-pager/src/a.rs:1: names kestrel-txn"]);
    assert_eq!(found("fn f() {\n    kestrel_wal\n::x()\n}"), ["kestrel-pager/src/a.rs:2: names kestrel-wal"]);
    assert_eq!(found("#[cfg(test)]\nuse kestreldb::Database;").len(), 1, "tests look down only, too");
    for harmless in [
        "use kestrel_io::Storage;",
        "use kestrel_pager::Pager;",
        "// kestrel_txn",
        "const A: &str = \"kestrel_txn\";",
    ] {
        assert_eq!(found(harmless), Vec::<String>::new(), "{harmless}");
    }
}

#[test]
fn files_threads_and_clocks_are_found() {
    let found = |text| planted("kestrel-txn/src/a.rs", text).len();
    for bad in [
        "use std::fs::File;",
        "use std::{io, fs, sync::Arc};",
        "use std::{sync::{Arc, Mutex}, thread::{self, JoinHandle}};",
        "fn f() { std :: thread::sleep(d) }",
        "fn f() -> u64 { std::time::Instant::now() }",
        "use std::time::{Duration, SystemTime};",
        "#[cfg(not(test))]\nuse std::thread;",
        "#[cfg(test)]\nfn t(a: [u8; 4]) {}\nuse std::thread;",
        "fn f<'a>(c: &'a char) { let x = ('\\'', '\"', b'\\\\'); std::thread::park(); }",
        "/* /* nested */ */ use std::thread; // \"",
        "const R: &str = r#\"quote \" inside\"#; use std::thread;",
    ] {
        assert_eq!(found(bad), 1, "{bad}");
    }
    for good in [
        "use std::io;",
        "use std::{io, fmt::{self, thread}};",
        "// std::thread\n/// std::fs\n",
        "const A: &str = \"std::thread\";",
        "const A: &[u8] = br##\"std::\"#thread std::thread\"##;",
        "#[cfg(test)]\nmod tests {\n    use std::thread;\n    fn f() {}\n}",
        "#[cfg(all(test, unix))]\n#[allow(dead_code)]\nuse std::{thread, fs};",
        "fn f() { let fs = 1; thread(fs) }",
        "fn f() { std::thread::yield_now() }",
    ] {
        assert_eq!(found(good), 0, "{good}");
    }
}

#[test]
fn exceptions_and_tests_are_left_alone() {
    let thread = "use std::thread;";
    for exempt in [
        "kestrel-io/src/a.rs",
        "kestreldb/src/background.rs",
        "kestreldb/tests/a.rs",
        "kestreldb/examples/a.rs",
        "kestrel-btree/src/toy.rs",
        "kestrel-btree/src/toy/deeper.rs",
    ] {
        assert!(planted(exempt, thread).is_empty(), "{exempt}");
    }
    for caught in ["kestreldb/src/database.rs", "kestrel-btree/src/put.rs", "kestrel-cli/src/main.rs"] {
        assert_eq!(planted(caught, thread), [format!("{caught}:1: uses std::thread")]);
    }
}

#[test]
fn unsafe_and_long_files_are_found() {
    assert_eq!(planted("kestrel-io/tests/a.rs", "unsafe fn f() {}"), ["kestrel-io/tests/a.rs:1: is unsafe"]);
    assert!(planted("kestrel-pager/src/a.rs", "unsafe fn f() {}").is_empty());
    assert!(planted("kestrel-io/src/a.rs", "#![deny(unsafe_code)] // unsafe").is_empty());
    assert!(planted("kestrel-io/src/a.rs", &"\n".repeat(LINES_MAX)).is_empty());
    let long = planted("kestrel-io/src/a.rs", &"\n".repeat(LINES_MAX + 1));
    assert_eq!(long, ["kestrel-io/src/a.rs: has 601 lines"]);
}
