//! The command line by the rules of Go's `flag` package (`FlagSet.parseOne`): `-x` and `--x` are one, a switch
//! takes a value only as `--x=v`, all else takes the next word whatever it looks like, the first word that is no
//! flag ends the flags, and a repeated flag is set again.
//!
//! Not clap: it has no single-dash long flags, takes `--switch false` for a value or a positional but never both
//! as Go does, refuses values that begin with a dash, and answers in its own words with its own exit codes. What is
//! left to hand to it would be the loop below.

use super::table::Flag;
use super::values::Values;
use std::ops::ControlFlow;

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// `-h`, `-help`: nobody defined these flags, so they ask for help wherever they stand.
    Help,
    Run(Values),
}

/// Why a command line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Go's flag package refuses it: text and usage on stderr, exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A word that belongs to no flag: exit code 1.
    #[error("{0:?} is not a valid flag")]
    Stray(String),
}

/// Reads the words after the program's name.
pub fn parse(args: &[String]) -> Result<Request, ArgsError> {
    let mut values = Values::defaults();
    let mut rest = args;
    loop {
        match parse_one(&mut values, rest)? {
            ControlFlow::Continue(after) => rest = after,
            ControlFlow::Break(Stop::Help) => return Ok(Request::Help),
            ControlFlow::Break(Stop::End(after)) => match after.first() {
                Some(stray) => return Err(ArgsError::Stray(stray.clone())),
                None => return Ok(Request::Run(values)),
            },
        }
    }
}

enum Stop<'a> {
    Help,
    /// The words behind the last flag.
    End(&'a [String]),
}

fn parse_one<'a>(values: &mut Values, args: &'a [String]) -> Result<ControlFlow<Stop<'a>, &'a [String]>, ArgsError> {
    let end = |rest| Ok(ControlFlow::Break(Stop::End(rest)));
    let Some((word, mut rest)) = args.split_first() else { return end(args) };
    let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else { return end(args) };
    if name == "-" {
        return end(rest);
    }
    let name = name.strip_prefix('-').unwrap_or(name);
    let fail = |text: String| Err(ArgsError::Usage(text));
    if name.starts_with(['-', '=']) {
        return fail(format!("bad flag syntax: {word}"));
    }
    let (name, mut value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    let Some(flag) = Flag::find(name) else {
        if matches!(name, "help" | "h") {
            return Ok(ControlFlow::Break(Stop::Help));
        }
        return fail(format!("flag provided but not defined: -{name}"));
    };
    if flag.kind.is_switch() {
        let value = value.unwrap_or("true");
        if let Err(why) = values.set(flag, value) {
            return fail(format!("invalid boolean value {value:?} for -{name}: {why}"));
        }
        return Ok(ControlFlow::Continue(rest));
    }
    if value.is_none()
        && let Some((next, after)) = rest.split_first()
    {
        (value, rest) = (Some(next.as_str()), after);
    }
    let Some(value) = value else { return fail(format!("flag needs an argument: -{name}")) };
    match values.set(flag, value) {
        Ok(()) => Ok(ControlFlow::Continue(rest)),
        Err(why) => fail(format!("invalid value {value:?} for flag -{name}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Values, ArgsError> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        match parse(&args)? {
            Request::Run(values) => Ok(values),
            Request::Help => panic!("asked for help"),
        }
    }

    #[test]
    fn one_dash_or_two_and_the_last_wins() {
        let values = parsed(&["-name=a", "--name", "b", "--pre-vote=F", "-pre-vote", "--data-dir", "--name"]).unwrap();
        assert_eq!(values.text("name"), "b");
        assert!(values.bool("pre-vote"));
        assert_eq!(values.text("data-dir"), "--name", "a value may look like a flag");
        assert!(values.is_set("name") && !values.is_set("wal-dir"));
    }

    #[test]
    fn a_value_may_be_empty_or_hold_an_equals_sign() {
        let values = parsed(&["--initial-cluster", "a=http://1.1.1.1:1", "--name="]).unwrap();
        assert_eq!((values.text("initial-cluster"), values.text("name")), ("a=http://1.1.1.1:1", ""));
    }

    /// Texts recorded from etcd 3.7.3.
    #[test]
    fn refusals_use_gos_words() {
        for (args, said) in [
            (&["--nope"][..], "flag provided but not defined: -nope"),
            (&["---x"], "bad flag syntax: ---x"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["--name"], "flag needs an argument: -name"),
            (&["--pre-vote=maybe"], "invalid boolean value \"maybe\" for -pre-vote: parse error"),
            (&["--heartbeat-interval", "-1"], "invalid value \"-1\" for flag -heartbeat-interval: parse error"),
            (&["--pre-vote", "false"], "\"false\" is not a valid flag"),
            (&["stray"], "\"stray\" is not a valid flag"),
            (&["-"], "\"-\" is not a valid flag"),
            (&["--", "--name", "x"], "\"--name\" is not a valid flag"),
            (
                &["--client-transport-security.allowed-cn", "x"],
                "flag provided but not defined: -client-transport-security.allowed-cn",
            ),
        ] {
            assert_eq!(parsed(args).unwrap_err().to_string(), said, "{args:?}");
        }
    }

    #[test]
    fn help_counts_wherever_it_stands_before_an_error() {
        let args = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert!(matches!(parse(&args(&["--name", "x", "-h", "--nope"])), Ok(Request::Help)));
        assert!(matches!(parse(&args(&["--nope", "-h"])), Err(ArgsError::Usage(_))));
    }

    #[test]
    fn an_older_name_sets_what_it_became() {
        let values = parsed(&["--experimental-max-learners=3", "--experimental-initial-corrupt-check"]).unwrap();
        assert_eq!(values.int("max-learners"), 3);
        assert_eq!(values.gates().to_string(), "InitialCorruptCheck=true");
        assert_eq!(values.older.len(), 2);
    }
}
