//! Checks of the bookkeeping against itself, and of the directory on disk against that in memory.

use kestrel_check::sync::atomic::Ordering;

use super::allocator::Allocator;
use super::directory::page_at;
use super::format::{self, CHUNK, CHUNK_ENTRIES};
use super::location::Extent;
use super::superblock::{self, SLOT, SLOTS};
use super::{Claim, Location, PageStore};
use crate::Error;

impl PageStore {
    /// Reads both superblocks and the whole directory once more: everything that is not what the newest checkpoint wrote. No
    /// checkpoint may be written meanwhile.
    #[must_use]
    pub fn verify_directory(&self) -> Vec<Error> {
        let mut problems = Vec::new();
        let mut read = |bytes: &mut [u8], offset: u64| match self.read(bytes, offset, None) {
            Ok(()) => true,
            Err(error) => {
                problems.push(error);
                false
            }
        };
        let directory = self.directory.read();
        let mut head = vec![0; SLOT * SLOTS];
        let mut found = Vec::new();
        if read(&mut head, 0) {
            for (slot, problem) in superblock::problems(&head, directory.number) {
                let detail =
                    format!("superblock {slot} is damaged: {problem}; the next checkpoints replace it");
                found.push(Error::corrupted(None, (slot * SLOT) as u64, detail));
            }
        }
        let mut bytes = vec![0; CHUNK];
        for (number, reference) in directory.references.iter().enumerate() {
            let Some(reference) = reference else { continue };
            let offset = reference.extent().offset();
            if read(&mut bytes, offset) && format::checksum(self.seed, &[&bytes]) != reference.checksum {
                let (first, last) = (page_at(number, 0).0, page_at(number, CHUNK_ENTRIES - 1).0);
                let detail = format!(
                    "the checksum of directory chunk {number} is wrong, which says where pages {first} to {last} lie"
                );
                found.push(Error::corrupted(None, offset, detail));
            }
        }
        let root = directory.root;
        let mut bytes = vec![0; root.bytes() as usize];
        if read(&mut bytes, root.offset()) {
            let named = superblock::newest(&head).filter(|superblock| superblock.number == directory.number);
            let intact = named.is_none_or(|superblock| {
                let root = bytes.get(..superblock.root_len as usize);
                root.is_some_and(|root| format::checksum(self.seed, &[root]) == superblock.root_checksum)
            });
            if !intact {
                let detail = "the checksum of the directory's root is wrong, which names all trees and pages";
                found.push(Error::corrupted(None, root.offset(), detail));
            }
        }
        drop(directory);
        problems.append(&mut found);
        problems
    }

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
