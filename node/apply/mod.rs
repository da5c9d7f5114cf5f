//! Committed entries become state, on one thread.
