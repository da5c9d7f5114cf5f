//! Seeded choices (SplitMix64), so that a failing seed can be run again.

/// A stream of choices; equal seeds give equal streams.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of [`Self::seed_from_environment`].
    pub fn from_environment() -> Self {
        Self(Self::seed_from_environment())
    }

    /// The seed in `KEELSTONE_SEED`, or one from the clock; printed, so that a failure can be repeated.
    pub fn seed_from_environment() -> u64 {
        let seed = std::env::var("KEELSTONE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| u64::from(since.subsec_nanos()) ^ since.as_secs())
        });
        println!("seed: KEELSTONE_SEED={seed}");
        seed
    }

    /// A stream of its own, which does not disturb this one's order when it is used more or less.
    pub fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
