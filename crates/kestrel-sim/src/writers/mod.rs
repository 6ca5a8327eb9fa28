//! Writers: threads that change a real database at once, in a way that whoever looks at it afterwards can judge.
//!
//! What makes that possible:
//! 1. *Transaction `n` of writer `w` does the same whenever it is run* ([`Plan`]), and writes `n` under `w` in the tree `writers`.
//!    Each writer has keys of its own (which lie between those of the others). So the [cut], how many transactions of each
//!    writer are there, says what every tree has to hold, byte for byte: a transaction that is there in part is seen.
//! 2. *Commits are one order*, by their timestamps. A [`Witness`] is told of each: what is there has to be a beginning of that
//!    order, and to have all that was promised ([`Record`]).
//! 3. Without relying on timestamps: some transactions are links of a *chain*, which all writers forge. A link holds what its
//!    transaction saw of all writers; all of that has to be there as well, and the chain has no gaps.
//!
//! [cut]: Cut

mod expected;
mod judge;
mod plan;
mod record;
mod setting;
mod work;

pub use expected::Expected;
pub use judge::{Cut, cut, judge};
pub use plan::Plan;
pub use record::Record;
pub use setting::Setting;
pub use work::{OTHER, Trees, Witness, Work};
