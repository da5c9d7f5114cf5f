//! Watchers: catch up from history, then follow what is applied.
