//! The state file: the only user of redb.
