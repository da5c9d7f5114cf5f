//! `etcdutl completion`: the scripts of `etcdctl completion`, with the commands and flags of this tool.

use super::{EXIT_ERROR, FLAGGED, Failure, GLOBAL, Outcome};
use crate::cli::etcdctl::completion::{Node, check, script};
use crate::cli::etcdctl::flags::Values;
use crate::cli::not_built::EXIT_NOT_BUILT;

/// The commands without flags of their own.
const PLAIN: [&str; 2] = ["snapshot", "version"];

pub fn run(values: &Values) -> Outcome {
    // The command's own name comes first.
    let words = &values.words[1..];
    check("etcdutl", words).map_err(|text| Failure::new(EXIT_ERROR, text))?;
    let everywhere: Vec<_> = GLOBAL.iter().collect();
    script(&words[0], "etcdutl", &nodes(), &everywhere).map_err(|text| Failure::new(EXIT_NOT_BUILT, text))
}

fn nodes() -> Vec<Node> {
    let mut names: Vec<&str> = FLAGGED.iter().map(|(name, ..)| *name).chain(PLAIN).collect();
    names.sort_unstable();
    let children = names.into_iter().map(|name| (name, "")).collect();
    let mut nodes = vec![Node { path: String::new(), children, flags: GLOBAL.iter().collect() }];
    for (name, flags, _) in &FLAGGED {
        let flags: Vec<_> = flags.iter().collect();
        nodes.push(Node { path: (*name).to_owned(), children: Vec::new(), flags });
    }
    nodes.push(Node { path: "snapshot".to_owned(), children: vec![("status", "")], flags: Vec::new() });
    nodes
}
