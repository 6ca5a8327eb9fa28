//! Seeds, run: nothing may be found.
#![allow(clippy::panic, reason = "a failure fails the test")]

use kestrel_io::CrashStorage;
use kestrel_sim::{Program, Report, Shape, World, run, shrink};

/// Seeds that found something once, besides the first ones.
const FOUND: [u64; 3] = [353, 365, 431];

#[test]
fn what_was_found_once_is_not_found_again() {
    for seed in FOUND.into_iter().chain(0..20) {
        let program = Program::generate(seed, &Shape::default());
        let first = run(&program);
        assert_eq!(first, run(&program), "seed {seed} is not the same twice");
        let report =
            first.unwrap_or_else(|finding| panic!("{program}\nstep {}: {}", finding.step, finding.what));
        assert!(report.steps > 0);
    }
}

/// What the seeds were when they found something is not what they are now, so the programs are written down here.
#[test]
fn a_visible_commit_is_no_error() {
    use kestrel_sim::disk::{DiskFault, FaultPlan, Target, When};
    use kestrel_sim::step::{Key, Op, Setup, Step, Val};
    use kestreldb::{Durability, Isolation};
    let setup = Setup {
        page_size: 4096,
        memory_budget: 240 << 10,
        log_segment_size: 64 << 10,
        checkpoint_log_bytes: 4 << 20,
        durability: Durability::Eventual,
        isolation: Isolation::Serializable,
    };
    for fault in [DiskFault::OverQuota, DiskFault::WriteError] {
        for after in 0..6 {
            let plan = FaultPlan { fault, target: Target::Log, when: When::Nth(after) };
            let mut steps = vec![Step::Single(Op::Tree(0)), Step::Plan(plan)];
            for mark in 0..40 {
                steps.push(Step::Single(Op::Put(0, Key::Short(mark as u8), Val { len: 900, mark })));
                steps.push(Step::Single(Op::Len(0)));
            }
            steps.push(Step::Repair);
            let program = Program { seed: 1, setup, steps };
            if let Err(finding) = run(&program) {
                let shrunk = shrink(&program, &finding);
                panic!("{}step {}: {}", program.with(&shrunk.kept), shrunk.finding.step, shrunk.finding.what);
            }
        }
    }
}

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
