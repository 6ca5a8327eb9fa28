//! The pager as a whole, over a toy node format.
#![allow(clippy::unwrap_used)]

mod model;
mod reads;
mod threads;
mod toy;
