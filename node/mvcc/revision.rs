//! MVCC time, and the key under which a change of that time is stored (etcd
//! `server/storage/mvcc/revision.go`):
//!
//! ```text
//! | main, u64 big-endian | '_' | sub, u64 big-endian |          a put, 17 bytes
//! | main, u64 big-endian | '_' | sub, u64 big-endian | 't' |    a tombstone, 18 bytes
//! ```

use std::fmt;

const PUT_BYTES: usize = 17;
const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// Revisions and versions of keys end here, so that what counts on from them never overflows.
pub(super) const MAX_MAIN: i64 = i64::MAX / 2;
/// A transaction has fewer changes than this.
const MAX_SUB: i64 = u32::MAX as i64;

/// When a change happened: `main` counts transactions that changed something, `sub` the changes inside one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    pub main: i64,
    pub sub: i64,
}

/// The key of a row of the key table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    bytes: [u8; PUT_BYTES + 1],
    len: u8,
}

impl RowKey {
    pub fn new(revision: Revision, tombstone: bool) -> Self {
        let mut bytes = [0; PUT_BYTES + 1];
        bytes[..8].copy_from_slice(&revision.main.to_be_bytes());
        bytes[8] = SEPARATOR;
        bytes[9..PUT_BYTES].copy_from_slice(&revision.sub.to_be_bytes());
        bytes[PUT_BYTES] = if tombstone { TOMBSTONE } else { 0 };
        Self { bytes, len: PUT_BYTES as u8 + u8::from(tombstone) }
    }

    /// Reads a row's key. `None` if it is none: wrong length, separator or mark, or a number that no store reaches.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let tombstone = match bytes.len() {
            PUT_BYTES => false,
            len if len == PUT_BYTES + 1 && bytes[PUT_BYTES] == TOMBSTONE => true,
            _ => return None,
        };
        let main = i64::from_be_bytes(bytes[..8].try_into().ok()?);
        let sub = i64::from_be_bytes(bytes[9..PUT_BYTES].try_into().ok()?);
        let is_reached = (0..=MAX_MAIN).contains(&main) && (0..=MAX_SUB).contains(&sub);
        (bytes[8] == SEPARATOR && is_reached).then(|| Self::new(Revision { main, sub }, tombstone))
    }

    pub fn revision(&self) -> Revision {
        let number = |start: usize| {
            let bytes = self.bytes[start..start + 8].try_into().expect("a range of eight bytes");
            i64::from_be_bytes(bytes)
        };
        Revision { main: number(0), sub: number(9) }
    }

    pub fn is_tombstone(&self) -> bool {
        usize::from(self.len) > PUT_BYTES
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Revision { main, sub } = self.revision();
        write!(f, "{main}_{sub}{}", if self.is_tombstone() { "t" } else { "" })
    }
}

/// A bound just above every row up to `main`.
pub(super) fn end_of(main: i64) -> [u8; 8] {
    main.saturating_add(1).to_be_bytes()
}

/// A bound at the first row of `main`.
pub(super) fn start_of(main: i64) -> [u8; 8] {
    main.max(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_keys_have_etcds_bytes() {
        let put = RowKey::new(Revision { main: 2, sub: 1 }, false);
        assert_eq!(put.as_bytes(), b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\x01");
        let tombstone = RowKey::new(Revision { main: 0x0102, sub: 0 }, true);
        assert_eq!(tombstone.as_bytes(), b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\0t");
        for key in [put, tombstone] {
            assert_eq!(RowKey::parse(key.as_bytes()), Some(key));
        }
    }

    #[test]
    fn what_is_no_row_key_is_refused() {
        for bytes in [&b""[..], b"\0\0\0\0\0\0\0\x02-\0\0\0\0\0\0\0\x01", b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\x01x"] {
            assert_eq!(RowKey::parse(bytes), None);
        }
        assert_eq!(RowKey::parse(&[0xff; 17]), None);
        let parsed = |main, sub| RowKey::parse(RowKey::new(Revision { main, sub }, false).as_bytes());
        assert!(parsed(MAX_MAIN, MAX_SUB).is_some());
        assert_eq!((parsed(MAX_MAIN + 1, 0), parsed(1, MAX_SUB + 1)), (None, None));
    }
}
