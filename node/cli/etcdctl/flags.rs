//! Flags by the rules of Go's pflag (`FlagSet.parseArgs`): they may stand anywhere, `--x=v` and `--x v` are one, a
//! switch takes a value only behind `=`, short ones may stand together, `--` ends them.

use super::go;
use crate::config::value::{GoDuration, ValueError, parse_bool};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Switch,
    Text,
    Int,
    Uint,
    Duration,
    /// Comma separated; a repeated flag adds to it.
    List,
}

impl Kind {
    /// What pflag puts for the value.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Switch => "",
            Kind::Text => "string",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Duration => "duration",
            Kind::List => "strings",
        }
    }
}

/// A flag as its command declares it.
#[derive(Debug)]
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    /// In the spelling of the command line.
    pub default: &'static str,
    pub help: &'static str,
}

impl Flag {
    pub const fn new(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Self {
        Self { name, short: None, kind, default, help }
    }

    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Switch, "false", help)
    }

    pub const fn text(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Text, "", help)
    }

    pub const fn int(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Int, "0", help)
    }

    pub const fn or_short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }
}

/// The flags that a command takes: its own and those of the commands above it.
#[derive(Clone, Debug, Default)]
pub struct FlagSet {
    flags: Vec<&'static Flag>,
}

impl FlagSet {
    pub fn add(&mut self, flags: &'static [Flag]) {
        self.flags.extend(flags);
    }

    pub fn find(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.name == name).copied()
    }

    pub fn find_short(&self, short: char) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.short == Some(short)).copied()
    }
}

/// Values of a command line, and the words that are no flags.
#[derive(Clone, Debug, Default)]
pub struct Values {
    set: BTreeMap<&'static str, String>,
    defaults: BTreeMap<&'static str, &'static str>,
    pub words: Vec<String>,
    pub wants_help: bool,
}

impl Values {
    /// Reads the words behind the command. `Err` is pflag's text.
    pub fn parse(flags: &FlagSet, args: &[String]) -> Result<Self, String> {
        let mut values =
            Self { defaults: flags.flags.iter().map(|flag| (flag.name, flag.default)).collect(), ..Self::default() };
        let mut rest = args;
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            if word == "--" {
                values.words.extend_from_slice(rest);
                break;
            } else if let Some(long) = word.strip_prefix("--") {
                rest = values.parse_long(flags, word, long, rest)?;
            } else if word.len() > 1 && word.starts_with('-') {
                rest = values.parse_short(flags, &word[1..], rest)?;
            } else {
                values.words.push(word.clone());
            }
        }
        Ok(values)
    }

    fn parse_long<'a>(
        &mut self,
        flags: &FlagSet,
        word: &str,
        long: &str,
        rest: &'a [String],
    ) -> Result<&'a [String], String> {
        if long.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {word}"));
        }
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let Some(flag) = flags.find(name) else { return Err(format!("unknown flag: --{name}")) };
        match (value, rest.split_first()) {
            (Some(value), _) => self.set(flag, value).map(|()| rest),
            (None, _) if flag.kind == Kind::Switch => self.set(flag, "true").map(|()| rest),
            (None, Some((value, rest))) => self.set(flag, value).map(|()| rest),
            (None, None) => Err(format!("flag needs an argument: --{name}")),
        }
    }

    /// Letters behind one dash: switches, and at last a flag whose value follows.
    fn parse_short<'a>(&mut self, flags: &FlagSet, all: &str, rest: &'a [String]) -> Result<&'a [String], String> {
        let mut letters = all;
        while let Some(letter) = letters.chars().next() {
            let after = &letters[letter.len_utf8()..];
            let Some(flag) = flags.find_short(letter) else {
                return Err(format!("unknown shorthand flag: {letter:?} in -{letters}"));
            };
            if let Some(value) = after.strip_prefix('=').filter(|value| !value.is_empty()) {
                return self.set(flag, value).map(|()| rest);
            }
            if flag.kind == Kind::Switch {
                self.set(flag, "true")?;
                letters = after;
                continue;
            }
            return match (after, rest.split_first()) {
                ("", Some((value, rest))) => self.set(flag, value).map(|()| rest),
                ("", None) => Err(format!("flag needs an argument: {letter:?} in -{letters}")),
                (value, _) => self.set(flag, value).map(|()| rest),
            };
        }
        Ok(rest)
    }

    /// Sets a flag as the command line would. `Err` is pflag's text.
    pub fn set(&mut self, flag: &'static Flag, text: &str) -> Result<(), String> {
        let refused = |cause: String| {
            let name = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.name),
                None => format!("--{}", flag.name),
            };
            format!("invalid argument {} for {} flag: {cause}", go::quote(text.as_bytes()), go::quote(name.as_bytes()))
        };
        match flag.kind {
            Kind::Switch => {
                let value =
                    parse_bool(text).ok_or_else(|| refused(go::refusal("ParseBool", text, ValueError::Syntax)))?;
                self.wants_help |= flag.name == "help" && value;
            }
            Kind::Int => drop(go::parse_int(text, 0).map_err(refused)?),
            Kind::Uint => drop(go::parse_uint(text, 0).map_err(refused)?),
            Kind::Duration => drop(go::parse_duration(text).map_err(refused)?),
            Kind::Text => {}
            Kind::List => {
                if let Some(earlier) = self.set.get_mut(flag.name) {
                    earlier.push(',');
                    earlier.push_str(text);
                    return Ok(());
                }
            }
        }
        self.set.insert(flag.name, text.to_owned());
        Ok(())
    }

    /// True if it was given, even with the value it has anyway.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// The value as text.
    ///
    /// # Panics
    /// If the command has no such flag.
    pub fn text(&self, name: &str) -> &str {
        match self.set.get(name) {
            Some(value) => value,
            None => self.defaults.get(name).unwrap_or_else(|| panic!("no flag --{name} here")),
        }
    }

    pub fn switch(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    pub fn int(&self, name: &str) -> i64 {
        go::parse_int(self.text(name), 0).unwrap_or(0)
    }

    pub fn uint(&self, name: &str) -> u64 {
        go::parse_uint(self.text(name), 0).unwrap_or(0)
    }

    /// Zero if it is negative.
    pub fn duration(&self, name: &str) -> Duration {
        GoDuration::parse(self.text(name)).unwrap_or_default().or_zero()
    }

    /// The parts between commas, without the blanks around them.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.text(name).split(',').map(|part| part.trim().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::switch("prefix", ""),
        Flag::switch("interactive", "").or_short('i'),
        Flag::text("write-out", "").or_short('w'),
        Flag::int("limit", ""),
        Flag::new("endpoints", Kind::List, "a", ""),
        Flag::new("wait", Kind::Duration, "5s", ""),
    ];

    fn parsed(line: &str) -> Result<Values, String> {
        let mut flags = FlagSet::default();
        flags.add(FLAGS);
        Values::parse(&flags, &line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_stand_anywhere_and_short_ones_together() {
        let values = parsed("a --prefix b -iw json --limit 3 c -- --limit").unwrap();
        assert_eq!(values.words, ["a", "b", "c", "--limit"]);
        assert!(values.switch("prefix") && values.switch("interactive"));
        assert_eq!((values.text("write-out"), values.int("limit")), ("json", 3));
        assert_eq!(parsed("-wjson -i=false --prefix=0 -").unwrap().words, ["-"]);
        assert_eq!(values.duration("wait"), Duration::from_secs(5));
    }

    #[test]
    fn a_list_grows_and_forgives_blanks() {
        let values = parsed("--endpoints=b, --endpoints=c").unwrap();
        assert_eq!(values.list("endpoints"), ["b", "", "c"]);
        let mut flags = FlagSet::default();
        flags.add(FLAGS);
        let values = Values::parse(&flags, &["--endpoints=b, c".to_owned()]).unwrap();
        assert_eq!(values.list("endpoints"), ["b", "c"]);
    }

    /// Texts recorded from etcdctl 3.7.3.
    #[test]
    fn refusals_use_the_words_of_pflag() {
        for (line, said) in [
            ("--bogus", "unknown flag: --bogus"),
            ("-z", "unknown shorthand flag: 'z' in -z"),
            ("-iz", "unknown shorthand flag: 'z' in -z"),
            ("--limit", "flag needs an argument: --limit"),
            ("-w", "flag needs an argument: 'w' in -w"),
            ("---x", "bad flag syntax: ---x"),
            (
                "--limit=x",
                "invalid argument \"x\" for \"--limit\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "-i=x",
                "invalid argument \"x\" for \"-i, --interactive\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(parsed(line).unwrap_err(), said, "{line}");
        }
    }
}
