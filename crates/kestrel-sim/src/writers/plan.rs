//! What each transaction does.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Every so manieth transaction of a writer is about its own tree.
const OWN_EVERY: u64 = 12;
const MIXED_KEYS: u16 = 300;
const RUN_KEYS: u16 = 500;
const OWN_KEYS: u16 = 80;

/// The trees that there are from the beginning to the end, and the one that each writer creates, renames and drops.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// Keys of all writers, one beside the other.
    Mixed,
    /// Keys of each writer together: ranges of them are removed.
    Runs,
    /// Few keys, large values.
    Large,
    Own,
}

/// The bytes of a value, told by a seed and a length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Filling {
    seed: u64,
    len: u32,
}

impl Filling {
    /// Puts the bytes in place of what `buffer` holds.
    pub(crate) fn write(self, buffer: &mut Vec<u8>) {
        buffer.resize(self.len as usize, 0);
        SmallRng::seed_from_u64(self.seed).fill(&mut buffer[..]);
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Put(Place, Vec<u8>, Filling),
    Delete(Place, Vec<u8>),
    /// Of [`Place::Runs`]: from the first key up to, not including, the second.
    RemoveRange(Vec<u8>, Vec<u8>),
    CreateOwn,
    RenameOwn,
    /// Under its first, or its second name.
    DropOwn(bool),
    /// Creates a tree, and puts an entry into it.
    CreateScratch,
    /// Adds a link to the chain.
    Link,
    /// Done and taken back.
    Undone(Vec<Step>),
}

/// What all transactions of a run do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides about everything.
    pub seed: u64,
    /// How many large values a writer keeps.
    pub large_keys: u16,
    /// Bytes of the largest of them.
    pub large_max: u32,
}

impl Plan {
    /// The steps of transaction `number` (from 1 on) of a writer.
    pub(crate) fn steps(&self, writer: u8, number: u64) -> Vec<Step> {
        let seed = self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (u64::from(writer) << 56);
        let mut draw = Draw { plan: self, writer, random: SmallRng::seed_from_u64(seed) };
        if number % OWN_EVERY == u64::from(writer) % OWN_EVERY {
            return draw.own(number / OWN_EVERY);
        }
        match draw.random.random_range(0..100_u32) {
            0..25 => draw.many(1..4, |draw| draw.put(Place::Mixed)),
            25..45 => draw.many(4..40, Draw::change),
            45..55 => draw.many(1..12, |draw| draw.delete(Place::Mixed)),
            55..68 => draw.range(),
            68..78 => draw.many(1..3, Draw::large),
            78..90 => [vec![Step::Link], draw.many(0..4, Draw::change)].concat(),
            90..98 => {
                let (before, after) = (draw.many(0..6, Draw::change), draw.many(0..6, Draw::change));
                let mut undone = draw.many(1..10, Draw::change);
                if draw.random.random() {
                    undone.push(Step::CreateScratch);
                }
                [before, vec![Step::Undone(undone)], after].concat()
            }
            // Long enough for its journal to be streamed to the log before it commits.
            _ => draw.many(200..900, |draw| draw.put(Place::Runs)),
        }
    }
}

struct Draw<'p> {
    plan: &'p Plan,
    writer: u8,
    random: SmallRng,
}

impl Draw<'_> {
    fn many(&mut self, count: std::ops::Range<usize>, mut step: impl FnMut(&mut Self) -> Step) -> Vec<Step> {
        let count = self.random.random_range(count);
        (0..count).map(|_| step(self)).collect()
    }

    fn change(&mut self) -> Step {
        match self.random.random_range(0..10_u32) {
            0..4 => self.put(Place::Mixed),
            4..8 => self.put(Place::Runs),
            8 => self.delete(Place::Mixed),
            _ => self.delete(Place::Runs),
        }
    }

    fn put(&mut self, place: Place) -> Step {
        let len = match self.random.random_range(0..20_u32) {
            0 => 0,
            1 => self.random.random_range(200..900),
            _ => self.random.random_range(1..100),
        };
        Step::Put(place, self.key(place), self.filling(len))
    }

    fn delete(&mut self, place: Place) -> Step {
        Step::Delete(place, self.key(place))
    }

    fn large(&mut self) -> Step {
        if self.random.random_range(0..5_u32) == 0 {
            return self.delete(Place::Large);
        }
        let max = self.plan.large_max.max(2_000);
        let max = if self.random.random_range(0..4_u32) == 0 { max } else { max.min(20_000) };
        let len = self.random.random_range(1_000..max);
        Step::Put(Place::Large, self.key(Place::Large), self.filling(len))
    }

    fn range(&mut self) -> Vec<Step> {
        let mut steps = self.many(0..4, |draw| draw.put(Place::Runs));
        let low = self.random.random_range(0..RUN_KEYS);
        let len = if self.random.random_range(0..4_u32) == 0 { RUN_KEYS } else { 40 };
        let high = low + self.random.random_range(0..len);
        steps.push(Step::RemoveRange(self.run_key(low), self.run_key(high)));
        steps.append(&mut self.many(0..4, |draw| draw.put(Place::Runs)));
        steps
    }

    /// Created and filled, changed, renamed, dropped, and again.
    fn own(&mut self, round: u64) -> Vec<Step> {
        let mut steps = match round % 4 {
            0 if round == 0 => return vec![],
            0 => return vec![Step::DropOwn(true)],
            1 => vec![Step::CreateOwn],
            2 => vec![Step::Undone(vec![Step::DropOwn(false)])],
            _ => vec![Step::RenameOwn],
        };
        steps.append(&mut self.many(1..60, |draw| draw.put(Place::Own)));
        steps
    }

    fn key(&mut self, place: Place) -> Vec<u8> {
        let keys = match place {
            Place::Mixed => MIXED_KEYS,
            Place::Runs => RUN_KEYS,
            Place::Large => self.plan.large_keys.max(1),
            Place::Own => OWN_KEYS,
        };
        let number = self.random.random_range(0..keys);
        match place {
            Place::Mixed => [&number.to_be_bytes()[..], &[self.writer]].concat(),
            _ => self.run_key(number),
        }
    }

    fn run_key(&self, number: u16) -> Vec<u8> {
        [&[self.writer][..], &number.to_be_bytes()].concat()
    }

    fn filling(&mut self, len: u32) -> Filling {
        Filling { seed: self.random.random(), len }
    }
}
