//! Which sectors have which claims, and where the next extents go. Memory only: no I/O happens here.
//!
//! Two bitmaps over the sectors, in regions of 1 MiB. Small extents fill the gaps of one *current* region after the
//! other: the emptiest, if at least a quarter of it is free, else a fresh one at the end of the file. So images that
//! are written together lie together, and regions that churn empties are refilled in one go. Extents larger than a
//! region take runs of empty regions.
//!
//! Invariant: `free` and `no_gap_of` of a region agree with its bitmaps; `live` and `free` with all regions.

use super::Claim;
use super::format::{FIRST_SECTOR, SECTOR};
use super::location::{Extent, Location};

/// Sectors of a region.
pub(crate) const REGION: u64 = 2048;
/// Bytes of a region.
pub(crate) const REGION_BYTES: u64 = REGION * SECTOR;

/// The most regions that locations can tell apart.
pub(crate) const CAPACITY_MAX: u64 = Location::SECTORS / REGION;

const WORDS: usize = REGION as usize / 64;
/// Free sectors from which on a region is worth filling.
const WORTHWHILE: u64 = REGION / 4;
/// Extents up to this size follow each other in the current region; larger ones would make it skip its small gaps.
const SMALL: u64 = 256;
/// How many fragmented regions are tried before the file grows.
const TRIES: usize = 8;

/// The claims of a region's sectors, a bit each.
#[derive(Clone)]
struct Region {
    live: [u64; WORDS],
    durable: [u64; WORDS],
}

/// What is known of a region without looking at its bits.
#[derive(Clone, Copy)]
struct Summary {
    /// Sectors without claims.
    free: u16,
    /// There is no gap of so many sectors, or of more.
    no_gap_of: u16,
}

impl Summary {
    const EMPTY: Summary = Summary { free: REGION as u16, no_gap_of: u16::MAX };
}

impl Region {
    const EMPTY: Region = Region { live: [0; WORDS], durable: [0; WORDS] };

    fn used(&self, word: usize) -> u64 {
        self.live[word] | self.durable[word]
    }

    /// The first sector from `at` on that is used (or free); the region's end if there is none.
    fn next(&self, at: u64, used: bool) -> u64 {
        let mut word = (at / 64) as usize;
        let mut mask = u64::MAX << (at % 64);
        while word < WORDS {
            let bits = if used { self.used(word) } else { !self.used(word) };
            if bits & mask != 0 {
                return word as u64 * 64 + u64::from((bits & mask).trailing_zeros());
            }
            word += 1;
            mask = u64::MAX;
        }
        REGION
    }

    /// The first gap of `sectors` from `at` on.
    fn gap(&self, mut at: u64, sectors: u64) -> Option<u64> {
        while at < REGION {
            let start = self.next(at, false);
            let end = self.next(start, true);
            if start < REGION && end - start >= sectors {
                return Some(start);
            }
            at = end;
        }
        None
    }
}

/// Calls `visit` with region, word and mask for each word that the extent has a part in.
fn for_each_word(extent: Extent, mut visit: impl FnMut(usize, usize, u64)) {
    let mut at = extent.sector;
    while at < extent.end() {
        let count = (64 - at % 64).min(extent.end() - at);
        let mask = (u64::MAX >> (64 - count)) << (at % 64);
        visit((at / REGION) as usize, (at % REGION / 64) as usize, mask);
        at += count;
    }
}

/// The claims on all sectors.
pub(crate) struct Allocator {
    regions: Vec<Region>,
    summaries: Vec<Summary>,
    /// Whole regions that the file has room for; those behind `regions` are fresh.
    capacity: u64,
    /// The region being filled, and where its next gap is looked for.
    current: Option<(usize, u64)>,
    /// Free sectors of `regions`.
    free: u64,
    /// Sectors with a live claim.
    live: u64,
}

impl Allocator {
    /// A file with room for so many regions, of which only the reserved sectors are in use.
    pub(crate) fn new(capacity: u64) -> Allocator {
        let capacity = capacity.clamp(1, CAPACITY_MAX);
        let mut allocator =
            Allocator { regions: vec![], summaries: vec![], capacity, current: None, free: 0, live: 0 };
        allocator.cover(1);
        // The superblocks are part of every checkpoint.
        allocator.add(Extent { sector: 0, sectors: FIRST_SECTOR }, Claim::Durable);
        allocator
    }

    /// Regions that the file has room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The file has grown.
    pub(crate) fn set_capacity(&mut self, regions: u64) {
        self.capacity = self.capacity.max(regions.min(CAPACITY_MAX));
    }

    /// Sectors without claims, those of fresh regions included.
    pub(crate) fn free(&self) -> u64 {
        self.free + self.capacity.saturating_sub(self.regions.len() as u64) * REGION
    }

    /// Sectors with a live claim.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// Finds room for an extent and claims it; `None` if the file has to [grow](Allocator::capacity_for) first. With
    /// `squeeze`, every gap of every region is considered.
    pub(crate) fn allocate(&mut self, sectors: u64, claim: Claim, squeeze: bool) -> Option<Extent> {
        debug_assert!(sectors > 0);
        let sector =
            if sectors <= REGION { self.find(sectors, squeeze) } else { self.find_regions(sectors) }?;
        let extent = Extent { sector, sectors };
        self.cover(extent.end().div_ceil(REGION));
        self.add(extent, claim);
        Some(extent)
    }

    /// Regions that the file must have room for, so that an extent of `sectors` fits behind all others.
    pub(crate) fn capacity_for(&self, sectors: u64) -> u64 {
        let used = self.summaries.iter().rposition(|s| u64::from(s.free) != REGION).map_or(0, |i| i + 1);
        // One more than it has, as the room it has was not found to be enough.
        (used as u64 + sectors.div_ceil(REGION)).max(self.capacity + 1)
    }

    /// Claims an extent if no sector of it has a claim yet. It must lie within the file.
    pub(crate) fn try_claim(&mut self, extent: Extent, claim: Claim) -> bool {
        self.cover(extent.end().div_ceil(REGION));
        let free = self.all(extent, |region, word, mask| region.used(word) & mask == 0);
        if free {
            self.add(extent, claim);
        }
        free
    }

    /// Adds a live claim to an extent that has a durable one.
    pub(crate) fn claim_live(&mut self, extent: Extent) {
        debug_assert!(self.all(extent, |r, w, mask| r.live[w] & mask == 0 && r.durable[w] & mask == mask));
        self.add(extent, Claim::Live);
    }

    /// Makes sure that an extent, which has a claim already, has a durable one; whether it had not.
    pub(crate) fn claim_durable(&mut self, extent: Extent) -> bool {
        debug_assert!(self.all(extent, |r, w, mask| r.used(w) & mask == mask), "{extent:?} may be reused");
        let new = !self.is_durable(extent);
        if new {
            self.add(extent, Claim::Durable);
        }
        new
    }

    /// Whether all sectors of the extent have a durable claim.
    pub(crate) fn is_durable(&self, extent: Extent) -> bool {
        self.all(extent, |region, word, mask| region.durable[word] & mask == mask)
    }

    /// Whether all sectors of the extent have a live claim.
    pub(crate) fn is_live(&self, extent: Extent) -> bool {
        self.all(extent, |region, word, mask| region.live[word] & mask == mask)
    }

    /// Ends the claim; the sectors are free unless the other one holds them.
    pub(crate) fn release(&mut self, extent: Extent, claim: Claim) {
        let (live, durable) = parts(claim);
        debug_assert!(!live || self.is_live(extent), "{extent:?} is released twice");
        debug_assert!(!durable || self.is_durable(extent), "{extent:?} is released twice");
        for_each_word(extent, |region, word, mask| {
            let (Some(bits), Some(summary)) = (self.regions.get_mut(region), self.summaries.get_mut(region))
            else {
                return;
            };
            let used = bits.used(word).count_ones();
            if live {
                self.live -= u64::from((bits.live[word] & mask).count_ones());
                bits.live[word] &= !mask;
            }
            if durable {
                bits.durable[word] &= !mask;
            }
            let freed = used - bits.used(word).count_ones();
            self.free += u64::from(freed);
            summary.free += freed as u16;
            if freed > 0 {
                summary.no_gap_of = u16::MAX;
            }
        });
    }

    /// The first sectors of the runs that have the claim here and not in `other`.
    pub(crate) fn claims_missing_in(&self, other: &Allocator, claim: Claim) -> Vec<u64> {
        let bits = |allocator: &Allocator, region: usize, word: usize| {
            let region = allocator.regions.get(region);
            region.map_or(0, |r| if claim == Claim::Durable { r.durable[word] } else { r.live[word] })
        };
        let mut starts = Vec::new();
        let mut in_run = false;
        for sector in 0..self.regions.len() as u64 * REGION {
            let (region, word) = ((sector / REGION) as usize, (sector % REGION / 64) as usize);
            let missing = bits(self, region, word) & !bits(other, region, word) & (1 << (sector % 64)) != 0;
            if missing && !in_run {
                starts.push(sector);
            }
            in_run = missing;
        }
        starts
    }

    /// What counters disagree with the bitmaps.
    pub(crate) fn verify(&self, problems: &mut Vec<String>) {
        let (mut free, mut live) = (0, 0);
        for (number, (region, summary)) in self.regions.iter().zip(&self.summaries).enumerate() {
            let used: u32 = (0..WORDS).map(|word| region.used(word).count_ones()).sum();
            let counted = REGION - u64::from(used);
            if u64::from(summary.free) != counted {
                problems.push(format!("region {number} counts {} free sectors of {counted}", summary.free));
            }
            if summary.no_gap_of != u16::MAX && region.gap(0, u64::from(summary.no_gap_of)).is_some() {
                problems.push(format!("region {number} overlooks a gap"));
            }
            free += counted;
            live += region.live.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        if (free, live) != (self.free, self.live) {
            problems.push(format!(
                "{} free and {} live sectors are counted as {} and {}",
                free, live, self.free, self.live
            ));
        }
    }

    fn add(&mut self, extent: Extent, claim: Claim) {
        let (live, durable) = parts(claim);
        for_each_word(extent, |region, word, mask| {
            let (bits, summary) = (&mut self.regions[region], &mut self.summaries[region]);
            let used = bits.used(word).count_ones();
            if live {
                debug_assert_eq!(bits.live[word] & mask, 0, "a live claim has one owner");
                self.live += u64::from(mask.count_ones());
                bits.live[word] |= mask;
            }
            if durable {
                debug_assert_eq!(bits.durable[word] & mask, 0, "{extent:?} is claimed twice");
                bits.durable[word] |= mask;
            }
            let taken = bits.used(word).count_ones() - used;
            self.free -= u64::from(taken);
            summary.free -= taken as u16;
        });
    }

    fn all(&self, extent: Extent, mut test: impl FnMut(&Region, usize, u64) -> bool) -> bool {
        let mut holds = true;
        for_each_word(extent, |region, word, mask| {
            holds = holds && self.regions.get(region).is_some_and(|region| test(region, word, mask));
        });
        holds
    }

    /// Has bitmaps for at least so many regions.
    fn cover(&mut self, regions: u64) {
        debug_assert!(regions <= self.capacity);
        while (self.regions.len() as u64) < regions {
            self.regions.push(Region::EMPTY);
            self.summaries.push(Summary::EMPTY);
            self.free += REGION;
        }
    }

    /// Finds a gap within one region.
    fn find(&mut self, sectors: u64, squeeze: bool) -> Option<u64> {
        if let Some((number, at)) = self.current.filter(|_| sectors <= SMALL)
            && let Some(start) = self.regions[number].gap(at, sectors)
        {
            return Some(self.found(number, start, sectors));
        }
        let worthwhile = if squeeze { sectors } else { sectors.max(WORTHWHILE) };
        let tries = if squeeze { usize::MAX } else { TRIES };
        for _ in 0..tries {
            let Some(number) = self.emptiest(worthwhile, sectors) else { break };
            if let Some(start) = self.regions[number].gap(0, sectors) {
                return Some(self.found(number, start, sectors));
            }
            self.summaries[number].no_gap_of = sectors as u16;
        }
        let fresh = self.regions.len();
        ((fresh as u64) < self.capacity).then(|| {
            self.cover(fresh as u64 + 1);
            self.found(fresh, 0, sectors)
        })
    }

    fn found(&mut self, region: usize, start: u64, sectors: u64) -> u64 {
        if sectors <= SMALL {
            self.current = Some((region, start + sectors));
        }
        region as u64 * REGION + start
    }

    /// The region with the most free sectors, at least `worthwhile`, that may have a gap of `sectors`.
    fn emptiest(&self, worthwhile: u64, sectors: u64) -> Option<usize> {
        let mut best: Option<(u16, usize)> = None;
        for (number, summary) in self.summaries.iter().enumerate() {
            let eligible = u64::from(summary.free) >= worthwhile && u64::from(summary.no_gap_of) > sectors;
            if eligible && best.is_none_or(|(free, _)| summary.free > free) {
                best = Some((summary.free, number));
            }
        }
        best.map(|(_, number)| number)
    }

    /// Finds empty regions in a row, of which the last need only be empty as far as it is needed.
    fn find_regions(&self, sectors: u64) -> Option<u64> {
        let (whole, rest) = (sectors / REGION, sectors % REGION);
        let mut empty = 0;
        for number in 0..self.capacity {
            if empty == whole && (rest == 0 || self.empty_from_start(number) >= rest) {
                return Some((number - whole) * REGION);
            }
            // A longer row than needed moves on with its end.
            empty = if self.empty_from_start(number) == REGION { (empty + 1).min(whole) } else { 0 };
        }
        (empty == whole && rest == 0).then(|| (self.capacity - whole) * REGION)
    }

    fn empty_from_start(&self, number: u64) -> u64 {
        self.regions.get(number as usize).map_or(REGION, |region| region.next(0, true))
    }
}

/// Whether the claim is live, and whether it is durable.
fn parts(claim: Claim) -> (bool, bool) {
    (claim != Claim::Durable, claim != Claim::Live)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_extents_follow_each_other() {
        let mut allocator = Allocator::new(1);
        let extents: Vec<_> = (1..5).map(|n| allocator.allocate(n, Claim::Live, false).unwrap()).collect();
        assert_eq!(extents.iter().map(|e| e.sector).collect::<Vec<_>>(), [128, 129, 131, 134]);
    }

    #[test]
    fn an_emptied_region_is_filled_before_the_file_grows() {
        let mut allocator = Allocator::new(3);
        let mut extents = vec![];
        while let Some(extent) = allocator.allocate(100, Claim::Live, false) {
            extents.push(extent);
        }
        assert_eq!(extents.len(), 19 + 20 + 20);
        assert_eq!(allocator.capacity_for(1), 4);
        for extent in extents.drain(19..39).skip(10) {
            allocator.release(extent, Claim::Live);
        }
        assert_eq!(allocator.allocate(1000, Claim::Live, false).unwrap().sector, REGION + 1000);
        assert_eq!(allocator.allocate(100, Claim::Live, false), None);
        // The last free sectors are found when it matters.
        assert_eq!(allocator.allocate(48, Claim::Live, true).unwrap().sector, 2 * REGION + 2000);
        assert_eq!(allocator.allocate(48, Claim::Live, true).unwrap().sector, REGION + 2000);
        assert_eq!(allocator.free(), 20);
        assert_eq!(allocator.allocate(21, Claim::Live, true), None);
    }

    #[test]
    fn large_extents_take_empty_regions_and_give_them_back() {
        let mut allocator = Allocator::new(4);
        let large = allocator.allocate(2 * REGION + 1, Claim::Live, false).unwrap();
        assert_eq!(large.sector, REGION);
        assert_eq!(allocator.allocate(2 * REGION, Claim::Live, false), None);
        assert_eq!(allocator.capacity_for(2 * REGION), 6);
        allocator.set_capacity(6);
        let next = allocator.allocate(2 * REGION, Claim::Live, false).unwrap();
        assert_eq!(next.sector, 4 * REGION);
        allocator.release(large, Claim::Live);
        assert_eq!(allocator.allocate(3 * REGION, Claim::Live, false).unwrap().sector, REGION);
        assert!(!allocator.try_claim(next, Claim::Live));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u64, u8),
        Release(usize),
        AddDurable(usize),
        Grow,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let size = prop_oneof![8 => 1..130u64, 2 => 130..2049u64, 1 => 2049..6000u64];
        let step = prop_oneof![
            6 => (size, 0..6u8).prop_map(|(n, how)| Step::Allocate(n, how)),
            5 => any::<prop::sample::Index>().prop_map(|i| Step::Release(i.index(1000))),
            1 => any::<prop::sample::Index>().prop_map(|i| Step::AddDurable(i.index(1000))),
            1 => Just(Step::Grow),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn extents_never_overlap_and_counters_agree(steps in steps()) {
            let mut allocator = Allocator::new(1);
            let mut held: Vec<(Extent, Claim)> = vec![];
            for step in steps {
                match step {
                    Step::Allocate(sectors, how) => {
                        let claim = [Claim::Live, Claim::Durable, Claim::Both][usize::from(how) % 3];
                        match allocator.allocate(sectors, claim, how >= 3) {
                            Some(extent) => {
                                prop_assert_eq!(extent.sectors, sectors);
                                prop_assert!(extent.sector >= FIRST_SECTOR);
                                prop_assert!(extent.end() <= allocator.capacity() * REGION);
                                let apart = |&(other, _): &(Extent, Claim)| {
                                    other.end() <= extent.sector || extent.end() <= other.sector
                                };
                                prop_assert!(held.iter().all(apart), "{:?} overlaps", extent);
                                held.push((extent, claim));
                            }
                            None => {
                                let needed = allocator.capacity_for(sectors);
                                if needed < 40 {
                                    allocator.set_capacity(needed);
                                    let extent = allocator.allocate(sectors, claim, false);
                                    prop_assert!(extent.is_some());
                                    held.extend(extent.map(|extent| (extent, claim)));
                                }
                            }
                        }
                    }
                    Step::Release(index) if !held.is_empty() => {
                        let (extent, claim) = held.swap_remove(index % held.len());
                        allocator.release(extent, claim);
                    }
                    Step::AddDurable(index) if !held.is_empty() => {
                        let index = index % held.len();
                        let (extent, claim) = &mut held[index];
                        prop_assert_eq!(allocator.claim_durable(*extent), *claim == Claim::Live);
                        if *claim == Claim::Live {
                            *claim = Claim::Both;
                        }
                    }
                    Step::Grow => allocator.set_capacity(allocator.capacity() + 1),
                    _ => {}
                }
                let mut problems = vec![];
                allocator.verify(&mut problems);
                prop_assert!(problems.is_empty(), "{:?}", problems);
            }
            let sectors = |only: &dyn Fn(Claim) -> bool| -> u64 {
                held.iter().filter(|(_, claim)| only(*claim)).map(|(extent, _)| extent.sectors).sum()
            };
            prop_assert_eq!(allocator.live(), sectors(&|claim| claim != Claim::Durable));
            prop_assert_eq!(allocator.free(), allocator.capacity() * REGION - FIRST_SECTOR - sectors(&|_| true));
        }
    }
}
