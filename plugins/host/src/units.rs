//! Sizes and times as they are written in files: `32MiB`, `10ms`.

use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// A number of bytes: digits and `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A time: digits and `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let size = parse(&text, &units).map(Self);
        size.ok_or_else(|| de::Error::custom(format!("{text:?} is no size, like \"512KiB\" or \"32MiB\"")))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
        let span = parse(&text, &units).map(|millis| Self(Duration::from_millis(millis)));
        span.ok_or_else(|| de::Error::custom(format!("{text:?} is no time, like \"10ms\" or \"30s\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Both {
        size: Size,
        span: Span,
    }

    #[test]
    fn sizes_and_times_have_units() {
        let both: Both = toml::from_str("size = '32MiB'\nspan = '1500ms'").unwrap();
        assert_eq!((both.size, both.span), (Size(32 << 20), Span(Duration::from_millis(1_500))));
        for (size, span) in
            [("32", "1s"), ("1MB", "1s"), ("MiB", "1s"), ("1MiB", "1"), ("1MiB", "-1s"), ("99999999999GiB", "1s")]
        {
            assert!(toml::from_str::<Both>(&format!("size = '{size}'\nspan = '{span}'")).is_err(), "{size} {span}");
        }
    }
}
