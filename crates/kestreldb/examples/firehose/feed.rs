//! Where batches of hits come from, for any number of writers.

use std::sync::Mutex;

use crate::Failure;
use crate::arguments::Arguments;
use crate::generator::Generator;
use crate::hit::Hit;
use crate::indexes::Resume;
use crate::tsv::Tsv;

/// Some hits that are stored together.
pub struct Batch {
    /// Counts all batches of a database.
    pub number: u64,
    pub hits: Vec<Hit>,
}

/// Hands out batches, one after the other.
pub struct Feed {
    state: Mutex<State>,
    hits_per_batch: u64,
}

struct State {
    source: Source,
    next_batch: u64,
    next_hit: u64,
}

enum Source {
    MadeUp(Box<Generator>),
    Text(Tsv),
}

impl Feed {
    /// Numbers go on where an earlier run on the same database stopped.
    pub fn new(arguments: &Arguments, resume: &Resume) -> Result<Feed, Failure> {
        let source = match &arguments.input {
            None => Source::MadeUp(Box::new(Generator::new(arguments.seed, resume.last_time)?)),
            Some(path) => {
                let tsv = Tsv::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Source::Text(tsv)
            }
        };
        let state = State { source, next_batch: resume.next_batch, next_hit: resume.next_hit };
        Ok(Feed { state: Mutex::new(state), hits_per_batch: arguments.batch })
    }

    /// The next batch, the last one perhaps smaller; `None` at the end of the input.
    pub fn next(&self) -> Result<Option<Batch>, Failure> {
        let mut state = self.state.lock().map_err(|_| "the feed is broken")?;
        let State { source, next_batch, next_hit } = &mut *state;
        let mut hits = Vec::new();
        for _ in 0..self.hits_per_batch {
            let hit = match source {
                Source::MadeUp(generator) => Some(generator.next(*next_hit)),
                Source::Text(tsv) => tsv.next(*next_hit)?,
            };
            let Some(hit) = hit else { break };
            hits.push(hit);
            *next_hit += 1;
        }
        if hits.is_empty() {
            return Ok(None);
        }
        *next_batch += 1;
        Ok(Some(Batch { number: *next_batch - 1, hits }))
    }

    /// Lines of the input that were no hits.
    pub fn skipped(&self) -> u64 {
        let skipped = |state: &State| if let Source::Text(tsv) = &state.source { tsv.skipped() } else { 0 };
        self.state.lock().map_or(0, |state| skipped(&state))
    }
}
