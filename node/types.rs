//! Ids and intervals that every layer shares.

use bytes::Bytes;
use std::fmt;

/// A member of the cluster: the first eight bytes of a SHA-1 (etcd `server/etcdserver/api/membership`).
/// Zero means "none" on the wire. Printed as etcd prints it: lower-case hex without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// The cluster's id; printed like a [`MemberId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A lease. Zero means "no lease".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl LeaseId {
    pub const NONE: LeaseId = LeaseId(0);
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// The place of an entry in the Raft log. Indexes start at 1, as in etcd; zero stands before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

/// A size as etcd's log prints it: in powers of 1000, with one digit behind the point below ten (the Go package
/// `go-humanize`, `Bytes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanBytes(pub u64);

impl fmt::Display for HumanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
        let HumanBytes(bytes) = *self;
        if bytes < 10 {
            return write!(f, "{bytes} B");
        }
        let power = bytes.ilog(1000);
        let unit = 1000_u128.pow(power);
        // Tenths of the unit, rounded half up.
        let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
        let name = UNITS[power as usize];
        if tenths < 100 {
            write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
        } else {
            // What was rounded is rounded again, half to even, as Go prints a float without digits.
            let (whole, rest) = (tenths / 10, tenths % 10);
            let up = rest > 5 || (rest == 5 && whole % 2 == 1);
            write!(f, "{} {name}", whole + u128::from(up))
        }
    }
}

/// Is told how many bytes of how many are done, both about right.
pub type OnProgress<'p> = &'p mut dyn FnMut(u64, u64);

/// A set of keys as requests name it, parsed once: one key, or `[start, end)` with an optional end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyInterval {
    One(Bytes),
    /// `end == None` is open: every key at or above `start`. An `end` at or below `start` holds nothing.
    Range {
        start: Bytes,
        end: Option<Bytes>,
    },
}

impl KeyInterval {
    /// Reads etcd's pair: no `range_end` is one key, a single zero byte is open-ended.
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        match range_end.as_ref() {
            [] => KeyInterval::One(key),
            [0] => KeyInterval::Range { start: key, end: None },
            _ => KeyInterval::Range { start: key, end: Some(range_end) },
        }
    }

    /// The first key that may be in the interval.
    pub fn start(&self) -> &Bytes {
        match self {
            KeyInterval::One(key) => key,
            KeyInterval::Range { start, .. } => start,
        }
    }

    /// `range_end` as requests have it.
    pub fn end_on_wire(&self) -> &[u8] {
        match self {
            KeyInterval::One(_) => b"",
            KeyInterval::Range { end: None, .. } => b"\0",
            KeyInterval::Range { end: Some(end), .. } => end,
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyInterval::One(one) => one.as_ref() == key,
            KeyInterval::Range { start, end } => {
                start.as_ref() <= key && end.as_ref().is_none_or(|end| key < end.as_ref())
            }
        }
    }

    /// True if no key can be in it.
    pub fn is_empty(&self) -> bool {
        matches!(self, KeyInterval::Range { start, end: Some(end) } if end <= start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `humanize.Bytes`.
    #[test]
    fn sizes_are_printed_as_etcd_prints_them() {
        let printed = [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (20_480, "20 kB"),
            (9_950, "10 kB"),
            (2_147_483_648, "2.1 GB"),
            (8_589_934_592, "8.6 GB"),
            (u64::MAX, "18 EB"),
        ];
        for (bytes, text) in printed {
            assert_eq!(HumanBytes(bytes).to_string(), text, "{bytes}");
        }
    }

    #[test]
    fn a_range_end_of_one_zero_byte_is_open() {
        let all = KeyInterval::new(Bytes::from_static(b"a"), Bytes::from_static(b"\0"));
        assert!(all.contains(b"zzz") && !all.contains(b"Z"));
    }

    #[test]
    fn an_end_at_or_below_the_start_is_empty() {
        let none = KeyInterval::new(Bytes::from_static(b"b"), Bytes::from_static(b"a"));
        assert!(none.is_empty() && !none.contains(b"b"));
    }
}
