//! The pager as a whole, over a toy node format.
#![allow(clippy::unwrap_used)]

mod model;
mod reads;
mod threads;
pub(crate) mod toy;
