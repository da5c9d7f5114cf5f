//! One file of the log: its name and how far it is written.

use crate::disk::File;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// `<sequence>-<first index>.wal`, both in 16 hexadecimal digits. The index is one more than the last that was
/// written before, be it of an entry or of a snapshot record; 0 for the first file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) sequence: u64,
    pub(crate) first_index: u64,
}

impl SegmentName {
    /// `None` for names of other files.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (sequence, first_index) = name.strip_suffix(".wal")?.split_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        Some(Self { sequence: number(sequence)?, first_index: number(first_index)? })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.first_index)
    }
}

/// An open segment, shared by the writer and by those who read old entries back.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    /// For errors.
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    /// Records stand before this offset. The file may be longer, and may shrink to it at any time.
    end: AtomicU64,
}

impl Segment {
    pub(crate) fn new(name: SegmentName, path: PathBuf, file: Arc<dyn File>, end: u64) -> Self {
        Self { name, path, file, end: AtomicU64::new(end) }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_as_etcd_writes_them_are_segments() {
        let name = SegmentName { sequence: 26, first_index: 0xabc };
        assert_eq!(name.to_string(), "000000000000001a-0000000000000abc.wal");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in [
            "0.tmp",
            "1a-abc.wal",
            "000000000000001a-0000000000000abc.wal.broken",
            "+00000000000001a-0000000000000abc.wal",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
