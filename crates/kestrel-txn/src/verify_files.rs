//! Verification of what the files hold, which is what the next opening finds.

use std::collections::HashSet;

use kestrel_pager::PageId;
use kestrel_wal::Lsn;

use crate::core::Core;
use crate::damage::DATA_FILE;
use crate::operation::operations;
use crate::record::{COMMIT, FRAGMENT, RecordHeader};
use crate::{Damage, Error, VerifyReport};
use kestrel_check::sync::atomic::Ordering;

/// The files that a database consists of, besides those of its log.
const FILES: [&str; 2] = [DATA_FILE, "kestrel.lock"];
/// What the names of a database's files begin with.
const PREFIX: &str = "kestrel.";
const LOG_PREFIXES: [&str; 2] = ["kestrel.log.", "kestrel.spare."];

impl Core {
    /// Reads the files, also what lies in memory. No checkpoint lets go of what is being read.
    pub(crate) fn verify_files(&self, report: &mut VerifyReport) -> Result<(), Error> {
        let _none = self.checkpointing.lock();
        let store = self.pager.store();
        report.damages.extend(store.verify_directory().into_iter().map(Damage::from));
        let mut entries = Vec::new();
        store.for_each_durable(|page, entry| entries.push((page, entry)));
        let mut damaged = Vec::new();
        for (page, entry) in entries {
            let read = match entry.blob_len {
                None => store.read_image(page, entry.location, &mut Vec::new()).map(|_| ()),
                Some(len) => store.read_blob(page, entry.location, len, entry.checksum).map(|_| ()),
            };
            damaged.extend(read.err().map(|error| (page, Damage::from(error).on(page))));
        }
        self.report_pages(damaged, report);
        let claims = store.verify_claims().into_iter();
        report.damages.extend(claims.map(|problem| Damage::in_file(DATA_FILE, None, problem)));
        self.verify_log(report);
        self.find_strangers(report)
    }

    /// Damaged images on disk: which keys they concern is said by the trees, if those lead to the pages still.
    fn report_pages(&self, damaged: Vec<(PageId, Damage)>, report: &mut VerifyReport) {
        if damaged.is_empty() {
            return;
        }
        let known: HashSet<(Option<u32>, Option<u64>)> =
            report.damages.iter().map(|damage| (damage.page, damage.offset)).collect();
        let places = self.locate(&damaged.iter().map(|(page, _)| *page).collect());
        for (page, damage) in damaged {
            // The trees came across it already.
            if known.contains(&(damage.page, damage.offset)) {
                continue;
            }
            report.damages.push(match places.get(&page) {
                Some((tree, keys)) => damage.of(tree, Some(keys.clone())),
                None => damage,
            });
        }
    }

    /// The log from the newest checkpoint on, as far as it is durable.
    fn verify_log(&self, report: &mut VerifyReport) {
        let from = Lsn(self.checkpoint_lsn.load(Ordering::Relaxed));
        let mut senseless = Vec::new();
        let damages = self.wal.verify(from, |record| {
            let sound = matches!(record.kind, COMMIT | FRAGMENT)
                && RecordHeader::decode(&record.payload)
                    .is_ok_and(|(_, bytes)| operations(bytes).all(|operation| operation.is_ok()));
            if !sound {
                senseless
                    .push(Damage::new(format!("log position {}: the record makes no sense", record.start)));
            }
        });
        report.damages.extend(damages.into_iter().map(Damage::from));
        report.damages.append(&mut senseless);
    }

    /// Files that look like the database's and are not.
    fn find_strangers(&self, report: &mut VerifyReport) -> Result<(), Error> {
        let names =
            self.storage.list().map_err(|error| crate::recovery::io_error("listing the files", &error))?;
        let mut strangers = self.wal.strangers()?;
        strangers.extend(names.into_iter().filter(|name| {
            let of_log = LOG_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            name.starts_with(PREFIX) && !of_log && !FILES.contains(&name.as_str())
        }));
        let detail = "the database does not refer to this file; if it is no longer wanted, remove it";
        report.damages.extend(strangers.into_iter().map(|name| Damage::in_file(name, None, detail)));
        Ok(())
    }
}
