//! How often one call may start again because a page was not in memory.

use crate::{Error, ErrorKind};

/// Far more than a tree has levels. Whoever gets here competes with others for too few frames.
const MAX: u32 = 10_000;

/// Counts the starts of one call.
#[derive(Debug, Default)]
pub(crate) struct Restarts(u32);

impl Restarts {
    /// Notes a restart; an error once there were too many.
    pub(crate) fn another(&mut self) -> Result<(), Error> {
        self.0 += 1;
        if self.0 <= MAX {
            return Ok(());
        }
        let message = "pages are evicted by others faster than this call can read them; raise the memory budget, or use \
                       fewer threads at once";
        Err(Error::new(ErrorKind::OverBudget, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_does_not_go_on_for_ever() {
        let mut restarts = Restarts::default();
        let refused = (0..2 * MAX).find_map(|_| restarts.another().err());
        assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::OverBudget));
    }
}
