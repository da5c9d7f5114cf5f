//! How a line is put together: JSON by hand, since the order of keys is part of the shape.
//! Whatever a text holds, it cannot end the line or its string: control characters are escaped.

use super::values::Strings;
use crate::clock::timestamp;
use crate::config::LogFormat;
use std::error::Error;
use std::fmt::{self, Write};
use std::time::SystemTime;
use tracing::field::{Field, Visit};

/// What a line says besides its message and fields.
pub struct Head<'a> {
    pub level: &'static str,
    pub time: SystemTime,
    /// Path of the source file; the last folder and the file are shown.
    pub file: &'a str,
    pub line: u32,
}

/// The fields of an event or span: ready JSON members, each with a separator before it, and the message apart.
#[derive(Clone, Debug)]
pub struct Fields {
    pub message: String,
    pub members: String,
    /// Blanks behind commas and colons, as zap's console has them.
    spaced: bool,
}

/// The line, without its end.
pub fn line(format: LogFormat, head: &Head<'_>, fields: &Fields) -> String {
    let mut out = String::with_capacity(160 + fields.message.len() + fields.members.len());
    let caller = short_path(head.file);
    let time = timestamp(head.time);
    let written = match format {
        LogFormat::Json => write!(
            out,
            "{{\"level\":\"{}\",\"ts\":\"{time}\",\"caller\":\"{caller}:{}\",\"msg\":{}{}}}",
            head.level,
            head.line,
            Json(&fields.message),
            fields.members
        ),
        LogFormat::Console => {
            let message = Plain(&fields.message);
            let members = fields.members.strip_prefix(", ").unwrap_or_default();
            let head = format_args!("{time}\t{}\t{caller}:{}\t{message}", head.level, head.line);
            if members.is_empty() { write!(out, "{head}") } else { write!(out, "{head}\t{{{members}}}") }
        }
    };
    written.expect("writing to a String does not fail");
    out
}

fn short_path(path: &str) -> &str {
    let start = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    &path[start..]
}

/// A text as a JSON string, escaped as zap does it.
pub struct Json<'a>(pub &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write_escaped(f, self.0, true)?;
        f.write_char('"')
    }
}

/// A text for the console: as it is, but for control characters.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0, false)
    }
}

fn write_escaped(out: &mut impl Write, text: &str, json: bool) -> fmt::Result {
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        let escape = c.is_control() || json && matches!(c, '"' | '\\');
        if !escape {
            continue;
        }
        out.write_str(&text[plain_from..at])?;
        plain_from = at + c.len_utf8();
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c => write!(out, "\\u{:04x}", u32::from(c))?,
        }
    }
    out.write_str(&text[plain_from..])
}

impl Fields {
    pub fn new(format: LogFormat) -> Fields {
        Fields { message: String::new(), members: String::new(), spaced: format == LogFormat::Console }
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let blank = if self.spaced { " " } else { "" };
        write!(self.members, ",{blank}{}:{blank}{value}", Json(name)).expect("writing to a String does not fail");
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match value {
            value if value.is_nan() => self.add(field, format_args!("\"NaN\"")),
            value if value.is_infinite() => {
                self.add(field, format_args!("\"{}Inf\"", if value > 0.0 { "+" } else { "-" }));
            }
            value => self.add(field, format_args!("{value}")),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, format_args!("{value}"));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, format_args!("{value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.add(field, format_args!("{}", Json(value)));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        match value.downcast_ref::<Strings>() {
            Some(Strings(items)) => {
                let items: Vec<_> = items.iter().map(|item| Json(item).to_string()).collect();
                let separator = if self.spaced { ", " } else { "," };
                self.add(field, format_args!("[{}]", items.join(separator)));
            }
            None => self.record_str(field, &value.to_string()),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write!(self.message, "{value:?}").expect("writing to a String does not fail");
        } else {
            self.add(field, format_args!("{}", Json(&format!("{value:?}"))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_its_line_or_string() {
        let nasty = "a\"}\n{\"level\":\"fatal\"\r\u{0}\u{1b}[31m\u{7f}\u{85}\\µ";
        let json = Json(nasty).to_string();
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), nasty);
        assert!(!json.chars().any(char::is_control));
        assert!(!Plain(nasty).to_string().chars().any(char::is_control));
    }

    #[test]
    fn callers_are_folder_and_file() {
        assert_eq!(short_path("node/cli/etcd.rs"), "cli/etcd.rs");
        assert_eq!(short_path("cli/etcd.rs"), "cli/etcd.rs");
        assert_eq!(short_path("/a/b/c/d.rs"), "c/d.rs");
    }
}
