//! What to watch, from a command line or an entered one: words before `--`, the command to run behind it.

use super::FLAGS;
use crate::cli::etcdctl::flags::{FlagSet, Values};
use crate::cli::etcdctl::range;
use crate::client::text;
use keelstone_proto::etcdserverpb::WatchCreateRequest;

const FEW: &str = "bad number of arguments";
const CONFLICT: &str = "bad number of arguments (found conflicting environment key)";
const NO_COMMAND: &str = "bad number of arguments (found separator --, but no commands)";

/// The words of a watch.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Key and end.
    keys: Vec<String>,
    /// Run for each event; empty: none.
    pub command: Vec<String>,
}

impl Line {
    /// `values` are the parsed words, `line` the words as they were given. Key and end of the environment are an
    /// alternative to those of the line.
    pub fn of_command(values: &Values, line: &[String], environment: &[String]) -> Result<Self, String> {
        let command = line.iter().position(|word| word == "--").map(|at| line[at + 1..].to_vec());
        Self::join(&values.words, command, environment)
    }

    /// A line behind its `watch`, and its flags.
    pub fn entered(words: &[String], environment: &[String]) -> Result<(Self, Values), String> {
        let mut flags = FlagSet::default();
        flags.add(FLAGS);
        let values = Values::parse(&flags, words)?;
        let line = Self::of_command(&values, words, environment)?;
        Ok((line, values))
    }

    fn join(words: &[String], command: Option<Vec<String>>, environment: &[String]) -> Result<Self, String> {
        if command.as_ref().is_some_and(Vec::is_empty) {
            return Err(NO_COMMAND.to_owned());
        }
        let command = command.unwrap_or_default();
        // The parser leaves out the `--` alone.
        let keys = &words[..words.len().saturating_sub(command.len())];
        if !keys.is_empty() && !environment.is_empty() {
            return Err(CONFLICT.to_owned());
        }
        let keys = if environment.is_empty() { keys.to_vec() } else { environment.to_vec() };
        if keys.is_empty() {
            return Err(FEW.to_owned());
        }
        Ok(Self { keys, command })
    }

    pub fn request(&self, values: &Values) -> Result<WatchCreateRequest, String> {
        let prefix = values.switch("prefix");
        let mut request = WatchCreateRequest {
            key: text(&self.keys[0]),
            start_revision: values.int("rev"),
            prev_kv: values.switch("prev-kv"),
            progress_notify: values.switch("progress-notify"),
            ..WatchCreateRequest::default()
        };
        if let [_, end] = &self.keys[..] {
            if prefix {
                return Err("`range_end` and `--prefix` are mutually exclusive".to_owned());
            }
            request.range_end = text(end);
        }
        if prefix {
            let (key, end) = range::with_prefix(&self.keys[0]);
            (request.key, request.range_end) = (key.into(), end.into());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(line: &str, environment: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let words = |line: &str| line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let environment: Vec<String> = environment.iter().map(|&word| word.to_owned()).collect();
        Line::entered(&words(line), &environment).map(|(line, _)| (line.keys, line.command))
    }

    /// As etcdctl's own cases have it.
    #[test]
    fn keys_come_before_the_separator_or_from_the_environment() {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for (line, environment, keys, command) in [
            ("foo", &[][..], &["foo"][..], &[][..]),
            ("foo bar --rev 1", &[], &["foo", "bar"], &[]),
            ("--rev 1 -- echo x", &["k"], &["k"], &["echo", "x"]),
            ("foo --prefix bar -- echo foo", &[], &["foo", "bar"], &["echo", "foo"]),
        ] {
            assert_eq!(entered(line, environment), Ok((owned(keys), owned(command))), "{line}");
        }
        for (line, environment, said) in [
            ("--rev 1", &[][..], FEW),
            ("foo --", &[], NO_COMMAND),
            ("foo", &["k"], CONFLICT),
            ("foo -- echo", &["k"], CONFLICT),
        ] {
            assert_eq!(entered(line, environment), Err(said.to_owned()), "{line}");
        }
    }
}
