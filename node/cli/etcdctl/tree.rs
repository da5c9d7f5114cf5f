//! The commands as a tree, and how a command line finds one: by the rules of Go's cobra (`Command.Find`), where a
//! unique beginning of a name is enough and flags may stand before the command.

use super::Call;
use super::failure::Outcome;
use super::flags::{Flag, FlagSet, Kind};
use std::fmt;
use std::pin::Pin;

/// What a command does with its call.
pub type Run = for<'a> fn(&'a mut Call) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// Under which title the root's help shows a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Keys,
    Cluster,
    Concurrency,
    Access,
    Utility,
    /// Below another command.
    None,
}

impl Group {
    pub const TITLES: [(Group, &'static str); 5] = [
        (Group::Keys, "Key-value commands"),
        (Group::Cluster, "Cluster maintenance commands"),
        (Group::Concurrency, "Concurrency commands"),
        (Group::Access, "Authentication commands"),
        (Group::Utility, "Utility commands"),
    ];
}

/// A command, as its file declares it.
pub struct Command {
    /// The name and what follows it on the line: `get [options] <key> [range_end]`.
    pub line: &'static str,
    pub short: &'static str,
    /// Replaces `short` in its own help if it is not empty.
    pub long: &'static str,
    pub group: Group,
    pub flags: &'static [Flag],
    /// For the commands below as well.
    pub persistent: &'static [Flag],
    pub children: &'static [&'static Command],
    /// `None`: it only has commands below.
    pub run: Option<Run>,
}

impl Command {
    /// The part that all declarations share.
    pub const PLAIN: Command = Command {
        line: "",
        short: "",
        long: "",
        group: Group::None,
        flags: &[],
        persistent: &[],
        children: &[],
        run: None,
    };

    pub fn name(&self) -> &'static str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// In the order of their names.
    pub fn sorted_children(&self) -> Vec<&'static Command> {
        let mut children = self.children.to_vec();
        children.sort_by_key(|child| child.name());
        children
    }

    /// The child of this name, or the only one that begins so.
    fn child(&self, word: &str) -> Option<&'static Command> {
        if let Some(child) = self.children.iter().find(|child| child.name() == word) {
            return Some(child);
        }
        let mut beginning = self.children.iter().filter(|child| child.name().starts_with(word));
        match (beginning.next(), beginning.next()) {
            (Some(child), None) => Some(child),
            _ => None,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Command").field(&self.name()).finish()
    }
}

/// `-h`, which every command has.
pub const HELP: &[Flag] = &[Flag::switch("help", "").or_short('h')];

/// A command with those above it, the root first.
#[derive(Clone, Debug)]
pub struct Located(Vec<&'static Command>);

impl Located {
    pub fn root(root: &'static Command) -> Self {
        Self(vec![root])
    }

    pub fn command(&self) -> &'static Command {
        self.0.last().expect("it starts with the root")
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// `etcdctl lease grant`.
    pub fn path(&self) -> String {
        self.0.iter().map(|command| command.name()).collect::<Vec<_>>().join(" ")
    }

    /// The command above.
    pub fn parent(&self) -> Option<&'static Command> {
        self.0.len().checked_sub(2).map(|at| self.0[at])
    }

    /// Flags of the commands above: those that the environment may set too.
    pub fn inherited(&self) -> Vec<&'static Flag> {
        let above = &self.0[..self.0.len() - 1];
        let mut flags: Vec<&Flag> = above.iter().flat_map(|command| command.persistent).collect();
        flags.sort_by_key(|flag| flag.name);
        flags
    }

    /// All that it takes.
    pub fn flags(&self) -> FlagSet {
        let mut flags = FlagSet::default();
        flags.add(self.command().flags);
        for command in &self.0 {
            flags.add(command.persistent);
        }
        flags.add(HELP);
        flags
    }

    /// Follows the words as far as they name commands; returns what is left of them, flags included.
    /// `Err` is the text for a first word that names none.
    pub fn find(mut self, args: &[String]) -> Result<(Self, Vec<String>), (Self, String)> {
        let mut rest = args.to_vec();
        loop {
            let words = without_flags(&rest, &self.flags());
            let Some(word) = words.first() else { return Ok((self, rest)) };
            match self.command().child(word) {
                Some(child) => {
                    remove_first(&mut rest, word, &self.flags());
                    self.0.push(child);
                }
                None if self.is_root() => {
                    let text = format!("unknown command {word:?} for {:?}{}", self.path(), self.suggestions(word));
                    return Err((self, text));
                }
                None => return Ok((self, rest)),
            }
        }
    }

    /// Names that a mistyped word may have meant.
    fn suggestions(&self, word: &str) -> String {
        let lower = word.to_lowercase();
        let near = |name: &str| name.starts_with(&lower) || distance(&lower, name) <= 2;
        let names: Vec<_> =
            self.command().sorted_children().iter().map(|child| child.name()).filter(|name| near(name)).collect();
        if names.is_empty() {
            return String::new();
        }
        names.iter().fold("\n\nDid you mean this?\n".to_owned(), |text, name| format!("{text}\t{name}\n"))
    }
}

/// True if the next word is this flag's value.
fn takes_next(word: &str, flags: &FlagSet) -> bool {
    let is_valued = |flag: Option<&Flag>| flag.is_none_or(|flag| flag.kind != Kind::Switch);
    if word.contains('=') {
        false
    } else if let Some(name) = word.strip_prefix("--") {
        is_valued(flags.find(name))
    } else {
        word.len() == 2
            && word.starts_with('-')
            && is_valued(word[1..].chars().next().and_then(|c| flags.find_short(c)))
    }
}

/// The words that are neither flags nor values of flags. A flag whose value would be the last word hides it.
fn without_flags(args: &[String], flags: &FlagSet) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = args;
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        if word == "--" {
            break;
        } else if takes_next(word, flags) {
            if rest.len() <= 1 {
                break;
            }
            rest = &rest[1..];
        } else if !word.is_empty() && !word.starts_with('-') {
            words.push(word.clone());
        }
    }
    words
}

fn remove_first(args: &mut Vec<String>, wanted: &str, flags: &FlagSet) {
    let mut at = 0;
    while at < args.len() && args[at] != "--" {
        if takes_next(&args[at], flags) {
            at += 1;
        } else if args[at] == wanted {
            args.remove(at);
            return;
        }
        at += 1;
    }
}

/// Levenshtein's distance: letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::ROOT;
    use super::*;

    fn find(line: &str) -> Result<(String, Vec<String>), String> {
        let args: Vec<String> = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        match Located::root(&ROOT).find(&args) {
            Ok((found, rest)) => Ok((found.path(), rest)),
            Err((_, text)) => Err(text),
        }
    }

    #[test]
    fn a_beginning_is_enough_and_flags_may_come_first() {
        for (line, path, rest) in [
            ("compact 5", "etcdctl compaction", &["5"][..]),
            ("-w json --hex lease grant 5", "etcdctl lease grant", &["-w", "json", "--hex", "5"]),
            ("--endpoints get get get", "etcdctl get", &["--endpoints", "get", "get"]),
            ("lease bogus", "etcdctl lease", &["bogus"]),
            ("--hex", "etcdctl", &["--hex"]),
        ] {
            let rest = rest.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(find(line), Ok((path.to_owned(), rest)), "{line}");
        }
    }

    #[test]
    fn a_word_that_is_no_command_is_told_what_was_meant() {
        assert_eq!(find("bogus"), Err("unknown command \"bogus\" for \"etcdctl\"".to_owned()));
        let said = find("gett x").unwrap_err();
        assert_eq!(said, "unknown command \"gett\" for \"etcdctl\"\n\nDid you mean this?\n\tget\n");
        // Two commands begin so.
        assert!(find("de").unwrap_err().contains("\tdefrag\n\tdel\n"));
    }
}
