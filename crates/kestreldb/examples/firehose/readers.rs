//! The threads that keep asking.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kestreldb::Database;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Failure;
use crate::indexes::Indexes;
use crate::meter::Meter;
use crate::queries::{self, Window};

/// Hits in a window, about.
const WINDOW_HITS: std::ops::Range<u64> = 100..3_000;
const TOP: usize = 10;

/// Asks one question after the other, each of a new snapshot.
pub fn read(
    db: &Database,
    indexes: &Indexes,
    meter: &Meter,
    seed: u64,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut random = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if ask(db, indexes, &mut random)? {
            meter.queries.record(1, begun);
        } else {
            // Nothing is there yet.
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// One of the questions; whether there was anything to ask about.
fn ask(db: &Database, indexes: &Indexes, random: &mut SmallRng) -> Result<bool, Failure> {
    let snapshot = db.begin_read()?;
    queries::check_counts(&snapshot, indexes)?;
    let Some(window) = Window::newest(&snapshot, indexes, random.random_range(WINDOW_HITS))? else {
        return Ok(false);
    };
    let hits = queries::hits(&snapshot, indexes, window)?;
    let Some(some) = hits.get(random.random_range(0..hits.len().max(1))) else {
        return Err("the newest hit is not in the window that ends with it".into());
    };
    match random.random_range(0..3) {
        0 => {
            let counted = queries::page_hits(&snapshot, indexes, &some.site, &some.page, window)?;
            let expected =
                hits.iter().filter(|hit| (&hit.site, &hit.page) == (&some.site, &some.page)).count();
            if counted != expected as u64 {
                return Err(format!("by_page has {counted} hits of a page, by_time {expected}").into());
            }
        }
        1 => {
            let top = queries::top_pages(&hits, TOP);
            let listed: u64 = top.iter().map(|(hits, _, _)| hits).sum();
            if top.is_empty() || listed > hits.len() as u64 {
                return Err(format!("the top pages have {listed} of {} hits", hits.len()).into());
            }
        }
        _ => {
            let other = &hits[random.random_range(0..hits.len())];
            let sites = (&some.site[..], &other.site[..]);
            queries::shared_audience(&snapshot, indexes, &hits, window, sites)?;
        }
    }
    Ok(true)
}
