//! How fast it goes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::disk::Syncs;
use crate::memory;
use crate::stalls::Stalls;

/// Both directions of the traffic.
pub struct Meter {
    pub ingest: Gauge,
    pub queries: Gauge,
    begun: Instant,
}

/// Counts and times one kind of work, in all threads together.
pub struct Gauge {
    readings: Mutex<(Reading, Reading)>,
    pub stalls: Stalls,
    syncs: Arc<Syncs>,
}

/// What was done in some time.
#[derive(Clone)]
struct Reading {
    units: u64,
    calls: u64,
    micros: Histogram<u64>,
}

/// What is shown.
pub struct Figures {
    seconds: f64,
    ingest: Reading,
    queries: Reading,
}

impl Meter {
    pub fn new(syncs: Arc<Syncs>) -> Meter {
        Meter { ingest: Gauge::new(Arc::clone(&syncs)), queries: Gauge::new(syncs), begun: Instant::now() }
    }

    /// Since the last call of this kind, which was so long ago.
    pub fn interval(&self, length: Duration) -> Figures {
        let (ingest, queries) = (self.ingest.take_interval(), self.queries.take_interval());
        Figures { seconds: length.as_secs_f64(), ingest, queries }
    }

    /// Since the beginning.
    pub fn total(&self) -> Figures {
        let (ingest, queries) = (self.ingest.total(), self.queries.total());
        Figures { seconds: self.begun.elapsed().as_secs_f64(), ingest, queries }
    }
}

impl Gauge {
    fn new(syncs: Arc<Syncs>) -> Gauge {
        let readings = Mutex::new((Reading::new(), Reading::new()));
        Gauge { readings, stalls: Stalls::default(), syncs }
    }

    /// Notes a call that did `units` of work and has just ended.
    pub fn record(&self, units: u64, begun: Instant) {
        let ended = Instant::now();
        self.stalls.record(begun, ended, &self.syncs);
        let micros = u64::try_from((ended - begun).as_micros()).unwrap_or(u64::MAX);
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.0.record(units, micros);
        readings.1.record(units, micros);
    }

    fn take_interval(&self) -> Reading {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = readings.0.clone();
        readings.0.clear();
        taken
    }

    fn total(&self) -> Reading {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Reading {
    fn new() -> Reading {
        // Up to a minute, in three digits: such bounds are valid by definition.
        let micros = Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds");
        Reading { units: 0, calls: 0, micros }
    }

    fn record(&mut self, units: u64, micros: u64) {
        self.units += units;
        self.calls += 1;
        self.micros.saturating_record(micros);
    }

    fn clear(&mut self) {
        (self.units, self.calls) = (0, 0);
        self.micros.reset();
    }

    fn percentile(&self, percentile: f64) -> String {
        let micros = self.micros.value_at_percentile(percentile);
        format!("{:.1?}", Duration::from_micros(micros))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ingest, queries) = (&self.ingest, &self.queries);
        write!(
            f,
            "{:>7.0} hits/s ({} hits, batch p50 {} p99 {})  {:>5.0} queries/s (p50 {} p99 {})  memory {}",
            ingest.units as f64 / self.seconds,
            ingest.units,
            ingest.percentile(50.0),
            ingest.percentile(99.0),
            queries.calls as f64 / self.seconds,
            queries.percentile(50.0),
            queries.percentile(99.0),
            memory::resident().map_or("unknown".to_owned(), memory::human),
        )
    }
}
