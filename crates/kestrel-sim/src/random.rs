//! A seeded generator. Not for secrets.

/// Steele, Lea and Flood's SplitMix64 ("Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// A sequence of its own for every purpose, so that more draws for one change nothing for another.
    #[must_use]
    pub fn of(seed: u64, purpose: u64) -> Random {
        let mut random = Random::new(seed ^ purpose.wrapping_mul(0xA076_1D64_78BD_642F));
        random.state ^= random.word();
        random
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, zero if that is. The bias of the remainder is far too small to matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word().checked_rem(bound).unwrap_or(0)
    }

    /// The same for indices.
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// True so many times out of so many.
    pub fn chance(&mut self, share: u64, of: u64) -> bool {
        self.below(of) < share
    }

    /// A number from `low` up to, not including, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low))
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// The index of one of several, each with its own weight.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().copied().map(u64::from).sum());
        for (index, &weight) in weights.iter().enumerate() {
            match left.checked_sub(weight.into()) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        assert_eq!([random.word(), random.word()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn weights_are_kept_and_nothing_is_drawn_from_nothing() {
        let mut random = Random::new(1);
        let mut counts = [0; 3];
        (0..1000).for_each(|_| counts[random.weighted(&[0, 1, 3])] += 1);
        assert!(counts[0] == 0 && counts[1] > 150 && counts[2] > 600, "{counts:?}");
        assert_eq!((random.below(0), random.between(7, 7)), (0, 7));
    }
}
