//! Words of a line, as the interactive commands read it: parted by blanks, quoted in the manner of Go or of the shell.

use super::failure::{Failure, INVALID_INPUT};
use super::go;

/// The words of a line. Quotes that are not closed are no words (etcd `ctlv3/command/util.go`, `Argify`).
///
/// # Errors
/// If an escape between double quotes is none of Go's.
pub fn split(line: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => match end_of_quotes(rest) {
                Some(end) => (Some(unquoted(&rest[..end])?), &rest[end..]),
                None => (None, &rest[1..]),
            },
            '\'' => match rest[1..].split_once('\'') {
                Some((word, after)) => (Some(word.to_owned()), after),
                None => (None, &rest[1..]),
            },
            blank if blank.is_ascii_whitespace() => (None, &rest[1..]),
            _ => {
                let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
                (Some(rest[..end].to_owned()), &rest[end..])
            }
        };
        words.extend(word);
        rest = after;
    }
    Ok(words)
}

/// Where the text between double quotes ends, the quotes included.
fn end_of_quotes(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends.then_some(at + 1)
    })
}

fn unquoted(text: &str) -> Result<String, Failure> {
    let (value, _) = go::unquote(text).ok_or_else(|| Failure::new(INVALID_INPUT, "invalid syntax"))?;
    Ok(String::from_utf8_lossy(&value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_together() {
        let words = split(r#"put  "a \"b\"" 'c d' e'f --g="#).unwrap();
        assert_eq!(words, ["put", "a \"b\"", "c d", "e'f", "--g="]);
        assert_eq!(split("\"open word").unwrap(), ["open", "word"]);
        assert_eq!(split("  ").unwrap(), Vec::<String>::new());
    }
}
