//! Values as Go's `flag`, `strconv` and `time` read and print them: booleans, integers, durations.

use std::fmt;
use std::time::Duration;

/// Why a value is refused by Go's parsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("parse error")]
    Syntax,
    #[error("value out of range")]
    Range,
}

/// `strconv.ParseBool`: the spellings of Go's bool flags.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.ParseUint(text, 0, 64)`: decimal, `0x`, `0o`, `0b`, a leading 0 for octal, `_` between digits.
pub fn parse_u64(text: &str) -> Result<u64, ValueError> {
    let (radix, digits, prefixed) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &text[2..], true),
        [b'0', b'o' | b'O', ..] => (8, &text[2..], true),
        [b'0', b'b' | b'B', ..] => (2, &text[2..], true),
        [b'0', _, ..] => (8, &text[1..], true),
        _ => (10, text, false),
    };
    // An underscore must stand between digits, or between the prefix and a digit.
    let starts_badly = !prefixed && digits.starts_with('_');
    if starts_badly || digits.ends_with('_') || digits.contains("__") || digits.is_empty() {
        return Err(ValueError::Syntax);
    }
    let mut value: Option<u64> = Some(0);
    for digit in digits.chars().filter(|&c| c != '_') {
        let digit = digit.to_digit(radix).ok_or(ValueError::Syntax)?;
        value = value.and_then(|value| value.checked_mul(u64::from(radix))?.checked_add(u64::from(digit)));
    }
    value.ok_or(ValueError::Range)
}

/// `strconv.ParseInt(text, 0, 64)`.
pub fn parse_i64(text: &str) -> Result<i64, ValueError> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = i128::from(parse_u64(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| ValueError::Range)
}

/// Go's `time.Duration`: nanoseconds, may be negative. Printed as Go prints it ("1.5s", "2h0m0s").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// `time.ParseDuration`: numbers with units, such as "1h15m30.5s"; only a bare "0" may go without.
    pub fn parse(text: &str) -> Result<GoDuration, ValueError> {
        const LIMIT: u64 = 1 << 63;
        let (negative, mut rest) = match text.as_bytes() {
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(ValueError::Syntax);
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (whole, after) = split_digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => split_digits(after),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(ValueError::Syntax);
            }
            let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            let &(_, unit) = UNITS.iter().find(|&&(name, _)| name == unit).ok_or(ValueError::Syntax)?;
            let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| ValueError::Syntax)? };
            let part = whole.checked_mul(unit).and_then(|part| part.checked_add(fraction_of(fraction, unit)));
            total = part.and_then(|part| total.checked_add(part)).ok_or(ValueError::Syntax)?;
            if total > LIMIT {
                return Err(ValueError::Syntax);
            }
            rest = after;
        }
        let signed = if negative { -i128::from(total) } else { i128::from(total) };
        i64::try_from(signed).map(GoDuration).map_err(|_| ValueError::Syntax)
    }

    /// The duration if it is above zero, zero otherwise: etcd's settings treat what is below as off.
    pub fn or_zero(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", Decimal { value: nanos, scale: 3 }),
            1_000_000..1_000_000_000 => write!(f, "{}ms", Decimal { value: nanos, scale: 6 }),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", Decimal { value: nanos % 60_000_000_000, scale: 9 })
            }
        }
    }
}

/// `value / 10^scale` without trailing zeros.
struct Decimal {
    value: u64,
    scale: u32,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u64.pow(self.scale);
        write!(f, "{}", self.value / unit)?;
        match self.value % unit {
            0 => Ok(()),
            rest => {
                let digits = format!("{rest:0width$}", width = self.scale as usize);
                write!(f, ".{}", digits.trim_end_matches('0'))
            }
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Nanoseconds of `0.<digits>` units, cut as Go cuts them. 18 digits are more than a nanosecond of an hour needs.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let digits = &digits[..digits.len().min(18)];
    let value: u128 = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(0) };
    let scaled = value * u128::from(unit) / 10_u128.pow(u32::try_from(digits.len()).unwrap_or(18));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bools_are_gos_spellings_only() {
        assert_eq!(parse_bool("T"), Some(true));
        assert_eq!(parse_bool("False"), Some(false));
        for wrong in ["yes", "tRUE", "", "on"] {
            assert_eq!(parse_bool(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn integers_follow_gos_base_prefixes() {
        for (text, value) in [
            ("0", Ok(0)),
            ("1_000", Ok(1000)),
            ("0x_ff", Ok(255)),
            ("017", Ok(15)),
            ("0_7", Ok(7)),
            ("0b11", Ok(3)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(ValueError::Range)),
            ("", Err(ValueError::Syntax)),
            ("-1", Err(ValueError::Syntax)),
            ("+1", Err(ValueError::Syntax)),
            ("_1", Err(ValueError::Syntax)),
            ("1__0", Err(ValueError::Syntax)),
            ("09", Err(ValueError::Syntax)),
            ("0x", Err(ValueError::Syntax)),
        ] {
            assert_eq!(parse_u64(text), value, "{text}");
        }
        assert_eq!(parse_i64("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_i64("9223372036854775808"), Err(ValueError::Range));
        assert_eq!(parse_i64("+5"), Ok(5));
    }

    #[test]
    fn durations_are_read_and_printed_as_in_go() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("2h", 7_200_000_000_000, "2h0m0s"),
            ("1h15m30.918s", 4_530_918_000_000, "1h15m30.918s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("-.5s", -500_000_000, "-500ms"),
            ("100ms", 100_000_000, "100ms"),
            ("1500us", 1_500_000, "1.5ms"),
            ("7µs", 7_000, "7µs"),
            ("9ns", 9, "9ns"),
            ("0.1us", 100, "100ns"),
            ("1m0.000000001s", 60_000_000_001, "1m0.000000001s"),
        ] {
            let duration = GoDuration::parse(text).unwrap();
            assert_eq!((duration, duration.to_string().as_str()), (GoDuration(nanos), printed), "{text}");
        }
        for wrong in ["", "5", "s", ".s", "1d", "1 s", "--1s", "9223372036854775808ns", "3000000h"] {
            assert!(GoDuration::parse(wrong).is_err(), "{wrong}");
        }
    }
}
