//! All interleavings of small transactions over two keys, each outcome held against an oracle that knows the rules and not
//! the engine (`oracle.rs`). At both levels, with the two keys on one leaf and on different leaves, there at the start or not.
//!
//! Eight operations make 512 programs of three operations, 22,500,864 sets of three programs, and 34,650 orders
//! of the twelve steps of each set: too many. What is run:
//!
//! - exhaustively, every set of three programs of one operation, and every pair of programs of two: a conflict is
//!   between two transactions;
//! - all orders of those sets of three programs of three operations that are listed here, and of some more, picked
//!   by number;
//! - a hundredth of the pairs of programs of three operations, and with `KESTREL_LONG=1` all of them, and many more sets of
//!   three;
//! - pairs of programs at different levels: each keeps the rules of its own.
#![allow(clippy::unwrap_used)]

mod oracle;
mod program;
mod run;

use kestrel_txn::Isolation;
use program::{Program, interleavings};
use run::{Counts, LAYOUTS, Layout, World};

/// Each of which meets something that the others do not: lost updates, write skew, phantoms, absent keys, half scans, own
/// writes, read transactions.
const SETS: [[&str; 3]; 8] = [
    ["r1 w1 r1", "r1 w1 h", "r1 r2 w1"],
    ["r1 r2 w1", "r1 r2 w2", "s w1 w2"],
    ["s w1 s", "h w2 r1", "d1 w2 s"],
    ["h w1 h", "d2 h w1", "r1 w1 w2"],
    ["d1 d2 s", "w1 w2 h", "r2 h w1"],
    ["r1 w2 s", "r2 w1 d2", "ro: s r1 h"],
    ["w1 d1 r2", "s d2 w2", "ro: h r2 s"],
    ["s r1 r2", "w1 d2 w2", "r2 d1 w2"],
];

const LEVELS: [Isolation; 2] = [Isolation::Snapshot, Isolation::Serializable];
const STARTS: [[bool; 2]; 4] = [[true, true], [true, false], [false, true], [false, false]];

fn long() -> bool {
    std::env::var_os("KESTREL_LONG").is_some()
}

/// What happened at the two levels.
#[derive(Default)]
struct Totals([Counts; 2]);

impl Totals {
    /// Runs all interleavings of each set, from each start, at both levels.
    fn run(&mut self, sets: &[Vec<Program>], starts: &[[bool; 2]], layout: Layout) {
        for (level, total) in LEVELS.into_iter().zip(&mut self.0) {
            // An engine for some of them at a time: nothing trims the log here.
            for sets in sets.chunks((100_000 / orders(&sets[0])).max(1)) {
                let mut world = World::new(layout);
                for set in sets {
                    for &start in starts {
                        interleavings(set, |order| world.run(set, &[level; 3], start, order));
                    }
                }
                world.verify();
                total.add(world.counts());
            }
        }
    }

    /// Prints the counts; asserts that so many schedules ran at each level, and that what should happen now and then did.
    fn conclude(&self, what: &str, schedules: usize) {
        let [snapshot, serializable] = self.0;
        println!("{what}\n  snapshot {snapshot:?}\n  serializable {serializable:?}");
        for counts in self.0 {
            assert_eq!(counts.schedules, schedules as u64);
            assert!(counts.commits > 0 && counts.conflicts > 0);
        }
        assert!(snapshot.replays + serializable.replays > 0);
        assert_eq!(serializable.skewed, 0);
        assert!(serializable.conflicts >= snapshot.conflicts);
    }

    /// Asserts that some schedules had outcomes that only the serializable level refuses.
    fn tell_the_levels_apart(&self) {
        let [snapshot, serializable] = self.0;
        assert!(snapshot.skewed > 0 && serializable.conflicts > snapshot.conflicts);
    }
}

fn orders(set: &[Program]) -> usize {
    let mut count = 0;
    interleavings(set, |_| count += 1);
    count
}

/// All sets of `count` programs of `len` operations, without regard to order.
fn all_sets(count: usize, len: u32) -> Vec<Vec<Program>> {
    let programs: Vec<Program> = Program::all(len).collect();
    let mut sets: Vec<(usize, Vec<Program>)> = vec![(0, Vec::new())];
    for _ in 0..count {
        sets = sets
            .into_iter()
            .flat_map(|(least, set)| {
                let programs = &programs;
                (least..programs.len())
                    .map(move |next| (next, [&set[..], &programs[next..=next]].concat()))
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    sets.into_iter().map(|(_, set)| set).collect()
}

#[test]
fn every_three_programs_of_one_operation() {
    let sets = all_sets(3, 1);
    assert_eq!((sets.len(), orders(&sets[0])), (120, 90));
    let mut totals = Totals::default();
    for layout in LAYOUTS {
        totals.run(&sets, &STARTS, layout);
    }
    totals.conclude("three of one", 120 * 90 * STARTS.len() * LAYOUTS.len());
}

#[test]
fn every_two_programs_of_two_operations() {
    let sets = all_sets(2, 2);
    assert_eq!((sets.len(), orders(&sets[0])), (2080, 20));
    let mut totals = Totals::default();
    for layout in LAYOUTS {
        totals.run(&sets, &STARTS, layout);
    }
    totals.conclude("two of two", 2080 * 20 * STARTS.len() * LAYOUTS.len());
    totals.tell_the_levels_apart();
}

#[test]
fn two_programs_of_two_operations_at_different_levels() {
    let programs: Vec<Program> = Program::all(2).collect();
    let mut counts = Counts::default();
    for (layout, start) in LAYOUTS.into_iter().zip(STARTS) {
        let mut world = World::new(layout);
        for first in &programs {
            for second in &programs {
                let set = [first.clone(), second.clone()];
                interleavings(&set, |order| world.run(&set, &LEVELS, start, order));
            }
        }
        world.verify();
        counts.add(world.counts());
    }
    println!("two of two, at different levels\n  {counts:?}");
    assert_eq!(counts.schedules, 64 * 64 * 20 * 3);
    assert!(counts.commits > 0 && counts.conflicts > 0 && counts.replays > 0 && counts.skewed > 0);
}

#[test]
fn every_two_programs_of_three_operations() {
    let sets = all_sets(2, 3);
    assert_eq!((sets.len(), orders(&sets[0])), (131_328, 70));
    // Each pair from one start and in one layout, in the long run all of them, else one in so many.
    let step = if long() { 1 } else { 101 };
    let cases = STARTS.len() * LAYOUTS.len();
    let mut totals = Totals::default();
    let mut schedules = 0;
    for case in 0..cases {
        let some: Vec<Vec<Program>> = sets.iter().step_by(step).skip(case).step_by(cases).cloned().collect();
        totals.run(&some, &STARTS[case % STARTS.len()..][..1], LAYOUTS[case % LAYOUTS.len()]);
        schedules += some.len() * 70;
    }
    totals.conclude("two of three", schedules);
    totals.tell_the_levels_apart();
}

#[test]
fn three_programs_of_three_operations_that_meet_in_every_way() {
    let sets: Vec<Vec<Program>> = SETS.iter().map(|set| set.map(Program::parse).to_vec()).collect();
    assert_eq!(orders(&sets[0]), 34_650);
    let mut totals = Totals::default();
    let mut schedules = 0;
    for (at, layout) in LAYOUTS.into_iter().enumerate() {
        // Each set in one layout, in the long run in all.
        let (first, step) = if long() { (0, 1) } else { (at, LAYOUTS.len()) };
        let some: Vec<Vec<Program>> = sets.iter().skip(first).step_by(step).cloned().collect();
        totals.run(&some, &STARTS[..1], layout);
        schedules += some.len() * 34_650;
    }
    totals.conclude("three of three", schedules);
    totals.tell_the_levels_apart();
}

#[test]
fn three_programs_of_three_operations_by_number() {
    // Multiples of a prime: another set for each number, spread over all.
    let count = if long() { 120 } else { 6 };
    let program = |number: usize| Program::numbered(number.wrapping_mul(2_654_435_761) >> 7 & 511, 3);
    let mut totals = Totals::default();
    for set in 0..count {
        let programs: Vec<Program> = (1..4).map(|txn| program(3 * set + txn)).collect();
        totals.run(&[programs], &[STARTS[set % STARTS.len()]], LAYOUTS[set % LAYOUTS.len()]);
    }
    totals.conclude("by number", count * 34_650);
    totals.tell_the_levels_apart();
}
