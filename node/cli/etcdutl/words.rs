//! The command line of the offline tool: words and the flags that every command takes, in any order, as in etcdutl.

use crate::cli::form::Form;

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Command and arguments.
    pub named: Vec<String>,
    /// None if there is none of that name.
    pub format: Option<Form>,
    pub help: bool,
}

/// Tells flags from words; behind `--` all are words.
///
/// # Errors
/// The text of an unknown flag, or of one without its value.
pub fn parse(args: &[String]) -> Result<Words, String> {
    let mut words = Words { named: Vec::new(), format: Some(Form::Simple), help: false };
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "--" => words.named.extend(args.by_ref().map(str::to_owned)),
            "-h" | "--help" => words.help = true,
            _ if arg.len() < 2 || !arg.starts_with('-') => words.named.push(arg.to_owned()),
            _ => {
                let (name, value) = split(arg);
                let is_format = match name {
                    "-w" | "--write-out" => true,
                    "--timeout" => false,
                    _ if name.starts_with("--") => return Err(format!("unknown flag: {name}")),
                    _ => return Err(format!("unknown shorthand flag: {:?} in {arg}", first_letter(name))),
                };
                let value = match value.or_else(|| args.next()) {
                    Some(value) => value,
                    None if is_format && name == "-w" => return Err("flag needs an argument: 'w' in -w".to_owned()),
                    None => return Err(format!("flag needs an argument: {name}")),
                };
                if is_format {
                    words.format = Form::find(value);
                }
            }
        }
    }
    Ok(words)
}

/// `--name=value`, `-wvalue`, `-w=value`, or a name alone.
fn split(arg: &str) -> (&str, Option<&str>) {
    if let Some(value) = arg.strip_prefix("-w").filter(|value| !value.is_empty()) {
        return ("-w", Some(value.strip_prefix('=').unwrap_or(value)));
    }
    match arg.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    }
}

fn first_letter(name: &str) -> char {
    name.chars().nth(1).unwrap_or('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Words, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
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
            let words = parsed(line).expect("a command line of etcdutl");
            assert_eq!(
                (words.named.join(" ").as_str(), words.format),
                ("snapshot status f", Some(Form::Json)),
                "{line}"
            );
        }
        assert_eq!(parsed("-w foo").expect("refused by who prints").format, None);
    }

    #[test]
    fn unknown_flags_are_refused_in_etcdutls_words() {
        assert_eq!(parsed("snapshot -x"), Err("unknown shorthand flag: 'x' in -x".to_owned()));
        assert_eq!(parsed("--xx=1"), Err("unknown flag: --xx".to_owned()));
        assert_eq!(parsed("-w"), Err("flag needs an argument: 'w' in -w".to_owned()));
        assert_eq!(parsed("--timeout"), Err("flag needs an argument: --timeout".to_owned()));
    }
}
