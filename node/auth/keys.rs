//! The keys that a user may read, or write: the union of what the roles permit (etcd
//! `server/auth/range_perm_cache.go`).

use bytes::Bytes;

/// Disjoint intervals that do not touch each other, in order. Each is `[start, end)`, open without an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<(Bytes, Option<Bytes>)>);

impl KeySet {
    /// The union of pairs as requests and permissions have them: no end is one key, a single zero byte is open.
    pub fn union<'a>(pairs: impl IntoIterator<Item = (&'a Bytes, &'a Bytes)>) -> Self {
        let mut intervals: Vec<(Bytes, Option<Bytes>)> = pairs
            .into_iter()
            .map(|(key, range_end)| match range_end.as_ref() {
                [] => (key.clone(), Some(successor(key))),
                [0] => (key.clone(), None),
                _ => (key.clone(), Some(range_end.clone())),
            })
            .filter(|(start, end)| end.as_ref().is_none_or(|end| start < end))
            .collect();
        intervals.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut merged: Vec<(Bytes, Option<Bytes>)> = Vec::with_capacity(intervals.len());
        for (start, end) in intervals {
            match merged.last_mut() {
                Some((_, None)) => break,
                Some((_, Some(reached))) if start <= *reached => match end {
                    Some(end) => *reached = end.max(reached.clone()),
                    None => merged.last_mut().expect("was matched").1 = None,
                },
                _ => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// True if every key that the pair may name is in the set, whether or not there is such a key. A pair whose end is
    /// at or below its key names none; it is covered where both lie in one interval.
    pub fn covers(&self, key: &[u8], range_end: &[u8]) -> bool {
        let behind = self.0.partition_point(|(start, _)| start.as_ref() <= key);
        let Some((start, end)) = behind.checked_sub(1).and_then(|at| self.0.get(at)) else { return false };
        if end.as_ref().is_some_and(|end| end.as_ref() <= key) {
            return false;
        }
        match range_end {
            [] => true,
            [0] => end.is_none(),
            _ => start.as_ref() < range_end && end.as_ref().is_none_or(|end| range_end <= end.as_ref()),
        }
    }
}

/// The first key behind this one.
fn successor(key: &[u8]) -> Bytes {
    [key, b"\0"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(pairs: &[(&str, &str)]) -> KeySet {
        let pairs: Vec<(Bytes, Bytes)> = pairs
            .iter()
            .map(|(key, end)| (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(end.as_bytes())))
            .collect();
        KeySet::union(pairs.iter().map(|(key, end)| (key, end)))
    }

    #[test]
    fn neighbours_and_overlaps_merge() {
        let keys = set(&[("c", "e"), ("a", "b"), ("b", "d"), ("x", "")]);
        assert!(keys.covers(b"a", b"e") && keys.covers(b"d", b"") && keys.covers(b"x", b""));
        assert!(!keys.covers(b"a", b"f") && !keys.covers(b"e", b"") && !keys.covers(b"x", b"y"));
        assert!(keys.covers(b"x", b"x\0"), "an interval of one key");
    }

    /// GHSA-xg4h-6gfc-h4m8: a right to one key, asked for all from it on.
    #[test]
    fn a_key_or_a_range_does_not_cover_all_that_follows() {
        for keys in [set(&[("a", "")]), set(&[("a", "b")])] {
            assert!(keys.covers(b"a", b"") && !keys.covers(b"a", b"\0") && !keys.covers(b"\0", b"\0"));
        }
        let open = set(&[("a", "\0"), ("c", "d")]);
        assert!(open.covers(b"a", b"\0") && open.covers(b"zz", b"") && !open.covers(b"\0", b"\0"));
    }

    fn pairs() -> impl Strategy<Value = Vec<(u8, u8)>> {
        proptest::collection::vec((1_u8..20, 0_u8..20), 0..6)
    }

    /// One byte each; an end of 0 is open, of 1 none.
    fn pair((key, end): (u8, u8)) -> (Bytes, Bytes) {
        let end = if end == 1 { Bytes::new() } else { Bytes::from(vec![end]) };
        (Bytes::from(vec![key]), end)
    }

    fn contains((key, end): (u8, u8), at: &[u8]) -> bool {
        let (key, end) = pair((key, end));
        crate::types::KeyInterval::new(key, end).contains(at)
    }

    proptest! {
        #[test]
        fn covered_is_what_every_key_of_it_is(given in pairs(), key in 1_u8..20, end in 0_u8..20) {
            let given_pairs: Vec<_> = given.iter().copied().map(pair).collect();
            let keys = KeySet::union(given_pairs.iter().map(|(key, end)| (key, end)));
            let asked = pair((key, end));
            let is_empty = end > 1 && end <= key;
            // Between neighbours of one byte lie those of two; behind the last lies 255.
            let samples = (1_u8..=255).flat_map(|byte| [vec![byte], vec![byte, 0], vec![byte, 255]]);
            let all = samples
                .filter(|at| contains((key, end), at))
                .all(|at| given.iter().any(|pair| contains(*pair, &at)));
            prop_assert!(is_empty || keys.covers(&asked.0, &asked.1) == all, "{:?} {:?}", given, (key, end));
        }
    }
}
