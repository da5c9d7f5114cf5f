//! The keys of one node, end to end in one buffer: a copy of the node shares it, and no key costs an
//! allocation or a reference count of its own.

/// Ascending keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// End of each key in `bytes`.
    ends: Vec<u32>,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + 4 * self.ends.capacity()
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.ends[at] as usize]
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    /// Where the key is, or where it would stand.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    pub(super) fn insert(&mut self, at: usize, key: &[u8]) {
        let start = self.start(at);
        let len = u32::try_from(key.len()).expect("a request, and so a key, is far below 4 GiB");
        // Room for an eighth more: exact growth would copy on every insert, doubling would waste half.
        if self.bytes.capacity() - self.bytes.len() < key.len() {
            self.bytes.reserve_exact(key.len().max(self.bytes.len() / 8));
        }
        if self.ends.len() == self.ends.capacity() {
            self.ends.reserve_exact(8);
        }
        self.bytes.splice(start..start, key.iter().copied());
        self.ends.insert(at, start as u32);
        self.ends[at..].iter_mut().for_each(|end| *end += len);
    }

    pub(super) fn push(&mut self, key: &[u8]) {
        self.insert(self.len(), key);
    }

    /// The keys of `range`, at exact size.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Keys {
        let (start, end) = (self.start(range.start), self.start(range.end));
        Keys {
            bytes: self.bytes[start..end].to_vec(),
            ends: self.ends[range].iter().map(|end| end - start as u32).collect(),
        }
    }

    /// The keys for which `keep` holds, at exact size.
    pub(super) fn filtered(&self, keep: &[bool]) -> Keys {
        let mut kept = Keys::default();
        (0..self.len()).filter(|at| keep[*at]).for_each(|at| kept.push(self.get(at)));
        kept
    }

    /// These keys and then `more`.
    pub(super) fn joined(&self, more: &Keys) -> Keys {
        let mut bytes = Vec::with_capacity(self.bytes.len() + more.bytes.len());
        bytes.extend_from_slice(&self.bytes);
        bytes.extend_from_slice(&more.bytes);
        let offset = self.bytes.len() as u32;
        let ends = self.ends.iter().copied().chain(more.ends.iter().map(|end| end + offset)).collect();
        Keys { bytes, ends }
    }
}

/// The shortest key above `left` and not above `right`, for `left < right`.
pub(super) fn separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    let common = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    &right[..common + 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_kept_in_order_of_insertion_points() {
        let mut keys = Keys::default();
        for key in ["m", "", "zz", "mm", "a"] {
            let at = keys.search(key.as_bytes()).unwrap_err();
            keys.insert(at, key.as_bytes());
        }
        let all: Vec<_> = (0..keys.len()).map(|at| keys.get(at)).collect();
        assert_eq!(all, [&b""[..], b"a", b"m", b"mm", b"zz"]);
        assert_eq!(keys.search(b"mm"), Ok(3));
        assert_eq!(keys.part(1..3).get(1), b"m");
        assert_eq!(keys.filtered(&[true, false, false, true, true]).get(1), b"mm");
        assert_eq!(keys.part(0..2).joined(&keys.part(2..5)).get(4), b"zz");
    }

    proptest! {
        #[test]
        fn a_search_finds_what_comparing_keys_finds(
            prefix in "x{0,3}",
            keys in proptest::collection::btree_set(proptest::collection::vec(0..3u8, 0..12), 0..40),
            sought in proptest::collection::vec(0..3u8, 0..14),
        ) {
            let with_prefix = |key: &[u8]| [prefix.as_bytes(), key].concat();
            let sorted: Vec<_> = keys.iter().map(|key| with_prefix(key)).collect();
            let mut filled = Keys::default();
            for key in sorted.iter().rev().step_by(2).chain(sorted.iter().rev().skip(1).step_by(2)) {
                let at = filled.search(key).unwrap_err();
                filled.insert(at, key);
            }
            for key in sorted.iter().chain([&with_prefix(&sought), &sought]) {
                prop_assert_eq!(filled.search(key), sorted.binary_search(key));
                let part = filled.part(filled.len() / 3..filled.len());
                prop_assert_eq!(part.search(key), sorted[sorted.len() / 3..].binary_search(key));
            }
        }
    }

    #[test]
    fn a_separator_is_above_the_left_and_not_above_the_right() {
        for (left, right, expected) in [("a", "b", "b"), ("abc", "abd", "abd"), ("ab", "abcd", "abc"), ("", "x", "x")] {
            let found = separator(left.as_bytes(), right.as_bytes());
            assert_eq!(found, expected.as_bytes());
            assert!(left.as_bytes() < found && found <= right.as_bytes());
        }
    }
}
