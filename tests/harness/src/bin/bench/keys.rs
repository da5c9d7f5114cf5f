//! Keys and values: 64 and 256 bytes, as in the budgets.

use bytes::Bytes;
use keelstone_harness::Random;

const KEY_BYTES: usize = 64;
const VALUE_BYTES: usize = 256;

/// `count` different keys, the prefix and random hexadecimal digits, in no order; equal seeds give equal keys.
pub fn random_keys(prefix: &str, seed: u64, count: usize) -> Vec<Bytes> {
    let mut random = Random::new(seed);
    let mut key = || {
        let [first, second, third, fourth] = [(); 4].map(|()| random.draw());
        let mut key = format!("{prefix}{first:016x}{second:016x}{third:016x}{fourth:016x}");
        key.truncate(KEY_BYTES);
        Bytes::from(key)
    };
    (0..count).map(|_| key()).collect()
}

pub fn value() -> Bytes {
    let mut random = Random::new(1);
    (0..VALUE_BYTES).map(|_| random.draw() as u8).collect()
}
