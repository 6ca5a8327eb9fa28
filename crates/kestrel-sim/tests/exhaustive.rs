//! The exhaustive modes in a small size: that they find nothing, and that they do what they say.

use kestrel_sim::exhaustive::{Mode, Size, Summary};

fn run(mode: Mode) -> Summary {
    let summary = mode.run(Size::Smoke, &|_, _| {});
    assert!(summary.is_clean(), "{}\n{summary}", mode.name());
    println!("{}\n{summary}", mode.name());
    summary
}

#[test]
fn crash_points() {
    let summary = run(Mode::CrashPoints);
    assert!(summary.of("crash points") > 50 && summary.of("images") > 1000, "{summary}");
}

#[test]
fn recovery_crashes() {
    let summary = run(Mode::RecoveryCrashes);
    assert!(summary.of("crashes in the recovery from that") > 200, "{summary}");
}

#[test]
fn failing_calls() {
    let summary = run(Mode::FailingCalls);
    assert!(summary.of("errors") > 100 && summary.of("went unnoticed") > 100, "{summary}");
}

#[test]
fn flips() {
    let summary = run(Mode::Flips);
    assert!(summary.of("refused at opening") > 50 && summary.of("looks like a torn tail") > 0, "{summary}");
}

#[test]
fn truncations() {
    let summary = run(Mode::Truncations);
    assert!(summary.of("refused at opening") > 50, "{summary}");
}

#[test]
fn swaps() {
    let summary = run(Mode::Swaps);
    assert!(summary.of("found when read") > 20 && summary.of("refused at opening") > 20, "{summary}");
}
