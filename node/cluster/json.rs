//! JSON exactly as Go's `encoding/json` writes it, since member rows are compared and hashed as bytes.

use serde::Serialize;

/// Encodes `value`; `<`, `>`, `&` and the two Unicode line separators leave escaped, as in Go.
pub fn to_go_json<T: Serialize>(value: &T) -> Vec<u8> {
    // Only maps with non-string keys and failing Serialize impls can fail; rows have neither.
    let text = serde_json::to_string(value).expect("rows are plain structs");
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            // Outside strings JSON has none of these.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_characters_are_escaped_as_go_does() {
        assert_eq!(to_go_json(&"a<b>&c"), b"\"a\\u003cb\\u003e\\u0026c\"");
    }
}
