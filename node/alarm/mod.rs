//! Raised alarms.
