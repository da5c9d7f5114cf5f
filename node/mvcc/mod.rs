//! Keys by revision: index, reads, writes, compaction, hashes.
