//! Numbers and texts as Go's `strconv`, `fmt` and the humanize package print and refuse them: they are part of what
//! etcdctl prints.

use crate::config::value::{GoDuration, ValueError, parse_i64};

/// `strconv.ParseInt(text, radix, 64)` with its error text; radix 0 knows Go's prefixes.
pub fn parse_int(text: &str, radix: u32) -> Result<i64, String> {
    let parsed =
        if radix == 0 { parse_i64(text) } else { i64::from_str_radix(text, radix).map_err(|error| reason(&error)) };
    parsed.map_err(|why| refusal("ParseInt", text, why))
}

/// `strconv.ParseUint(text, radix, 64)` with its error text.
pub fn parse_uint(text: &str, radix: u32) -> Result<u64, String> {
    let parsed = match (text.strip_prefix('+'), radix) {
        // Rust takes a plus here and Go does not.
        (Some(_), _) => Err(ValueError::Syntax),
        (None, 0) => crate::config::value::parse_u64(text),
        (None, _) => u64::from_str_radix(text, radix).map_err(|error| reason(&error)),
    };
    parsed.map_err(|why| refusal("ParseUint", text, why))
}

fn reason(error: &std::num::ParseIntError) -> ValueError {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match error.kind() {
        PosOverflow | NegOverflow => ValueError::Range,
        _ => ValueError::Syntax,
    }
}

/// The text of Go's `NumError`.
pub fn refusal(function: &str, text: &str, why: ValueError) -> String {
    let why = match why {
        ValueError::Syntax => "invalid syntax",
        ValueError::Range => "value out of range",
    };
    format!("strconv.{function}: parsing {}: {why}", quote(text.as_bytes()))
}

/// `time.ParseDuration` with its error text.
pub fn parse_duration(text: &str) -> Result<GoDuration, String> {
    GoDuration::parse(text).map_err(|_| {
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let after = unsigned.trim_start_matches(number);
        let unit = &after[..after.find(number).unwrap_or(after.len())];
        let known = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&unit);
        let shown = quote(text.as_bytes());
        if unsigned.starts_with(|c: char| c.is_ascii_digit()) && unit.is_empty() {
            format!("time: missing unit in duration {shown}")
        } else if unsigned.starts_with(|c: char| c.is_ascii_digit()) && !known {
            format!("time: unknown unit {} in duration {shown}", quote(unit.as_bytes()))
        } else {
            format!("time: invalid duration {shown}")
        }
    })
}

/// `%q` of a Go string: what is not printable, or no UTF-8, is escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(&mut out, c);
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

fn quote_char(out: &mut String, c: char) {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        _ => "",
    };
    if !short.is_empty() {
        out.push_str(short);
    } else if c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && !c.is_whitespace() && is_printable(c)) {
        out.push(c);
    } else if c < ' ' || c == '\u{7f}' {
        out.push_str(&format!("\\x{:02x}", u32::from(c)));
    } else if u32::from(c) < 0x1_0000 {
        out.push_str(&format!("\\u{:04x}", u32::from(c)));
    } else {
        out.push_str(&format!("\\U{:08x}", u32::from(c)));
    }
}

/// Rust's own escapes know the same table, but hide combining marks, which Go shows.
fn is_printable(c: char) -> bool {
    // A mark behind a letter is left alone by the escapes of a whole text.
    !format!("a{c}").escape_debug().to_string().contains("\\u")
}

/// Reads what [`quote`] writes, from the start of `text`: the value and the rest. Raw strings in backquotes too.
pub fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, rest) = raw.split_once('`')?;
        return Some((value.as_bytes().to_vec(), rest));
    }
    let mut rest = text.strip_prefix('"')?;
    let mut value = Vec::new();
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return Some((value, rest)),
            '\n' => return None,
            '\\' => rest = unescape(rest, &mut value)?,
            _ => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// One escape, behind its backslash.
fn unescape<'a>(text: &'a str, value: &mut Vec<u8>) -> Option<&'a str> {
    let kind = text.chars().next()?;
    let rest = &text[kind.len_utf8()..];
    let plain = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        'x' | '0'..='7' => {
            let (digits, radix, rest) =
                if kind == 'x' { (rest.get(..2)?, 16, &rest[2..]) } else { (text.get(..3)?, 8, &text[3..]) };
            value.push(u8::from_str_radix(digits, radix).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let length = if kind == 'u' { 4 } else { 8 };
            let c = char::from_u32(u32::from_str_radix(rest.get(..length)?, 16).ok()?)?;
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(&rest[length..]);
        }
        _ => return None,
    };
    value.push(plain);
    Some(rest)
}

/// `%v` of a list of texts.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_read_back_as_in_go() {
        for (bytes, quoted) in [
            (&b"foo"[..], r#""foo""#),
            (b"a\"b\\\n\x00\x7f", r#""a\"b\\\n\x00\x7f""#),
            (b"\xff\xfe", r#""\xff\xfe""#),
            ("é世\u{200b}".as_bytes(), "\"é世\\u200b\""),
        ] {
            assert_eq!(quote(bytes), quoted);
            assert_eq!(unquote(quoted), Some((bytes.to_vec(), "")));
        }
        assert_eq!(unquote("`a\\b` x"), Some((b"a\\b".to_vec(), " x")));
        assert_eq!(unquote("\"open"), None);
    }

    #[test]
    fn refusals_use_gos_words() {
        assert_eq!(parse_int("x", 10), Err("strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()));
        assert_eq!(
            parse_int("12345678901234567890", 16),
            Err("strconv.ParseInt: parsing \"12345678901234567890\": value out of range".to_owned())
        );
        assert_eq!(parse_uint("+1", 10), Err("strconv.ParseUint: parsing \"+1\": invalid syntax".to_owned()));
        assert_eq!(parse_duration("5"), Err("time: missing unit in duration \"5\"".to_owned()));
        assert_eq!(parse_duration("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".to_owned()));
        assert_eq!(parse_duration("x"), Err("time: invalid duration \"x\"".to_owned()));
    }
}
