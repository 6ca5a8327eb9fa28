//! The threads that store what comes in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kestreldb::Database;

use crate::Failure;
use crate::feed::Feed;
use crate::indexes::{Acknowledgement, Indexes};
use crate::meter::Meter;

/// A batch that the database said it has.
pub struct Acknowledged {
    pub batch: u64,
    pub content: Acknowledgement,
}

/// Stores batch after batch, each in one transaction, and returns those that were acknowledged.
pub fn write(
    db: &Database,
    indexes: &Indexes,
    feed: &Feed,
    meter: &Meter,
    stop: &AtomicBool,
) -> Result<Vec<Acknowledged>, Failure> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(batch) = feed.next()? else { break };
        let begun = Instant::now();
        db.write(|tx| indexes.store(tx, &batch))?;
        meter.ingest.record(batch.hits.len() as u64, begun);
        acknowledged.push(Acknowledged { batch: batch.number, content: Acknowledgement::of(&batch) });
    }
    Ok(acknowledged)
}
