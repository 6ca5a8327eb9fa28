//! The checker itself, on histories that no engine made.

mod anomalies;
mod interpreter;
mod properties;
mod script;
