//! `etcdutl completion`: the scripts of `etcdctl completion`, with the commands and flags of this tool.

use super::command::{GLOBAL, HELP};
use super::{COMMANDS, EXIT_ERROR, Failure, Outcome};
use crate::cli::etcdctl::completion::{Node, check, script};
use crate::cli::etcdctl::flags::Values;

pub fn run(values: &Values) -> Outcome {
    let words = &values.words;
    check("etcdutl", words).map_err(|text| Failure::new(EXIT_ERROR, text))?;
    let everywhere: Vec<_> = GLOBAL.iter().chain(HELP).collect();
    Ok(script(&words[0], "etcdutl", &nodes(), &everywhere))
}

/// The program, the groups of commands, and the commands.
fn nodes() -> Vec<Node> {
    let below = |above: &[&str]| {
        let inside = COMMANDS.iter().filter(|command| command.words.starts_with(above));
        let mut names: Vec<&str> = inside.filter_map(|command| command.words.get(above.len()).copied()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| (name, "")).collect()
    };
    let mut nodes =
        vec![Node { path: String::new(), children: below(&[]), flags: GLOBAL.iter().chain(HELP).collect() }];
    nodes.push(Node { path: "snapshot".to_owned(), children: below(&["snapshot"]), flags: Vec::new() });
    for command in COMMANDS {
        let flags = command.flags.iter().copied().flatten().collect();
        nodes.push(Node { path: command.words.join(" "), children: Vec::new(), flags });
    }
    nodes
}
