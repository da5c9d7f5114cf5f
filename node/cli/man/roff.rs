//! A manual page in the macros of man(7), as far as our pages need them.
//!
//! Every text is escaped here: what stands on the page is what was handed in, and flags can be copied from it (groff would
//! print a plain hyphen as a longer dash, and a plain quote as a curly one).

use std::fmt::Write;

/// Where lines of running text are broken; programs that check pages ask for at most 80.
const LINE_BYTES: usize = 78;
const TERMINAL_COLUMNS: usize = 80;

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Right below a heading, where no paragraph may be begun.
    is_below_heading: bool,
}

impl Page {
    /// Begins the page `name` of section 1: its header, and what it is about in a few words. `date` is that of the page.
    pub fn new(name: &str, about: &str, date: &str) -> Self {
        let mut page = Self { text: String::new(), is_below_heading: false };
        let source = format!("Keelstone {}", env!("CARGO_PKG_VERSION"));
        page.line(&format!(".TH {} 1 \"{date}\" \"{source}\" \"Keelstone\"", escape(&name.to_uppercase())));
        page.section("Name");
        page.line(&format!("{} \\- {}", escape(name), escape(about)));
        page
    }

    pub fn section(&mut self, title: &str) {
        self.line(&format!(".SH {}", escape(&title.to_uppercase())));
        self.is_below_heading = true;
    }

    pub fn subsection(&mut self, title: &str) {
        self.line(&format!(".SS {}", escape(title)));
        self.is_below_heading = true;
    }

    pub fn paragraph(&mut self, text: &str) {
        if !self.is_below_heading {
            self.line(".PP");
        }
        self.text(text);
    }

    /// Text whose lines stay as they are.
    pub fn verbatim(&mut self, text: &str) {
        if !self.is_below_heading {
            self.line(".PP");
        }
        self.verbatim_lines(text);
    }

    /// What is explained, in bold, with what stands for its value; the explanation follows as [`Self::text`].
    pub fn item(&mut self, term: &str, value: &str) {
        self.line(".TP");
        let value = if value.is_empty() { String::new() } else { format!(" \\fI{}\\fR", escape(value)) };
        self.line(&format!("\\fB{}\\fR{value}", escape(term)));
    }

    /// Running text. Of several paragraphs, those that fit on a terminal are often examples: their lines stay as they are.
    pub fn text(&mut self, text: &str) {
        let blocks: Vec<&str> = text.trim_end().split("\n\n").collect();
        for (at, block) in blocks.iter().enumerate() {
            if at > 0 {
                self.line(".sp");
            }
            if blocks.len() == 1 || block.lines().any(|line| line.len() > TERMINAL_COLUMNS) {
                self.fill(block);
            } else {
                self.verbatim_lines(block);
            }
        }
    }

    /// Items that explain the last one further stand between these two.
    pub fn begin_inner(&mut self) {
        self.line(".RS");
    }

    pub fn end_inner(&mut self) {
        self.line(".RE");
    }

    pub fn into_text(self) -> String {
        self.text
    }

    fn fill(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace().map(escape) {
            if !line.is_empty() && line.len() + word.len() >= LINE_BYTES {
                self.line(&protect(&line));
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(&word);
        }
        if !line.is_empty() {
            self.line(&protect(&line));
        }
    }

    fn verbatim_lines(&mut self, text: &str) {
        self.line(".nf");
        text.trim_end().lines().for_each(|line| self.line(&protect(&escape(line))));
        self.line(".fi");
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("writing to a String does not fail");
        self.is_below_heading = false;
    }
}

/// What means something to roff, or is printed as another character than it is, by its name.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '"' => escaped.push_str("\\(dq"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A line of text that begins with a dot would be a request.
fn protect(line: &str) -> String {
    if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_taken_for_roff() {
        let mut page = Page::new("x-y", "is 'it'", "2026-01-02");
        page.section("a-b");
        page.paragraph(".so \\fB --flag \"v\"");
        page.paragraph(&"word ".repeat(40));
        page.verbatim(".a\n  'b");
        page.text(&format!("$ a\n$ b\n\n{}\nend", "x".repeat(90)));
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(".TH X\\-Y 1 \"2026-01-02\" \"Keelstone "), "{text}");
        assert_eq!(
            lines[1..6],
            [".SH NAME", "x\\-y \\- is \\(aqit\\(aq", ".SH A\\-B", "\\&.so \\efB \\-\\-flag \\(dqv\\(dq", ".PP"]
        );
        assert!(lines[6..9].iter().all(|line| line.len() <= LINE_BYTES && line.starts_with("word")), "{text}");
        assert_eq!(
            lines[9..],
            [".PP", ".nf", "\\&.a", "  \\(aqb", ".fi", ".nf", "$ a", "$ b", ".fi", ".sp", &"x".repeat(90), "end"][..],
            "{text}"
        );
    }
}
