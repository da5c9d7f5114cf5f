//! Committed entries become state, on one thread.

pub mod cost;
