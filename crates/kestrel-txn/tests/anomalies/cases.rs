//! Schedules beside the table: what a read is, and what a write, one by one.
//!
//! At the start k1 is 10 and k2 is 20, and there is an empty tree `y`.

use crate::LEVELS;
use crate::manner::Manner;
use crate::play::play;
use crate::schedule::{Act, Row, conflicts, steps};
use crate::world::{Layout, World, initial};

/// Absent keys are read like others.
const ABSENT: [Row; 8] = [
    ("read of an absent key", "r1(k3)=none w2(k3,1) c2 w1(k1,0) c1", "", "c1 X"),
    ("absent keys, write skew", "r1(k3)=none r2(k4)=none w1(k4,1) w2(k3,1) c1 c2", "", "c2 X"),
    ("both insert", "w1(k3,1) w2(k3,2) c1 c2 r3(k3)=1", "c2 X", "c2 X"),
    ("another absent key", "r1(k3)=none w2(k4,1) c2 w1(k1,0) c1", "", ""),
    // Nothing was there, nothing was written: but that nothing was there was read.
    ("delete of an absent key", "d1(k3) w2(k3,1) c2 w1(k1,0) c1 r3(k3)=1", "", "c1 X"),
    ("both delete", "d1(k1) d2(k1) c1 c2", "c2 X", "c2 X"),
    ("one deletes what is gone already", "d1(k1) c1 d2(k1) c2", "", ""),
    ("insert and delete again", "w1(k3,1) d1(k3) w2(k3,2) c2 c1 r3(k3)=2", "c1 X", "c1 X"),
];

/// A half scan has read from where it began to where it stopped.
const HALF: [Row; 14] = [
    ("stops before", "f1(<k2)=k1:10 w2(k2,21) c2 w1(k3,1) c1", "", ""),
    ("stops at", "f1(k2)=k1:10,k2:20 w2(k2,21) c2 w1(k3,1) c1", "", "c1 X"),
    ("stops after", "f1(<k3)=k1:10,k2:20 w2(k2,21) c2 w1(k4,1) c1", "", "c1 X"),
    ("stops after, first key", "f1(k2)=k1:10,k2:20 w2(k1,11) c2 w1(k3,1) c1", "", "c1 X"),
    ("stops before an insert", "f1(k2)=k1:10,k2:20 w2(k3,1) c2 w1(k4,1) c1", "", ""),
    ("stops after an insert", "f1(<k4)=k1:10,k2:20 w2(k3,1) c2 w1(k1,1) c1", "", "c1 X"),
    ("stops before a delete", "f1(<k2)=k1:10 d2(k2) c2 w1(k3,1) c1", "", ""),
    ("stops before a range delete", "f1(<k2)=k1:10 d2(k2..k4) c2 w1(k1,1) c1", "", ""),
    ("stops in a range delete", "f1(k2)=k1:10,k2:20 d2(k2..k4) c2 w1(k1,1) c1", "", "c1 X"),
    ("backwards, stops before", "v1(>k1)=k2:20 w2(k1,11) c2 w1(k3,1) c1", "", ""),
    ("backwards, stops at", "v1(k2)=k2:20 w2(k2,21) c2 w1(k1,1) c1", "", "c1 X"),
    ("backwards, insert behind where it began", "v1(k2)=k2:20 w2(k4,1) c2 w1(k1,1) c1", "", "c1 X"),
    ("backwards, stops before a delete", "v1(>k1)=k2:20 d2(k1) c2 w1(k2,1) c1", "", ""),
    ("two halves that do not meet", "f1(<k2)=k1:10 v2(>k1)=k2:20 w1(k1,1) w2(k2,2) c1 c2", "", ""),
];

/// Cursors that stay open while their transaction and others go on.
const CURSORS: [Row; 10] = [
    ("never moved", "o1(t) w2(k1,1) c2 w1(k3,1) c1", "", ""),
    ("stops before", "o1(t) n1=k1:10 w2(k2,21) c2 w1(k3,1) c1", "", ""),
    ("goes on", "o1(t) n1=k1:10 w2(k2,21) c2 n1=k2:20 w1(k3,1) c1", "", "c1 X"),
    ("goes on to the end", "o1(t) n1=k1:10 w2(k4,21) c2 n1=k2:20 n1=none w1(k3,1) c1", "", "c1 X"),
    ("both ends", "w3(k4,40) c3 o1(t) n1=k1:10 m1=k4:40 w2(k3,1) c2 w1(y/k1,1) c1", "", ""),
    ("both ends, behind the back", "o1(t) n1=k1:10 m1=k2:20 w2(k3,1) c2 w1(y/k1,1) c1", "", "c1 X"),
    (
        "ends that meet",
        "w3(k4,40) c3 o1(t) n1=k1:10 m1=k4:40 n1=k2:20 n1=none w2(k3,1) c2 w1(y/k1,1) c1",
        "",
        "c1 X",
    ),
    ("over own writes", "o1(t) n1=k1:10 w1(k2,22) n1=k2:22 n1=none w2(k4,1) c2 c1", "", "c1 X"),
    ("up to an own insert", "o1(t) n1=k1:10 d1(k2) w1(k3,33) n1=k3:33 w2(k4,1) c2 c1", "", ""),
    ("over a rollback", "o1(t) sp1 w1(k1,11) n1=k1:11 rb1 n1=k2:20 w2(k2,1) c2 w1(k3,1) c1", "", "c1 X"),
];

/// Whole scans, and reads of numbers.
const SCANS: [Row; 10] = [
    ("scan, insert", "s1(all)=k1:10,k2:20 w2(k4,1) c2 w1(k1,1) c1", "", "c1 X"),
    ("scan backwards, insert", "z1(all)=k1:10,k2:20 w2(k4,1) c2 w1(k1,1) c1", "", "c1 X"),
    ("scan backwards, delete", "z1(all)=k1:10,k2:20 d2(k2) c2 w1(k1,1) c1", "", "c1 X"),
    ("scans that insert", "s1(all) z2(all) w1(k3,1) w2(k4,1) c1 c2", "", "c2 X"),
    ("scan sees own writes", "w1(k3,30) d1(k1) w2(k4,1) c2 s1(all)=k2:20,k3:30 c1", "", "c1 X"),
    ("scan of another tree", "s1(all) w2(y/k1,1) c2 w1(k1,1) c1", "", ""),
    ("len, insert", "l1(y)=0 w2(y/k1,1) c2 w1(k1,1) c1", "", "c1 X"),
    ("len, a change of a value", "w1(y/k1,1) c1 l2(y)=1 w3(y/k1,2) c3 w2(k1,1) c2", "", "c2 X"),
    ("len and len, write skew", "l1(t) l2(y)=0 w1(y/k1,1) w2(k3,1) c1 c2", "", "c2 X"),
    ("list of trees, insert", "t1 w2(y/k1,1) c2 w1(k1,1) c1", "", "c1 X"),
];

/// Ranges that are deleted are written from one end to the other.
const RANGES: [Row; 8] = [
    ("range delete, write", "d1(k1..k2) w2(k1,11) c2 c1", "c1 X", "c1 X"),
    ("write, range delete", "w1(k1,11) d2(k1..k2) c2 c1", "c1 X", "c1 X"),
    ("range delete, insert into it", "d1(k1..k4) w2(k3,1) c2 c1 r3(k1)=10", "c1 X", "c1 X"),
    ("range deletes that meet", "d1(k1..k3) d2(k2..k4) c1 c2", "c2 X", "c2 X"),
    ("range deletes that do not", "d1(k1..k1) d2(k2..k4) c1 c2 s3(all)=none", "", ""),
    ("range delete, read in it", "d1(k1..k2) r2(k2)=20 w2(k4,1) c1 c2", "", "c2 X"),
    ("range delete, read beside it", "d1(k2..k3) r2(k1)=10 w2(k4,1) c1 c2", "", ""),
    // How many there were is returned: it is read as well.
    ("range delete of nothing, insert", "d1(k3..k4) w1(k1,1) w2(k3,1) c2 c1", "c1 X", "c1 X"),
];

/// What is taken out was the first: whatever comes before it would have been taken instead.
const POPS: [Row; 7] = [
    ("both take the first", "p1(first)=k1:10 p2(first)=k1:10 c1 c2", "c2 X", "c2 X"),
    ("first and last", "p1(first)=k1:10 p2(last)=k2:20 c1 c2 s3(all)=none", "", ""),
    ("two of the same", "p1(first)=k1:10 p1(first)=k2:20 p2(last)=k2:20 c2 c1", "c1 X", "c1 X"),
    ("first, insert behind it", "p1(first)=k1:10 w2(k3,1) c2 c1", "", ""),
    ("last, insert behind it", "p1(last)=k2:20 w2(k3,1) c2 c1", "", "c1 X"),
    ("first of what the other put before", "d1(k1) c1 p2(first)=k2:20 w3(k1,1) c3 c2", "", "c2 X"),
    ("nothing left", "d1(k1..k2) c1 p2(first)=none w2(y/k1,1) w3(k4,1) c3 c2", "", "c2 X"),
];

/// A rollback takes back changes. What was read stays read: who rolls back does something else because of it.
/// What was changed and rolled back stays written, at both levels: a rollback writes what the key held at the snapshot, and
/// must not do so over the commit of somebody else.
const SAVEPOINTS: [Row; 10] = [
    ("rolled back, does not appear", "sp1 w1(k1,11) rb1 w1(k2,22) c1 r2(k1)=10 r2(k2)=22", "", ""),
    ("rolled back insert", "sp1 w1(k3,11) rb1 w1(k2,22) c1 r2(k3)=none", "", ""),
    ("rolled back delete", "sp1 d1(k1..k2) rb1 w1(k3,1) c1 s2(all)=k1:10,k2:20,k3:1", "", ""),
    ("read, rolled back", "sp1 r1(k1)=10 w1(k2,1) rb1 w2(k1,11) c2 w1(k3,1) c1", "", "c1 X"),
    ("scanned, rolled back", "sp1 s1(all) rb1 w2(k4,11) c2 w1(k3,1) c1", "", "c1 X"),
    ("written, rolled back", "sp1 w1(k1,1) rb1 w2(k1,11) c2 w1(k3,1) c1 r3(k1)=11", "c1 X", "c1 X"),
    ("the other way round", "sp1 w1(k1,1) rb1 w2(k1,11) w1(k3,1) c1 c2 r3(k1)=10", "c2 X", "c2 X"),
    ("released", "sp1 w1(k1,1) rl1 w2(k1,11) c2 c1", "c1 X", "c1 X"),
    ("all rolled back", "w2(k1,12) sp1 w1(k1,1) rb1 c2 c1 r3(k1)=12", "c1 X", "c1 X"),
    ("no changes, only reads", "sp1 r1(k1)=10 rb1 w2(k1,11) c2 r1(k1)=10 c1", "", ""),
];

/// Trees are there by name and by what they are.
const TREES: [Row; 25] = [
    ("both create", "mk1(z) mk2(z) c1 c2", "c2 X", "c2 X"),
    ("both drop", "rm1(y) rm2(y) c1 c2", "c2 X", "c2 X"),
    ("both rename", "mv1(y,a) mv2(y,b) c1 c2 q3(a)=yes q3(y)=no", "c2 X", "c2 X"),
    ("two get one name", "mv1(y,z) mk2(z) c1 c2", "c2 X", "c2 X"),
    ("drop, put", "rm1(y) w2(y/k1,1) c1 c2 q3(y)=no", "c2 X", "c2 X"),
    ("put, drop", "w1(y/k1,1) rm2(y) c1 c2 r3(y/k1)=1", "c2 X", "c2 X"),
    ("drop, read", "rm1(y) r2(y/k1)=none w2(k1,1) c1 c2", "", "c2 X"),
    ("drop, len", "rm1(y) l2(y)=0 w2(k1,1) c1 c2", "", "c2 X"),
    // That there is such a tree was seen.
    ("drop, open a cursor", "rm1(y) o2(y) w2(k1,1) c1 c2", "", "c2 X"),
    ("drop, scan nothing", "rm1(y) e2(y)=none w2(k1,1) c1 c2", "", "c2 X"),
    ("drop, remove nothing", "rm1(y) d2(y/k2..y/k1) w2(k1,1) c1 c2", "", "c2 X"),
    ("drop, look", "rm1(y) q2(y)=yes w2(k1,1) c1 c2", "", "c2 X"),
    ("drop, rename", "rm1(y) mv2(y,a) c1 c2", "c2 X", "c2 X"),
    ("create, look", "mk1(z) q2(z)=no w2(k1,1) c1 c2", "", "c2 X"),
    ("create, look for another", "mk1(z) q2(a)=no w2(k1,1) c1 c2", "", ""),
    ("create, list", "mk1(z) t2 w2(k1,1) c1 c2", "", "c2 X"),
    ("rename, look for the old name", "mv1(y,z) q2(y)=yes w2(k1,1) c1 c2", "", "c2 X"),
    ("rename, look for the new name", "mv1(y,z) q2(z)=no w2(k1,1) c1 c2", "", "c2 X"),
    ("rename, list", "mv1(y,z) t2 w2(k1,1) c1 c2", "", "c2 X"),
    // A tree is known by what it is; what it is called makes no difference to its entries.
    ("rename, put", "mv1(y,z) w2(y/k1,1) c1 c2 r3(z/k1)=1", "", ""),
    ("rename, read", "mv1(y,z) r2(y/k1)=none w2(k1,1) c1 c2", "", ""),
    ("names that change hands", "mv1(y,a) mk1(y) w2(y/k1,1) c1 c2 r3(a/k1)=1 r3(y/k1)=none", "", ""),
    ("created, rolled back, created", "sp1 mk1(z) rb1 mk1(z) w1(z/k1,5) c1 r2(z/k1)=5", "", ""),
    ("created and rolled back", "sp1 mk1(z) rb1 w1(k1,1) mk2(z) c2 c1 q3(z)=yes", "c1 X", "c1 X"),
    ("dropped and rolled back", "sp1 rm1(y) rb1 w2(y/k1,1) c2 w1(k1,1) c1 r3(y/k1)=1", "c1 X", "c1 X"),
];

/// Plays each, at both levels and in all layouts that it can be played in. Returns how often.
fn run(rows: &[Row]) -> usize {
    let mut count = 0;
    for layout in [Layout::Bare, Layout::Guarded, Layout::Apart] {
        let mut world = World::new();
        for (name, schedule, snapshot, serializable) in rows {
            let steps = steps(schedule);
            // Without guards there is nothing to stop at.
            if layout == Layout::Bare && steps.iter().any(|step| matches!(step.act, Act::Half { .. })) {
                continue;
            }
            for (level, expected) in LEVELS.into_iter().zip([snapshot, serializable]) {
                world.reset(&initial(layout, &[(1, 10), (2, 20)]), &["y"]);
                let found = play(&mut world, &steps, (level, Manner::PLAIN, true));
                assert_eq!(found, conflicts(expected), "{name}, {level:?}, {layout:?}");
                count += 1;
            }
        }
        world.verify();
    }
    println!("{count} cases");
    count
}

#[test]
fn absent_keys() {
    assert_eq!(run(&ABSENT), 8 * 3 * 2);
}

#[test]
fn half_scans() {
    assert_eq!(run(&HALF), 14 * 2 * 2);
}

#[test]
fn cursors() {
    assert_eq!(run(&CURSORS), 10 * 3 * 2);
}

#[test]
fn scans_and_counts() {
    assert_eq!(run(&SCANS), 10 * 3 * 2);
}

#[test]
fn removed_ranges() {
    assert_eq!(run(&RANGES), 8 * 3 * 2);
}

#[test]
fn pops() {
    assert_eq!(run(&POPS), 7 * 3 * 2);
}

#[test]
fn savepoints() {
    assert_eq!(run(&SAVEPOINTS), 10 * 3 * 2);
}

#[test]
fn trees() {
    assert_eq!(run(&TREES), 25 * 3 * 2);
}
