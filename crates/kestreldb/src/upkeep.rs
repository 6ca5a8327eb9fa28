//! What has to be done now and then, by the keeper or by whoever does without one.

use std::sync::Arc;

use kestrel_io::Clock;
use kestrel_txn::Engine;
use parking_lot::Mutex;

use crate::leisure::Leisure;

/// Tidies up an engine in bounded steps, and decides when a checkpoint is due.
///
/// The log's growth alone does not decide: large values go to the data file without passing through the log, and what
/// they replace gives its space back at a checkpoint only. So the data file's growth counts as well.
#[derive(Debug)]
pub(crate) struct Upkeep {
    engine: Engine,
    /// So many more bytes in use make a checkpoint due.
    growth_max: u64,
    mark: Mutex<Mark>,
    leisure: Mutex<Leisure>,
}

/// What the data file held after a checkpoint.
#[derive(Clone, Copy, Debug)]
struct Mark {
    checkpoints: u64,
    used: u64,
}

impl Upkeep {
    pub(crate) fn new(engine: Engine, growth_max: u64, clock: Arc<dyn Clock>) -> Upkeep {
        let mark = Mutex::new(Mark::now(&engine));
        Upkeep { engine, growth_max, mark, leisure: Mutex::new(Leisure::new(clock)) }
    }

    /// One step; whether there is more to do at once.
    pub(crate) fn step(&self) -> Result<bool, kestrel_txn::Error> {
        if self.engine.checkpoint_due() || self.has_grown() {
            self.engine.checkpoint()?;
        }
        let more = self.engine.maintain()?;
        // Whoever else does a step meanwhile has enough to do.
        let Some(mut leisure) = self.leisure.try_lock() else { return Ok(more) };
        let tidied = leisure.use_for(|| self.engine.tidy());
        Ok(more | tidied.unwrap_or(Ok(false))?)
    }

    /// Whether something was left for a time when the processors have less to do: another step is due soon.
    pub(crate) fn has_postponed(&self) -> bool {
        self.leisure.try_lock().is_none_or(|leisure| leisure.is_resting())
    }

    fn has_grown(&self) -> bool {
        let now = Mark::now(&self.engine);
        let mut mark = self.mark.lock();
        if now.checkpoints != mark.checkpoints || now.used < mark.used {
            *mark = now;
        }
        now.used - mark.used > self.growth_max
    }
}

impl Mark {
    fn now(engine: &Engine) -> Mark {
        let figures = engine.statistics();
        let used = figures.data_file_bytes.saturating_sub(figures.data_free_bytes);
        Mark { checkpoints: figures.checkpoints, used }
    }
}
