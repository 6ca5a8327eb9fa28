//! Writes the seeds that are made rather than found: `cargo run --no-default-features --bin seeds`, in `fuzz/`.
//!
//! The files are programs for the targets, and the same each time. Their names say what they are for. Seeds that a fuzzer found
//! (`covers-*`, and those named for what went wrong) are left alone.
#![allow(clippy::unwrap_used, reason = "a command for developers")]

use std::fs;
use std::path::Path;

/// The counterpart of `kestrel_fuzz::input::Input`: what it writes is read back as the same numbers.
#[derive(Clone, Default)]
struct Program(Vec<u8>);

impl Program {
    fn bytes(mut self, bytes: &[u8]) -> Program {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A number that is read with `below` a bound of more than 256.
    fn word(self, number: u32) -> Program {
        self.bytes(&number.to_le_bytes())
    }
}

fn write(target: &str, name: &str, program: &Program) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("made-{name}")), &program.0).unwrap();
}

/// Bytes written over others at a place of one file, and whether all checksums are made right after it. Template, number of
/// the file in the order of names, place.
fn overwrite(template: u8, file: u8, at: u32, new: &[u8], forged: bool) -> Program {
    // One edit, of the kind that overwrites, at a place in the first 4 KiB.
    let edit = Program::default().bytes(&[template, 1, file, 5, 0]).word(at);
    edit.bytes(&[new.len() as u8]).bytes(new).bytes(&[1]).bytes(&[u8::from(!forged), 1])
}

/// The fields of `docs/file-format.md`, each with lies that fit it.
fn fields(target: &str, file: u8, fields: &[(&str, u32, usize)]) {
    for template in 0..3 {
        for &(name, at, len) in fields {
            for (lie, byte) in [("all-ones", 0xFF), ("nothing", 0)] {
                for (hand, forged) in [("forged", true), ("damaged", false)] {
                    let program = overwrite(template, file, at, &vec![byte; len], forged);
                    write(target, &format!("{name}-{lie}-{hand}-{template}"), &program);
                }
            }
        }
    }
}

const SUPERBLOCK: [(&str, u32, usize); 8] = [
    ("page-size", 12, 4),
    ("number", 32, 8),
    ("lsn", 40, 8),
    ("timestamp", 48, 8),
    ("root-sector", 56, 8),
    ("root-length", 64, 8),
    ("root-checksum", 72, 4),
    ("next-page", 76, 4),
];

const SEGMENT: [(&str, u32, usize); 8] = [
    ("incarnation", 12, 4),
    ("base", 32, 8),
    ("segment-size", 40, 8),
    ("record-length", 68, 4),
    ("record-lsn", 72, 8),
    ("record-kind", 80, 1),
    ("record-incarnation", 84, 4),
    ("record-durable", 88, 8),
];

/// Steps of `recovery`. A commit: durability, kind of changes, seed, tree, whether a tree is dropped.
fn commit(program: Program, immediate: bool, changes: &[u8], seed: u16) -> Program {
    let program = program.bytes(&[5, u8::from(!immediate)]).bytes(changes);
    program.bytes(&seed.to_le_bytes()).bytes(&[0, 1])
}

fn recovery() {
    const SMALL: &[u8] = &[3, 2];
    const LARGE: &[u8] = &[1];
    const MANY: &[u8] = &[0, 50];
    const FLUSH: u8 = 2;
    const CHECKPOINT: u8 = 3;
    let start = || Program::default().bytes(&[1]);
    for (name, changes) in [("small", SMALL), ("large", LARGE), ("many", MANY)] {
        for (after, step) in [("flushed", FLUSH), ("checkpointed", CHECKPOINT)] {
            for crash in 0..4 {
                for depth in 0..3 {
                    let program =
                        commit(commit(start(), true, changes, 7), false, changes, 1234).bytes(&[step]);
                    let program = commit(program, false, SMALL, 77).bytes(&[0, crash]);
                    let program = if crash == 2 { program.word(5) } else { program };
                    // Not damaged, and recovery is interrupted after some operations.
                    let mut program = program.bytes(&[1, depth]);
                    for _ in 0..depth {
                        program = program.bytes(&[0, 5, 1]);
                    }
                    write(
                        "recovery",
                        &format!("{name}-{after}-crash-{crash}-depth-{depth}"),
                        &commit(program, true, SMALL, 3),
                    );
                }
            }
        }
    }
    for (name, file) in [("data", 0), ("log", 1)] {
        for at in [0, 40, 70, 4096 - 1] {
            let program = commit(commit(start(), true, SMALL, 7), true, LARGE, 9).bytes(&[0, 1, 0]);
            // One burst of flipped bits, no forged checksum, no interruption.
            let program = program.bytes(&[1, file, 5, 0]).word(at).bytes(&[1, 0xFF, 0, 1, 0]);
            write("recovery", &format!("flipped-{name}-{at}"), &program);
        }
    }
}

/// Steps of `transactions`: the schedules that the isolation levels are known by, on two keys of one tree.
fn transactions() {
    let begin = |snapshot: bool| vec![0, u8::from(!snapshot), 1];
    let get = |writer: u8, key: u8| vec![20, writer, 0, 40, 15, key];
    let put = |writer: u8, key: u8, fill: u8| vec![20, writer, 0, 20, key, 5, 3, fill];
    let delete = |writer: u8, key: u8| vec![20, writer, 0, 12, key];
    let scan = |writer: u8| vec![20, writer, 0, 40, 4, 0, 0];
    let next = |writer: u8, back: bool| vec![20, writer, 0, 40, 6, 0, u8::from(!back)];
    let commit = |writer: u8| vec![3, writer, 1];
    for snapshot in [false, true] {
        let level = if snapshot { "snapshot" } else { "serializable" };
        let two = [begin(snapshot), put(0, 1, 1), put(0, 2, 2), commit(0), begin(snapshot), begin(snapshot)]
            .concat();
        let schedules: [(&str, Vec<Vec<u8>>); 6] = [
            ("lost-update", vec![get(0, 1), get(1, 1), put(0, 1, 9), put(1, 1, 8), commit(0), commit(0)]),
            (
                "write-skew",
                vec![
                    get(0, 1),
                    get(0, 2),
                    get(1, 1),
                    get(1, 2),
                    put(0, 1, 9),
                    put(1, 2, 8),
                    commit(0),
                    commit(0),
                ],
            ),
            (
                "phantom",
                vec![
                    scan(0),
                    next(0, false),
                    next(0, false),
                    next(0, false),
                    put(1, 7, 8),
                    commit(1),
                    put(0, 1, 3),
                    commit(0),
                ],
            ),
            ("half-a-scan", vec![scan(0), next(0, false), put(1, 2, 8), commit(1), put(0, 9, 3), commit(0)]),
            (
                "half-a-scan-backwards",
                vec![scan(0), next(0, true), put(1, 1, 8), commit(1), put(0, 9, 3), commit(0)],
            ),
            ("absent-key", vec![delete(0, 5), put(1, 5, 8), commit(1), put(0, 9, 3), commit(0)]),
        ];
        for (name, steps) in schedules {
            let program = Program::default().bytes(&[0]).bytes(&two).bytes(&steps.concat());
            write("transactions", &format!("{name}-{level}"), &program);
        }
    }
}

fn main() {
    fields("open_directory", 0, &SUPERBLOCK);
    fields("open_database", 0, &SUPERBLOCK);
    fields("open_database", 2, &SEGMENT);
    fields("log_replay", 0, &SEGMENT);
    recovery();
    transactions();
}
