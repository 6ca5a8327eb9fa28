//! Where checkers take hold of the engine: [`sync`], its locks and atomics, and [`planted`], bugs that prove that a
//! checker sees them.
//!
//! In an ordinary build the first is `parking_lot` and the standard library under other names, and the second a constant
//! `false`: the crate costs nothing. What a checker needs is compiled in by a `--cfg` that nobody's dependencies can set.

pub mod planted;
pub mod sync;

#[cfg(kestrel_loom)]
pub use loom;
#[cfg(kestrel_shuttle)]
pub use shuttle;
