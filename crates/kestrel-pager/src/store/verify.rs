//! Checks of the bookkeeping against itself.

use kestrel_check::sync::atomic::Ordering;

use super::allocator::Allocator;
use super::location::Extent;
use super::{Claim, Location, PageStore};

impl PageStore {
    /// Compares the durable claims with the directory, and the allocator's counters with its bitmaps: every problem, in
    /// words. Nothing is read from the file. While a checkpoint is being written, or after one failed halfway, surplus
    /// claims are in order.
    #[must_use]
    pub fn verify_claims(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let directory = self.directory.read();
        let allocator = self.allocator.lock();
        allocator.verify(&mut problems);
        let mut expected = Allocator::new(allocator.capacity());
        for extent in directory.own_extents() {
            expect(&mut expected, extent, Claim::Durable, "the directory", &mut problems);
        }
        for (page, entry) in directory.entries() {
            expect(&mut expected, entry.extent(), Claim::Durable, &page.to_string(), &mut problems);
        }
        let surplus_is_fine =
            self.in_checkpoint.load(Ordering::Acquire) || self.poisoned.load(Ordering::Acquire);
        for sector in expected.claims_missing_in(&allocator, Claim::Durable) {
            problems.push(format!("sector {sector} has lost its durable claim"));
        }
        if !surplus_is_fine {
            for sector in allocator.claims_missing_in(&expected, Claim::Durable) {
                problems.push(format!("sector {sector} has a durable claim of nothing"));
            }
        }
        problems
    }

    /// Compares the live claims with what their owners say they own: every problem, in words. For quiet moments: no
    /// checkpoint is being written, and no claim changes hands.
    #[must_use]
    pub fn verify_live_claims(
        &self,
        owned: impl IntoIterator<Item = (Location, Option<u32>)>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let waiting = self.waiting.lock().clone();
        let allocator = self.allocator.lock();
        let mut expected = Allocator::new(allocator.capacity());
        for (location, blob_len) in owned {
            let what = format!("the owner of {location:?}");
            expect(&mut expected, location.extent(blob_len), Claim::Live, &what, &mut problems);
        }
        for extent in waiting {
            expect(&mut expected, extent, Claim::Live, "a released blob", &mut problems);
        }
        for sector in expected.claims_missing_in(&allocator, Claim::Live) {
            problems.push(format!("sector {sector} has lost its live claim"));
        }
        for sector in allocator.claims_missing_in(&expected, Claim::Live) {
            problems.push(format!("sector {sector} has a live claim without owner"));
        }
        problems
    }
}

fn expect(expected: &mut Allocator, extent: Extent, claim: Claim, what: &str, problems: &mut Vec<String>) {
    if !expected.try_claim(extent, claim) {
        problems.push(format!("{what} shares sectors {} to {} with others", extent.sector, extent.end()));
    }
}
