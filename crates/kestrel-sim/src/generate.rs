//! What a seed does: options, and steps.
//!
//! Every seed has its own habits: how often it does what, how large things are, which keys it likes. So some seeds are full of
//! savepoints and some never write a large value, and each meets what an average over everything would hardly ever meet.

use std::fmt;
use std::ops::Bound;

use kestreldb::{Durability, Isolation};

use crate::faults::Faults;
use crate::random::Random;
use crate::step::{Ending, Key, Op, Setup, Span, Step, TREES, Val};

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Steps between two ends of the process, on average.
    pub steps: u64,
    /// How often the process ends, at least.
    pub cycles: u64,
    /// Whether the power may go off at any call to the disk.
    pub power_off: bool,
    /// Whether the disk has other faults.
    pub faults: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { steps: 70, cycles: 3, power_off: true, faults: true }
    }
}

/// All that a seed does.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The seed, from which the disk's choices follow as well.
    pub seed: u64,
    /// How the database is opened.
    pub setup: Setup,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

impl Program {
    /// Draws the program of a seed.
    #[must_use]
    pub fn generate(seed: u64, shape: &Shape) -> Program {
        let mut random = Random::of(seed, 1);
        let setup = setup(&mut random);
        let mut habits = Habits::draw(&mut random, &setup);
        let mut steps = Vec::new();
        // Faults have draws of their own, so that a seed does the same with and without them.
        let mut faults = Faults::new(Random::of(seed, 3), shape.faults);
        let cycles = shape.cycles + random.below(2);
        for cycle in 0..cycles {
            let count = random.between(shape.steps / 3, shape.steps * 5 / 3);
            let power_off = shape.power_off && random.percent(60);
            let at = random.below(count.max(1));
            if random.percent(habits.burst_percent) {
                steps.extend(habits.burst(&mut random));
            }
            if random.percent(habits.long_percent) {
                steps.extend(habits.long_transaction(&mut random));
            }
            steps.extend(faults.at_the_beginning(cycle == 0));
            let mut coming = faults.of_a_cycle(count);
            for number in 0..count {
                coming.extract_if(.., |(when, _)| *when <= number).for_each(|(_, step)| steps.push(step));
                if power_off && number == at {
                    let most = random.one_of(&[8, 60, 60, 250]);
                    steps.push(Step::PowerOff(random.below(most) as u16));
                }
                steps.push(habits.step(&mut random));
                if random.percent(habits.burst_percent / 16) {
                    steps.extend(habits.burst(&mut random));
                }
            }
            steps.extend(coming.into_iter().map(|(_, step)| step));
            steps.push(match random.below(8) {
                0 => Step::Kill,
                _ => Step::Crash(random.word(), habits.crashes_while_opening(&mut random)),
            });
            steps.extend(faults.behind_a_cycle());
        }
        if faults.ruins() {
            let count = random.between(shape.steps / 2, shape.steps);
            let mut coming = faults.of_the_end(count);
            for number in 0..count {
                coming.extract_if(.., |(when, _)| *when <= number).for_each(|(_, step)| steps.push(step));
                steps.push(habits.step(&mut random));
            }
            steps.push(match random.below(3) {
                0 => Step::Kill,
                1 => Step::Reopen(false),
                _ => Step::Crash(random.word(), 0),
            });
            steps.extend((0..20).map(|_| habits.step(&mut random)));
        }
        Program { seed, setup, steps }
    }

    /// The same with only some of the steps.
    #[must_use]
    pub fn with(&self, kept: &[usize]) -> Program {
        let steps = kept.iter().filter_map(|&index| self.steps.get(index).cloned()).collect();
        Program { seed: self.seed, setup: self.setup, steps }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.setup)?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{number:4}  {step}"))
    }
}

fn setup(random: &mut Random) -> Setup {
    let page_size: u32 = random.one_of(&[4096, 4096, 4096, 4096, 4096, 8192, 16384, 65536]);
    // The least there may be, a little more, and plenty.
    let least = u64::from(page_size) * 400 / 7 + 1;
    let memory_budget = least * random.one_of(&[1, 1, 2, 4, 12]);
    Setup {
        page_size,
        memory_budget,
        log_segment_size: random.one_of(&[64 << 10, 64 << 10, 64 << 10, 128 << 10, 256 << 10]),
        checkpoint_log_bytes: random.one_of(&[16 << 10, 64 << 10, 256 << 10, 4 << 20]),
        durability: random.one_of(&[Durability::Immediate, Durability::Eventual]),
        isolation: random.one_of(&[Isolation::Serializable, Isolation::Serializable, Isolation::Snapshot]),
    }
}

/// What a seed likes.
struct Habits {
    /// Weights of steps, in the order of [`Habits::step`].
    steps: [u32; 22],
    /// Weights of operations, in the order of [`Habits::op`].
    ops: [u32; 28],
    /// Weights of kinds of keys: empty, short, shared, long, too long.
    keys: [u32; 5],
    short_keys: u64,
    shared_keys: u64,
    /// Weights of lengths of values: tiny, some hundred bytes, about what a leaf takes, large, huge.
    values: [u32; 5],
    fill_max: u64,
    /// One tree has most of the work, if so.
    favourite: bool,
    async_percent: u64,
    eventual_percent: u64,
    nested_crash_percent: u64,
    /// Closures that are mostly about savepoints.
    savepoint_percent: u64,
    burst_percent: u64,
    long_percent: u64,
    /// Length of the values of bursts.
    burst_len: u64,
    mark: u32,
}

const STEPS: [u32; 22] = [14, 60, 16, 3, 24, 10, 6, 12, 3, 4, 5, 4, 2, 2, 12, 2, 3, 1, 1, 1, 4, 3];
const OPS: [u32; 28] =
    [10, 4, 4, 3, 8, 22, 10, 8, 6, 5, 5, 4, 4, 2, 3, 8, 3, 2, 5, 1, 2, 1, 4, 4, 1, 4, 8, 1];

/// Some of the weights are drawn away, some are made larger.
fn moody<const N: usize>(random: &mut Random, weights: [u32; N], needed: &[usize]) -> [u32; N] {
    let mut index = 0;
    weights.map(|weight| {
        let needed = needed.contains(&index);
        index += 1;
        match random.below(8) {
            0 | 1 if !needed => 0,
            2 => weight * 4,
            _ => weight,
        }
    })
}

impl Habits {
    fn draw(random: &mut Random, setup: &Setup) -> Habits {
        // What moves much data is for those who have room for it.
        let heavy = random.percent(6);
        let values = match random.below(4) {
            0 => [8, 1, 0, 0, 0],
            1 => [4, 6, 2, 0, 0],
            2 => [2, 2, 8, 1, 0],
            _ => [8, 4, 2, 1, u32::from(heavy)],
        };
        let roomy = setup.memory_budget > 1 << 20;
        Habits {
            steps: moody(random, STEPS, &[0, 1, 2, 4]),
            ops: moody(random, OPS, &[0, 5, 18]),
            keys: random.one_of(&[[1, 8, 8, 1, 1], [1, 8, 0, 0, 0], [0, 1, 8, 0, 0], [1, 4, 4, 6, 1]]),
            short_keys: random.one_of(&[3, 12, 256]),
            shared_keys: random.one_of(&[10, 100, 1000]),
            values,
            fill_max: if roomy { 300 } else { 80 },
            favourite: random.percent(70),
            async_percent: random.one_of(&[0, 10, 40, 80]),
            eventual_percent: random.one_of(&[0, 30, 60, 95]),
            nested_crash_percent: random.one_of(&[0, 30, 60]),
            savepoint_percent: random.one_of(&[0, 20, 60]),
            burst_percent: random.one_of(&[0, 30, 80]),
            long_percent: random.one_of(&[0, 0, 0, 50]),
            burst_len: random.one_of(&[8, 70, 300, 900]),
            mark: 0,
        }
    }

    fn crashes_while_opening(&self, random: &mut Random) -> u8 {
        if random.percent(self.nested_crash_percent) { random.between(1, 4) as u8 } else { 0 }
    }

    fn step(&mut self, random: &mut Random) -> Step {
        let which = random.word() as u8;
        match random.weighted(&self.steps) {
            0 => {
                let isolation =
                    random.one_of(&[Isolation::Serializable, Isolation::Serializable, Isolation::Snapshot]);
                Step::Begin(isolation, self.durability(random))
            }
            1 => Step::Act(which, self.op(random, |_| true)),
            2 => Step::Commit(which, random.percent(self.async_percent)),
            3 => Step::Abort(which),
            4 => Step::Single(self.op(random, Op::stands_alone)),
            5 => self.closure(random),
            6 => Step::Snapshot,
            7 => Step::Look(which, self.op(random, Op::reads)),
            8 => Step::Compare(which),
            9 => Step::EndSnapshot(which),
            10 => Step::Keep(which, self.key(random), random.percent(50)),
            11 => Step::Poll(which),
            12 => Step::Wait(which),
            13 => Step::Forget(which),
            14 => Step::Maintain(random.between(1, 6) as u8),
            15 => Step::Flush,
            16 => Step::Checkpoint,
            17 => Step::Verify,
            18 => Step::Figures,
            19 => Step::OpenTwice,
            20 => Step::Time(random.one_of(&[1, 20, 1_000, 3_600_000, -1, -5_000, -86_400_000])),
            _ => Step::Reopen(random.percent(50)),
        }
    }

    fn durability(&self, random: &mut Random) -> Durability {
        if random.percent(self.eventual_percent) { Durability::Eventual } else { Durability::Immediate }
    }

    fn closure(&mut self, random: &mut Random) -> Step {
        let ops = if random.percent(self.savepoint_percent) {
            self.with_savepoints(random)
        } else {
            let count = random.between(1, 6);
            (0..count).map(|_| self.op(random, |_| true)).collect()
        };
        let ending = [Ending::Fine, Ending::Error, Ending::Panic][random.weighted(&[8, 1, 1])];
        let losses = random.one_of(&[0, 0, 0, 0, 1, 2, 9]);
        Step::Closure(ops, ending, losses, random.percent(self.async_percent))
    }

    /// Savepoints within savepoints, with changes between, some of which are to trees; then some are released or rolled back.
    fn with_savepoints(&mut self, random: &mut Random) -> Vec<Op> {
        let mut ops = Vec::new();
        for _ in 0..random.between(1, 3) {
            ops.push(Op::Savepoint);
            for _ in 0..random.between(1, 4) {
                ops.push(match random.below(8) {
                    0 => Op::Create(random.below(TREES.into()) as u8),
                    1 => Op::Drop(self.tree(random)),
                    _ => self.op(random, |op| !op.reads() && !matches!(op, Op::Savepoint)),
                });
            }
        }
        for _ in 0..random.between(1, 3) {
            let which = random.word() as u8;
            ops.push(if random.percent(40) { Op::Release(which) } else { Op::Rollback(which) });
        }
        ops
    }

    /// Small commits whose log records are all of one size. Sometimes the power goes off while they are written, and where some
    /// of them were left, fewer are written then.
    fn burst(&mut self, random: &mut Random) -> Vec<Step> {
        let mut steps = vec![Step::Single(Op::Tree(0))];
        let count = random.between(2, 24);
        steps.extend(self.small_commits(count, random));
        if random.percent(50) {
            steps.extend([Step::PowerOff(random.below(3) as u16), Step::Flush]);
            let fewer = random.between(1, count);
            steps.extend(self.small_commits(fewer, random));
            steps.push(Step::Flush);
            steps.push(match random.below(3) {
                0 => Step::Kill,
                1 => Step::Reopen(false),
                _ => Step::Crash(random.word(), 0),
            });
        }
        steps
    }

    /// A transaction too large for memory, behind whose first changes the log goes on to other segments before it commits.
    fn long_transaction(&mut self, random: &mut Random) -> Vec<Step> {
        let mut steps = vec![Step::Single(Op::Tree(0)), Step::Single(Op::Tree(1))];
        steps.push(Step::Begin(Isolation::Snapshot, self.durability(random)));
        // All of these mean the same transaction, as none begins or ends between them.
        let which = random.word() as u8;
        for _ in 0..random.between(2, 6) {
            self.mark += 1;
            let value = Val { len: 300, mark: self.mark };
            steps.push(Step::Act(
                which,
                Op::Fill(0, random.below(2_000) as u16, 3, self.fill_max as u16, value),
            ));
        }
        for _ in 0..random.between(10, 30) {
            self.mark += 1;
            let value = Val { len: 3_500, mark: self.mark };
            steps.push(Step::Single(Op::Put(1, Key::Short(random.below(12) as u8), value)));
        }
        steps.extend([Step::Checkpoint, Step::Commit(which, false), Step::Flush]);
        if random.percent(50) {
            steps.push(Step::Crash(random.word(), 0));
        }
        steps
    }

    fn small_commits(&mut self, count: u64, random: &mut Random) -> Vec<Step> {
        let mut commit = || {
            self.mark += 1;
            let value = Val { len: self.burst_len as u32, mark: self.mark };
            Step::Single(Op::Put(0, Key::Short(random.below(4) as u8), value))
        };
        (0..count).map(|_| commit()).collect()
    }

    fn tree(&self, random: &mut Random) -> u8 {
        if self.favourite && random.percent(80) { 0 } else { random.below(TREES.into()) as u8 }
    }

    fn key(&self, random: &mut Random) -> Key {
        match random.weighted(&self.keys) {
            0 => Key::Empty,
            1 => Key::Short(random.below(self.short_keys) as u8),
            2 => Key::Shared(random.below(self.shared_keys) as u16),
            3 if random.percent(20) => Key::Long(1000, random.below(4) as u8),
            3 => Key::Long(random.between(1, 1000) as u16, random.below(4) as u8),
            _ => Key::TooLong(random.below(40) as u8),
        }
    }

    fn value(&mut self, random: &mut Random) -> Val {
        let len = match random.weighted(&self.values) {
            0 => random.below(50),
            1 => random.below(1_500),
            2 => random.between(900, 5_000),
            3 => random.between(5_000, 30_000),
            _ => random.between(60_000, 200_000),
        };
        self.mark += 1;
        Val { len: len as u32, mark: self.mark }
    }

    fn span(&self, random: &mut Random) -> Span {
        let bound = |random: &mut Random| match random.below(4) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(self.key(random)),
            _ => Bound::Included(self.key(random)),
        };
        match random.below(8) {
            0 => Span::All,
            1 => Span::Prefix(self.key(random)),
            _ => Span::Between(bound(random), bound(random)),
        }
    }

    /// An operation that is allowed here.
    fn op(&mut self, random: &mut Random, allowed: impl Fn(Op) -> bool) -> Op {
        for _ in 0..100 {
            let op = self.any_op(random);
            if allowed(op) {
                return op;
            }
        }
        Op::Len(0)
    }

    fn any_op(&mut self, random: &mut Random) -> Op {
        let tree = self.tree(random);
        let which = random.word() as u8;
        let upper = random.percent(50);
        match random.weighted(&self.ops) {
            0 => Op::Get(tree, self.key(random)),
            1 => Op::Contains(tree, self.key(random)),
            2 => Op::End(tree, upper),
            3 => Op::Len(tree),
            4 => Op::Scan(tree, self.span(random), random.word() as u16 >> random.below(16), upper),
            5 => Op::Put(tree, self.key(random), self.value(random)),
            6 => Op::Insert(tree, self.key(random), self.value(random)),
            7 => Op::Remove(tree, self.key(random)),
            8 => Op::Delete(tree, self.key(random)),
            9 => Op::Swap(tree, self.key(random), random.percent(75), self.some_value(random)),
            10 => Op::Update(tree, self.key(random), self.some_value(random)),
            11 => Op::Pop(tree, upper),
            12 => Op::RemoveRange(tree, self.span(random)),
            13 => Op::Retain(tree, random.between(2, 7) as u8),
            14 => Op::Extract(tree, self.span(random), random.between(1, 4) as u8, random.below(9) as u8),
            15 => {
                let (first, stride) = (random.below(2_000) as u16, random.between(1, 50) as u16);
                let count = random.between(1, self.fill_max) as u16;
                Op::Fill(tree, first, stride, count, self.small_value(random))
            }
            16 => {
                let count = random.between(1, self.fill_max) as u16;
                Op::Append(tree, count, self.small_value(random), random.percent(10))
            }
            17 => Op::Create(tree),
            18 => Op::Tree(tree),
            19 => Op::Drop(tree),
            20 => Op::Rename(tree, self.tree(random)),
            21 => Op::Trees,
            22 => Op::Savepoint,
            23 => Op::Rollback(which),
            24 => Op::Release(which),
            25 => Op::Open(tree, self.span(random)),
            26 => Op::Walk(which, upper, random.between(1, 12) as u8),
            _ => Op::Close(which),
        }
    }

    fn some_value(&mut self, random: &mut Random) -> Option<Val> {
        if random.percent(75) { Some(self.value(random)) } else { None }
    }

    /// Of which there are many.
    fn small_value(&mut self, random: &mut Random) -> Val {
        self.mark += 1;
        let most = random.one_of(&[8, 40, 40, 400]);
        Val { len: random.below(most) as u32, mark: self.mark }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_program_and_another_is_another() {
        let shape = Shape::default();
        assert_eq!(Program::generate(7, &shape), Program::generate(7, &shape));
        assert_ne!(Program::generate(7, &shape).steps, Program::generate(8, &shape).steps);
    }

    #[test]
    fn every_seed_has_its_cycles() {
        for seed in 0..50 {
            let program = Program::generate(seed, &Shape::default());
            let ends = program.steps.iter().filter(|step| matches!(step, Step::Kill | Step::Crash(..)));
            assert!(ends.count() >= 3);
        }
    }
}
