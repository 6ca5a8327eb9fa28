//! Seeds, run: nothing may be found.
#![allow(clippy::panic, reason = "a failure fails the test")]

use kestrel_io::CrashStorage;
use kestrel_sim::{Program, Report, Shape, World};

#[test]
fn seeds_find_nothing() {
    let mut total = Report::default();
    for seed in 0..100 {
        let program = Program::generate(seed, &Shape::default());
        match World::run(&program, CrashStorage::new()) {
            Ok(report) => {
                total.commits += report.commits;
                total.conflicts += report.conflicts;
                total.crashes += report.crashes;
            }
            Err(finding) => {
                panic!("{program}\nstep {}: {}", finding.step, finding.what)
            }
        }
    }
    assert!(total.commits > 2_000 && total.conflicts > 20 && total.crashes > 250, "{total:?}");
}
