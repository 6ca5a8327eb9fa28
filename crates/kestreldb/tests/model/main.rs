//! The database against a model that is a `BTreeMap` per tree: the same steps on both have to give the same answers, over
//! snapshots, savepoints, reopenings, crashes and power failures, with tiny memory and every page size.
//!
//! The oracle of a crash: what is left is exactly one of the states between the newest commit known to be durable and the
//! newest commit of all. So nothing durable is missing, no commit is there in part, and none without those before it.
//!
//! `PROPTEST_CASES=10000 cargo test --release --test model` looks further.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod changes;
mod machine;
mod oracle;
mod steps;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use machine::Machine;
use steps::{Setup, Step};

/// Enough for a normal run; the environment asks for more.
const CASES: u32 = 300;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(CASES),
        max_shrink_iters: 4_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

fn run(setup: Setup, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut machine = Machine::new(setup)?;
    for step in steps {
        machine.step(step)?;
    }
    machine.finish()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_steps_give_the_answers_of_the_model(
        setup in any::<Setup>(),
        steps in proptest::collection::vec(any::<Step>(), 1..40),
    ) {
        run(setup, &steps)?;
    }
}
