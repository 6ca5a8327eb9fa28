//! Histories of concurrent transactions, and what is wrong with them.
//!
//! A [`Workload`] lets threads append to lists and read them, through the engine's public interface, and records a
//! [`History`]. [`check()`] finds the anomalies in it: a [`Report`]. [`write_edn`] writes it for other checkers.
//!
//! It knows nothing of how the engine works: what it believes is what callers were told.
//!
//! ```
//! use kestrel_history::{Isolation, Workload, check};
//!
//! let run = Workload { transactions: 500, threads: 3, ..Workload::default() }.run(|_| {})?;
//! assert!(run.troubles.is_empty() && run.history.len() >= 500);
//! let report = check(&run.history, Isolation::Serializable);
//! assert!(report.is_clean(), "{report}");
//! # Ok::<_, kestreldb::Error>(())
//! ```

pub mod check;
mod edn;
mod history;
mod workload;

pub use check::{Anomaly, AnomalyKind, Report, check};
pub use edn::write_edn;
pub use history::{Element, History, Key, Moment, Operation, Outcome, Step, Timestamp, Transaction, TxnId};
pub use kestreldb::Isolation;
pub use workload::{Run, Workload};
