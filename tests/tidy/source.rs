//! The sources as the rules see them: without comments and texts, and without what is compiled for tests only.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One `.rs` file.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    pub raw: String,
    /// `raw` with comments, texts, characters and test-only items blanked; lines and offsets are the same.
    pub code: String,
    /// A module that exists in tests only.
    pub is_test: bool,
}

impl Source {
    /// The number of the line at `offset`.
    pub fn line(&self, offset: usize) -> usize {
        self.raw[..offset].matches('\n').count() + 1
    }

    /// `node/<part>/…` or `node/<part>.rs`.
    pub fn part(&self) -> Option<&str> {
        let part = self.path.strip_prefix("node/")?.split('/').next()?;
        Some(part.strip_suffix(".rs").unwrap_or(part))
    }

    /// How many `super::` lead from this module to the root of the crate.
    pub fn depth(&self) -> usize {
        let module = self.path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        module.split('/').count() - 1
    }
}

/// All files below these folders of the repository.
pub fn read(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in folders {
        list(&root.join(folder), &mut paths);
    }
    paths.sort();
    let mut test_modules = BTreeSet::new();
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let raw = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            let mut code = blank_texts(&raw);
            for item in test_items(&code) {
                test_modules.extend(module_file(&path, &raw[item.clone()], &code[item.clone()]));
                blank(&mut code, item);
            }
            let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.contains("/benches/");
            Source { path, raw, code, is_test }
        })
        .collect();
    for source in &mut sources {
        // A module as `<name>.rs` or `<name>/mod.rs`, or one below it.
        let is_in = |name: &String| {
            let rest = source.path.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.is_test |= test_modules.iter().any(is_in);
    }
    sources
}

fn list(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            list(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Spaces in place of comments, texts and characters.
pub fn blank_texts(raw: &str) -> String {
    let mut code = raw.to_owned();
    let bytes = raw.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &raw[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_text(raw, at) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            rest[begin..].find(&end).map_or(rest.len(), |found| begin + found + end.len())
        } else if rest.starts_with('"') {
            quoted(rest, '"')
        } else if rest.starts_with('\'') && is_character(rest) {
            quoted(rest, '\'')
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        blank(&mut code, at..at + length);
        at += length;
    }
    code
}

/// The number of `#` if a raw text begins here.
fn raw_text(raw: &str, at: usize) -> Option<usize> {
    let before = raw[..at].chars().next_back().filter(|before| *before != 'b');
    if before.is_some_and(|before| before.is_alphanumeric() || before == '_') {
        return None;
    }
    let rest = raw[at..].strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    let first = chars.next();
    first == Some('\\') || chars.next() == Some('\'')
}

/// The length of a text with its quotes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn blank(code: &mut String, range: Range<usize>) {
    let spaces: String = code[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    code.replace_range(range, &spaces);
}

/// The items behind `#[cfg(test)]`, with their attributes: up to the brace that closes them, or to the semicolon.
pub fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let mut depth = 0_usize;
        let end = code[start..].char_indices().find_map(|(at, char)| {
            match char {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            (depth == 0 && matches!(char, '}' | ';')).then_some(start + at + 1)
        });
        let end = end.unwrap_or(code.len());
        items.push(start..end);
        from = end;
    }
    items
}

/// If a test-only item of the file at `path` is a module in a file of its own: that file without its ending.
fn module_file(path: &str, raw: &str, code: &str) -> Option<String> {
    let name = code.strip_suffix(';')?.rsplit_once("mod ")?.1.trim();
    let (folder, file) = path.rsplit_once('/').expect("in a folder");
    if let Some((_, rest)) = raw.split_once("#[path = \"") {
        let (named, _) = rest.split_once('"').expect("a whole attribute");
        return Some(format!("{folder}/{}", named.trim_end_matches(".rs")));
    }
    let own = match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    Some(format!("{own}/{name}"))
}
