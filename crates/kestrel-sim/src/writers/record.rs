//! What writers were told, against what is there.

use super::judge::Cut;

/// What is known of the transactions of one life of a database.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// By writer: the last transaction that may be there.
    tried: Cut,
    /// By writer: the last one that is durable, as the database said.
    promised: Cut,
    /// Writer, number and timestamp of commits.
    committed: Vec<(u8, u64, u64)>,
}

impl Record {
    /// A life that begins with this much.
    #[must_use]
    pub fn new(found: Cut) -> Self {
        Self { tried: found.clone(), promised: found, committed: Vec::new() }
    }

    /// A writer tries a transaction.
    pub fn tried(&mut self, writer: u8, number: u64) {
        if let Some(tried) = self.tried.get_mut(usize::from(writer)) {
            *tried = number.max(*tried);
        }
    }

    /// It has its place in the order.
    pub fn committed(&mut self, writer: u8, number: u64, timestamp: u64) {
        self.committed.push((writer, number, timestamp));
    }

    /// It is durable.
    pub fn promised(&mut self, writer: u8, number: u64) {
        if let Some(promised) = self.promised.get_mut(usize::from(writer)) {
            *promised = number.max(*promised);
        }
    }

    /// How many commits are known.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.committed.len() as u64
    }

    /// How many known commits a cut does not have.
    #[must_use]
    pub fn lost(&self, cut: &Cut) -> u64 {
        self.committed.iter().filter(|(writer, number, _)| !has(cut, *writer, *number)).count() as u64
    }

    /// Whether what is there is a beginning of the order of commits, with all that was promised, and no more than was tried.
    /// Every fault, in words.
    #[must_use]
    pub fn check(&self, cut: &Cut) -> Vec<String> {
        let mut faults = Vec::new();
        if cut.len() != self.tried.len() {
            return vec![format!("{} writers instead of {}", cut.len(), self.tried.len())];
        }
        for (writer, &there) in cut.iter().enumerate() {
            let (promised, tried) = (self.promised[writer], self.tried[writer]);
            if there < promised {
                faults.push(format!("writer {writer} was promised {promised}, and has {there}"));
            }
            if there > tried {
                faults.push(format!("writer {writer} tried {tried}, and has {there}"));
            }
        }
        let there = self.committed.iter().filter(|(writer, number, _)| has(cut, *writer, *number));
        let last = there.map(|(.., timestamp)| *timestamp).max().unwrap_or(0);
        for &(writer, number, timestamp) in &self.committed {
            if !has(cut, writer, number) && timestamp < last {
                let one = format!("{number} of writer {writer}, at {timestamp},");
                faults.push(format!("a hole: {one} is not there, but a commit at {last} is"));
            }
        }
        let mut order = self.committed.clone();
        order.sort_by_key(|(.., timestamp)| *timestamp);
        for pair in order.windows(2) {
            if pair[0].2 == pair[1].2 {
                faults.push(format!("two commits at {}", pair[0].2));
            }
        }
        faults
    }
}

fn has(cut: &Cut, writer: u8, number: u64) -> bool {
    cut.get(usize::from(writer)).is_some_and(|there| *there >= number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut record = Record::new(vec![2, 0]);
        for (writer, number, timestamp) in [(0, 3, 10), (1, 1, 11), (1, 2, 12), (0, 4, 13)] {
            record.tried(writer, number);
            record.committed(writer, number, timestamp);
        }
        record.tried(0, 5);
        record.promised(1, 1);
        record
    }

    #[test]
    fn beginnings_of_the_order_pass() {
        for cut in [vec![3, 1], vec![3, 2], vec![4, 2], vec![5, 2]] {
            assert_eq!(record().check(&cut), [""; 0], "{cut:?}");
        }
        assert_eq!(record().lost(&vec![3, 1]), 2);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |cut: Vec<u64>, part: &str| {
            let faults = record().check(&cut);
            assert!(faults.iter().any(|fault| fault.contains(part)), "{cut:?}: {faults:?}");
        };
        told(vec![3, 0], "was promised 1, and has 0");
        told(vec![1, 1], "was promised 2, and has 1");
        told(vec![6, 2], "tried 5, and has 6");
        told(vec![4, 1], "a hole: 2 of writer 1, at 12");
        told(vec![2, 1], "a hole: 3 of writer 0, at 10");
    }
}
