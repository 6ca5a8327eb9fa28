//! Random work, a crash at a random operation, recovery, and again: what was flushed is there, the rest is a prefix.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::sync::Arc;

use kestrel_io::CrashStorage;
use kestrel_wal::{Error, LogOptions, Lsn, Record, Wal};
use proptest::prelude::*;

const OPTIONS: LogOptions = LogOptions { segment_size: 64 << 10, database: 42 };

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Flush,
    FlushHalf,
    Write,
    Prepare,
    /// Moves the place to recover from to the durable end, and recycles.
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..2000).prop_map(Step::Append),
        2 => (0usize..=(16 << 10) - 32).prop_map(Step::Append),
        3 => Just(Step::Flush),
        2 => Just(Step::FlushHalf),
        2 => Just(Step::Write),
        1 => Just(Step::Prepare),
        1 => Just(Step::Checkpoint),
    ]
}

#[derive(Clone, Debug)]
struct Cycle {
    steps: Vec<Step>,
    /// Operations of the storage until the power goes off; never, if there are fewer.
    power: u64,
    seed: u64,
    /// Whether recovery is cut short as well, at which of its operations, before the one that counts.
    cut_recovery: Option<u64>,
}

fn cycle() -> impl Strategy<Value = Cycle> {
    let steps = prop::collection::vec(step(), 1..40);
    (steps, 0u64..150, any::<u64>(), prop::option::of(0u64..12))
        .prop_map(|(steps, power, seed, cut_recovery)| Cycle { steps, power, seed, cut_recovery })
}

/// What the log must say.
struct Model {
    from: Lsn,
    /// All records from `from` on, whether they may be lost or not.
    records: Vec<Record>,
    flushed: Lsn,
    written: u64,
}

impl Model {
    /// Runs steps until one fails, which only the power may cause.
    fn work(&mut self, wal: &Wal, steps: &[Step]) -> Result<(), Error> {
        for step in steps {
            match step {
                Step::Append(len) => {
                    self.written += 1;
                    let payload: Vec<u8> =
                        self.written.to_le_bytes().into_iter().cycle().take(*len).collect();
                    let kind = (self.written % 200) as u8;
                    let appended = wal.append(kind, &[&payload])?;
                    self.records.push(Record { kind, payload, start: appended.start, end: appended.end });
                }
                Step::Flush => self.flush(wal, wal.end())?,
                Step::FlushHalf => {
                    let half =
                        self.records.get(self.records.len() / 2).map_or(self.flushed, |record| record.end);
                    self.flush(wal, half)?;
                }
                Step::Write => wal.write_buffered()?,
                Step::Prepare => drop(wal.prepare_spare()?),
                Step::Checkpoint => {
                    self.flush(wal, wal.end())?;
                    self.from = wal.end();
                    self.records.clear();
                    wal.recycle(self.from, 2)?;
                }
            }
            if let Some(record) = self.records.get(self.records.len() / 3) {
                match wal.read(record.start) {
                    Ok(found) => assert_eq!(&found, record),
                    Err(Error::Io { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, wal: &Wal, to: Lsn) -> Result<(), Error> {
        wal.flush(to)?;
        assert!(wal.durable() >= to);
        self.flushed = self.flushed.max(wal.durable());
        Ok(())
    }

    /// Compares, and forgets what is lost.
    fn check(&mut self, found: Vec<Record>, end: Lsn) {
        assert!(found.len() <= self.records.len(), "records came from nowhere");
        assert_eq!(found, self.records[..found.len()]);
        let must = self.records.iter().filter(|record| record.end <= self.flushed).count();
        assert!(found.len() >= must, "{} of {must} flushed records are left", found.len());
        assert!(end >= self.flushed);
        self.records = found;
        self.flushed = end;
    }
}

fn run(cycles: &[Cycle]) {
    let mut storage = CrashStorage::new();
    let mut wal = Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(1 << 33)).unwrap();
    let mut model = Model { from: wal.end(), records: Vec::new(), flushed: wal.end(), written: 0 };
    for cycle in cycles {
        storage.stop_at(storage.operations().total() + cycle.power);
        let outcome = model.work(&wal, &cycle.steps);
        assert!(outcome.is_ok() || !storage.has_power(), "{outcome:?}");
        drop(wal);
        storage = storage.crash(cycle.seed);
        if let Some(power) = cycle.cut_recovery {
            storage.stop_at(power);
            if let Err(error) = Wal::recover(Arc::new(storage.clone()), &OPTIONS, model.from) {
                assert!(matches!(error, Error::Io { .. }), "{error}");
            }
            storage = storage.crash(cycle.seed ^ 1);
        }
        let recovery = Wal::recover(Arc::new(storage.clone()), &OPTIONS, model.from).unwrap();
        let found = recovery.records().collect::<Result<Vec<_>, _>>().unwrap();
        for record in &found {
            assert_eq!(&recovery.read(record.start).unwrap(), record);
        }
        model.check(found, recovery.end());
        wal = recovery.into_wal().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_flushed_survives_and_the_rest_is_a_prefix(cycles in prop::collection::vec(cycle(), 1..8)) {
        run(&cycles);
    }
}

#[test]
fn a_crash_at_every_operation_of_a_turn_over_with_recycling() {
    let mut steps = Vec::new();
    for i in 0..24 {
        steps.push(Step::Append(5000 + i * 10));
        steps.push(if i % 3 == 0 { Step::Flush } else { Step::Write });
        if i % 10 == 9 {
            steps.extend([Step::Checkpoint, Step::Prepare]);
        }
    }
    for power in 0..130 {
        for seed in 0..12 {
            let cycle = |power| Cycle { steps: steps.clone(), power, seed, cut_recovery: Some(seed) };
            run(&[cycle(power), cycle(power * 7 % 60)]);
        }
    }
}

#[test]
fn every_subset_of_a_small_group_is_recovered_to_a_prefix() {
    let storage = CrashStorage::new();
    let wal = Wal::create(Arc::new(storage.clone()), &OPTIONS, Lsn(0)).unwrap();
    let from = wal.end();
    let flushed = wal.append(1, &[b"flushed"]).unwrap();
    wal.flush(flushed.end).unwrap();
    for i in 0..6u8 {
        wal.append(2 + i, &[&vec![i; 600]]).unwrap();
    }
    wal.write_buffered().unwrap();
    let sectors = storage.undecided();
    assert!((8..=10).contains(&sectors), "{sectors}");
    let mut lengths = [0; 8];
    for subset in 0u32..1 << sectors {
        let mut bit = 0;
        let left = storage.crash_with(|alternatives| {
            bit += 1;
            if subset >> (bit - 1) & 1 == 1 { alternatives - 1 } else { 0 }
        });
        let recovery = Wal::recover(Arc::new(left), &OPTIONS, from).unwrap();
        let kinds: Vec<u8> = recovery.records().map(|record| record.unwrap().kind).collect();
        assert_eq!(kinds, (1..=kinds.len() as u8).collect::<Vec<_>>());
        lengths[kinds.len()] += 1;
    }
    assert_eq!(lengths[0], 0, "the flushed record is always there");
    assert!(lengths[1..].iter().all(|&n| n > 0), "{lengths:?}");
}
