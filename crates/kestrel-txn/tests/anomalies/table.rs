//! The table of anomalies, as it stands in the literature, and every row of it in every manner.

use kestrel_txn::Isolation;

use crate::LEVELS;
use crate::manner::{BESIDES, Beside, Manner, READINGS, Reading, WRITINGS, Writing};
use crate::play::{play, scans_all, writes};
use crate::schedule::{Act, Row, Step, conflicts, steps};
use crate::world::{Layout, World, initial};

/// At the start k1 is 10 and k2 is 20. Name, schedule, conflicts at the snapshot level, conflicts at the serializable level.
#[rustfmt::skip]
pub(crate) const TABLE: [Row; 13] = [
    ("G0", "w1(k1,11) w2(k1,12) w1(k2,21) c1 w2(k2,22) c2 r3(k1)=11 r3(k2)=21", "c2 X", "c2 X"),
    ("G1a", "w1(k1,101) r2(k1)=10 a1 r2(k1)=10 c2", "", ""),
    ("G1b", "w1(k1,101) r2(k1)=10 w1(k1,11) c1 r2(k1)=10 c2", "", ""),
    ("G1c", "w1(k1,11) w2(k2,22) r1(k2)=20 r2(k1)=10 c1 c2", "", "c2 X"),
    ("OTV", "w1(k1,11) w1(k2,19) w2(k1,12) c1 b3 r3(k1)=11 w2(k2,18) c2 r3(k2)=19", "c2 X", "c2 X"),
    ("PMP", "s1(v=30)=none w2(k3,30) c2 s1(v%3=0)=none", "", ""),
    ("PMP write", "u1(10) x2(v=20) c1 c2 s3(all)=k1:20,k2:30", "c2 X", "c2 X"),
    ("P4", "r1(k1)=10 r2(k1)=10 w1(k1,11) w2(k1,11) c1 c2", "c2 X", "c2 X"),
    ("G-single", "r1(k1)=10 w2(k1,12) w2(k2,18) c2 r1(k2)=20 c1", "", ""),
    ("G-single write", "r1(k1)=10 w2(k1,12) w2(k2,18) c2 d1(k2) c1", "c1 X", "c1 X"),
    ("G2-item", "r1(k1)=10 r1(k2)=20 r2(k1)=10 r2(k2)=20 w1(k1,11) w2(k2,21) c1 c2", "", "c2 X"),
    ("G2", "s1(v%3=0)=none s2(v%3=0)=none w1(k3,30) w2(k4,42) c1 c2", "", "c2 X"),
    ("Fekete", "s1(all)=k1:10,k2:20 w2(k2,25) c2 s3(all)=k1:10,k2:25 c3 w1(k1,0) c1", "", "c1 X"),
];

/// One row, at a level, from a start, in a manner.
struct Case<'r> {
    row: &'r Row,
    steps: &'r [Step],
    present: bool,
    manner: Manner,
}

impl Case<'_> {
    /// Whether the manner leaves the meaning of the schedule as it is.
    fn makes_sense(&self) -> bool {
        let Manner { reading, writing, beside } = self.manner;
        let has = |wanted: fn(&Act) -> bool| self.steps.iter().any(|step| wanted(&step.act));
        let reads = has(|act| matches!(act, Act::Read(_)));
        let scans = has(scans_all);
        // What is not there cannot be deleted: then nothing is written.
        let deletes = writing.deletes() || has(|act| matches!(act, Act::Delete(_) | Act::DeleteWhere(_)));
        let inserts = has(|act| matches!(act, Act::Write(key, _) if key.bytes[0] > b'2'));
        let there = self.present && !(writing.deletes() && inserts);
        // Scans have no other ways than these.
        let way_of_scans = matches!(
            reading,
            Reading::Get
                | Reading::Backwards
                | Reading::BothEnds
                | Reading::HalfForwards
                | Reading::HalfBackwards
                | Reading::StopBefore
                | Reading::StopBehind
        );
        // Who changes what a scan found, writes nothing if it found nothing.
        let changes_found = has(|act| matches!(act, Act::Add(_) | Act::DeleteWhere(_)));
        (there || !deletes)
            && (reads || way_of_scans)
            && (reads || scans || reading == Reading::Get)
            && !(changes_found && (reading.is_none() || !self.present))
            && (beside != Beside::Readers || self.has_readers())
    }

    /// Whether a transaction writes nothing.
    fn has_readers(&self) -> bool {
        let writes_something = |txn| self.steps.iter().any(|step| step.txn == txn && writes(&step.act));
        self.steps.iter().any(|step| !writes_something(step.txn))
    }

    /// Plays it, and says whether it had to be played.
    fn run(&self, world: &mut World, layout: Layout, level: Isolation) -> bool {
        if !self.makes_sense() {
            return false;
        }
        let values: &[(u8, u32)] = if self.present { &[(1, 10), (2, 20)] } else { &[] };
        world.reset(&initial(layout, values), &["own"]);
        // Three leaves and more between each two keys.
        assert!(layout != Layout::Apart || world.pages() > 14);
        let (name, _, snapshot, serializable) = self.row;
        // Who has not looked at what others change, need not care.
        let expected = if level == Isolation::Snapshot || self.manner.reading.is_none() {
            snapshot
        } else {
            serializable
        };
        let literal = self.present && !self.manner.writing.deletes();
        let found = play(world, self.steps, (level, self.manner, literal));
        assert_eq!(
            found,
            conflicts(expected),
            "{name}, {level:?}, {layout:?}, keys there: {}, {:?}",
            self.present,
            self.manner
        );
        true
    }
}

/// Plays the table in these manners of reading. Returns how many cases there were.
fn run_table(readings: &[Reading], writings: &[Writing]) -> usize {
    let (mut count, mut replays) = (0, 0);
    for layout in [Layout::Guarded, Layout::Apart] {
        let mut world = World::new();
        for row in &TABLE {
            let steps = &steps(row.1)[..];
            for level in LEVELS {
                for present in [true, false] {
                    for &reading in readings {
                        for &writing in writings {
                            for beside in BESIDES {
                                let manner = Manner { reading, writing, beside };
                                let case = Case { row, steps, present, manner };
                                count += usize::from(case.run(&mut world, layout, level));
                            }
                        }
                    }
                }
            }
        }
        replays += world.replays();
        world.verify();
    }
    println!("{count} cases, {replays} commits that ran their operations again");
    assert!(replays > 0);
    count
}

#[test]
fn every_row_as_it_stands() {
    let mut world = World::new();
    for row in &TABLE {
        let steps = &steps(row.1)[..];
        for level in LEVELS {
            for layout in [Layout::Bare, Layout::Guarded, Layout::Apart] {
                assert!(
                    Case { row, steps, present: true, manner: Manner::PLAIN }.run(&mut world, layout, level)
                );
            }
        }
    }
}

#[test]
fn every_row_with_every_manner_of_writing() {
    assert_eq!(run_table(&[Reading::Get], &WRITINGS), 2324);
}

#[test]
fn every_row_with_every_manner_of_reading() {
    assert_eq!(run_table(&READINGS, &[Writing::Put, Writing::RedoneTwice, Writing::WideRangeDelete]), 4876);
}

#[test]
fn every_row_with_scans_that_stop_before_they_meet_what_others_write() {
    assert_eq!(run_table(&[Reading::StopBefore, Reading::StopBehind], &WRITINGS), 4336);
}
