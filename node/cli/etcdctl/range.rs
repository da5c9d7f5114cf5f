//! Ranges of keys as flags name them: a prefix, all from a key on.

/// The end of the range of keys that begin so: the prefix with its last byte that can be raised raised. A prefix of 255s,
/// or an empty one, has no end but the end of all keys (`[0]`).
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|&byte| byte < 0xff) {
        Some(at) => {
            let mut end = prefix[..=at].to_vec();
            end[at] += 1;
            end
        }
        None => vec![0],
    }
}

/// Key and end for `--prefix`.
pub fn with_prefix(key: &str) -> (Vec<u8>, Vec<u8>) {
    if key.is_empty() { (vec![0], vec![0]) } else { (key.as_bytes().to_vec(), prefix_end(key.as_bytes())) }
}

/// Key and end for `--from-key`.
pub fn from_key(key: &str) -> (Vec<u8>, Vec<u8>) {
    if key.is_empty() { (vec![0], vec![0]) } else { (key.as_bytes().to_vec(), vec![0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_what_does_not_begin_so() {
        assert_eq!(prefix_end(b"a/"), b"a0");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff\xff"), [0]);
        assert_eq!(prefix_end(b""), [0]);
    }
}
