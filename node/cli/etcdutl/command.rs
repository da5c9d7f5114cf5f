//! The command line of the offline tool: a command's words and flags in any order, as in etcdutl.

use super::Outcome;
use crate::cli::etcdctl::flag_lines;
use crate::cli::etcdctl::flags::{Flag, FlagSet, Kind, Values};
use std::process::ExitCode;

/// What every command takes.
pub const GLOBAL: &[Flag] = &[
    Flag::new("timeout", Kind::Duration, "10s", "how long to wait for the lock of a data directory, 0: without end"),
    Flag::new("write-out", Kind::Text, "simple", "how to print: fields, json, simple, table").or_short('w'),
];
pub const HELP: &[Flag] = &[Flag::switch("help", "").or_short('h')];

/// A command, as its file declares it.
#[derive(Debug)]
pub struct Command {
    pub words: &'static [&'static str],
    /// What follows them on the line.
    pub arguments: &'static str,
    pub short: &'static str,
    pub flags: &'static [&'static [Flag]],
    pub run: Run,
}

/// What a command is given of the line.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// The values of its flags, and the words behind its own.
    Values(fn(&Values) -> Outcome),
    /// All that stands behind its words, which come first: its flags are no flags of this tool. It writes by itself.
    Rest { help: &'static str, run: fn(&[String]) -> ExitCode },
}

/// What a line calls for. Without a command all its words are left.
#[derive(Debug)]
pub struct Called {
    pub command: Option<&'static Command>,
    pub values: Values,
}

/// Finds the command, whose flags may stand before it.
///
/// # Errors
/// The text of a flag that is unknown, or unknown to this command, or has a wrong value or none.
pub fn find(commands: &'static [Command], args: &[String]) -> Result<Called, String> {
    let takes_rest = |command: &&Command| matches!(command.run, Run::Rest { .. });
    if let Some(command) = commands.iter().filter(takes_rest).find(|command| starts_with(args, command.words)) {
        let mut values = Values::default();
        values.words = args[command.words.len()..].to_vec();
        values.wants_help = values.words.iter().any(|word| word == "-h" || word == "--help");
        return Ok(Called { command: Some(command), values });
    }
    let mut all = FlagSet::default();
    for flags in commands.iter().flat_map(|command| command.flags).chain(&[GLOBAL, HELP]) {
        all.add(flags);
    }
    let values = Values::parse(&all, args)?;
    let mut others = commands.iter().filter(|command| !takes_rest(command));
    let Some(command) = others.find(|command| starts_with(&values.words, command.words)) else {
        let values = Values::parse(&flags_of(&[]), args)?;
        return Ok(Called { command: None, values });
    };
    let mut values =
        Values::parse(&flags_of(command.flags), args).map_err(|text| format!("{text}\n{}", command.usage()))?;
    values.words.drain(..command.words.len());
    Ok(Called { command: Some(command), values })
}

fn flags_of(own: &'static [&'static [Flag]]) -> FlagSet {
    let mut flags = FlagSet::default();
    for own in own.iter().chain(&[GLOBAL, HELP]) {
        flags.add(own);
    }
    flags
}

fn starts_with(words: &[String], command: &[&str]) -> bool {
    words.len() >= command.len() && words.iter().zip(command).all(|(word, command)| word == command)
}

impl Command {
    /// What stands in its help, and behind a wrong flag.
    pub fn usage(&self) -> String {
        if let Run::Rest { help, .. } = self.run {
            return help.to_owned();
        }
        let mut own: Vec<&Flag> = self.flags.iter().copied().chain([HELP]).flatten().collect();
        own.sort_by_key(|flag| flag.name);
        let global: Vec<&Flag> = GLOBAL.iter().collect();
        format!(
            "Usage:\n  etcdutl {} {} [flags]\n\nFlags:\n{}\nGlobal Flags:\n{}",
            self.words.join(" "),
            self.arguments,
            flag_lines(&own, self.words.last().unwrap_or(&"etcdutl")),
            flag_lines(&global, "")
        )
    }
}

/// `etcdutl --help`.
pub fn help(commands: &[Command]) -> String {
    let lines: Vec<(String, &str)> = commands
        .iter()
        .map(|command| {
            let arguments = command.arguments.split(" --").next().unwrap_or_default();
            ([&command.words.join(" "), arguments].join(" ").trim_end().to_owned(), command.short)
        })
        .collect();
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    let lines: String = lines.iter().map(|(line, short)| format!("  {line:width$}   {short}\n")).collect();
    let mut flags: Vec<&Flag> = GLOBAL.iter().chain(HELP).collect();
    flags.sort_by_key(|flag| flag.name);
    format!("Usage:\n  etcdutl [command]\n\nCommands:\n{lines}\nFlags:\n{}", flag_lines(&flags, "etcdutl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    static COMMANDS: &[Command] = &[
        Command {
            words: &["snapshot", "status"],
            arguments: "<filename>",
            short: "",
            flags: &[],
            run: Run::Values(|_| Ok(String::new())),
        },
        Command {
            words: &["hashkv"],
            arguments: "<filename>",
            short: "",
            flags: &[&[Flag::int("rev", "")]],
            run: Run::Values(|_| Ok(String::new())),
        },
        Command {
            words: &["preflight"],
            arguments: "",
            short: "",
            flags: &[],
            run: Run::Rest { help: "all of it", run: |_| ExitCode::SUCCESS },
        },
    ];

    fn called(line: &str) -> Result<Called, String> {
        find(COMMANDS, &line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_stand_anywhere() {
        for line in [
            "snapshot status f -w json",
            "-wjson snapshot status f",
            "snapshot --write-out=json status f --timeout 5s",
            "--timeout=5s snapshot -w=json status f",
            "snapshot status -w table --write-out json -- f",
        ] {
            let called = called(line).expect("a command line of etcdutl");
            assert_eq!(called.command.expect("a command").words, ["snapshot", "status"], "{line}");
            let Values { words, .. } = &called.values;
            assert_eq!((&words[..], called.values.text("write-out")), (&["f".to_owned()][..], "json"), "{line}");
        }
        let called = called("--rev 7 hashkv f").expect("a command line of etcdutl");
        assert_eq!((called.values.int("rev"), called.values.words), (7, vec!["f".to_owned()]));
    }

    #[test]
    fn what_is_no_flag_of_this_tool_is_left_to_the_command() {
        for (line, wants_help) in [("preflight --xx -w json d", false), ("preflight --xx -h", true)] {
            let Called { command, values } = called(line).expect("it is not read");
            assert_eq!(command.expect("a command").usage(), "all of it");
            assert_eq!(
                (format!("preflight {}", values.words.join(" ")), values.wants_help),
                (line.to_owned(), wants_help)
            );
        }
        // Nobody would read the flag before it.
        assert!(called("-w json preflight d").expect("known flags").command.is_none());
    }

    #[test]
    fn unknown_flags_are_refused_in_etcdutls_words() {
        for (line, text) in [
            ("snapshot -x", "unknown shorthand flag: 'x' in -x"),
            ("--xx=1", "unknown flag: --xx"),
            ("-w", "flag needs an argument: 'w' in -w"),
            ("--timeout", "flag needs an argument: --timeout"),
            ("snapshot status f --rev 7", "unknown flag: --rev\nUsage:\n  etcdutl snapshot status <filename> [flags]"),
        ] {
            let refused = called(line).expect_err(line);
            assert!(refused.starts_with(text), "{line}: {refused}");
        }
    }
}
