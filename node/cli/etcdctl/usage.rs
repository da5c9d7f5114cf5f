//! Help and usage in cobra's shape: the same lines in the same columns, the descriptions in our words.

use super::flags::{Flag, Kind};
use super::tree::{Command, Group, HELP, Located};
use std::fmt::Write;

/// Stands below every help.
const OPTIONS_HINT: &str =
    "Use \"etcdctl options\" for a list of global command-line options (applies to all commands).";

/// `etcdctl x --help`.
pub fn help(of: &Located) -> String {
    let command = of.command();
    let about = if command.long.is_empty() { command.short } else { command.long };
    format!("{}\n\n{}{OPTIONS_HINT}\n", about.trim_end(), usage(of))
}

/// What stands behind a usage error as well.
pub fn usage(of: &Located) -> String {
    let command = of.command();
    let mut out = "Usage:".to_owned();
    let mut write = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("writing to a String does not fail");
    if command.run.is_some() {
        let above = of.path();
        let above = above.strip_suffix(command.name()).unwrap_or_default();
        let flags = if command.line.starts_with("completion") { "" } else { " [flags]" };
        write(format_args!("\n  {above}{}{flags}", command.line));
    }
    if !command.children.is_empty() {
        write(format_args!("\n  {} [command]", of.path()));
        let children = command.sorted_children();
        if of.is_root() {
            for (group, title) in Group::TITLES {
                write(format_args!(
                    "\n\n{title}{}",
                    list(command, children.iter().filter(|child| child.group == group))
                ));
            }
        } else {
            write(format_args!("\n\nAvailable Commands:{}", list(command, children.iter())));
        }
    }
    if !of.is_root() {
        let mut own: Vec<&Flag> = command.flags.iter().chain(command.persistent).chain(HELP).collect();
        own.sort_by_key(|flag| flag.name);
        write(format_args!("\n\nFlags:\n{}", flags(&own, command.name()).trim_end()));
        // The root's are told by `etcdctl options` alone.
        let parents =
            of.parent().filter(|parent| parent.group != Group::None).map_or(&[][..], |parent| parent.persistent);
        if !parents.is_empty() {
            let parents: Vec<&Flag> = parents.iter().collect();
            write(format_args!("\n\nGlobal Flags:\n{}", flags(&parents, "").trim_end()));
        }
    }
    if !command.children.is_empty() {
        write(format_args!("\n\nUse \"{} [command] --help\" for more information about a command.", of.path()));
    }
    out.push('\n');
    out
}

/// The usage of a command that stands in a line of another.
pub fn of_line(command: &Command) -> String {
    let mut own: Vec<&Flag> = command.flags.iter().chain(HELP).collect();
    own.sort_by_key(|flag| flag.name);
    format!("Usage:\n   {} [flags]\n\nFlags:\n{}\n", command.line, flags(&own, command.name()).trim_end())
}

/// A line for each command, the descriptions in one column.
fn list<'a>(parent: &Command, children: impl Iterator<Item = &'a &'static Command>) -> String {
    let longest = parent.children.iter().map(|child| child.name().len()).max().unwrap_or(0);
    let width = longest.max(11);
    children.fold(String::new(), |text, child| format!("{text}\n  {:width$} {}", child.name(), child.short))
}

/// A line for each flag, the descriptions in one column. `owner` is whom `--help` helps with.
pub fn flags(flags: &[&Flag], owner: &str) -> String {
    let left: Vec<String> = flags.iter().map(|flag| left_side(flag)).collect();
    let width = left.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (flag, left) in flags.iter().zip(&left) {
        let help = if flag.name == "help" { format!("help for {owner}") } else { flag.help.to_owned() };
        out.push_str(&format!("{left:width$}   {help}{}\n", default(flag)));
    }
    out
}

fn left_side(flag: &Flag) -> String {
    let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    format!("  {short}--{} {}", flag.name, flag.kind.word()).trim_end().to_owned()
}

/// Shown unless it is the zero value of its kind.
pub fn default(flag: &Flag) -> String {
    match (flag.kind, flag.default) {
        (_, "") | (Kind::Switch, "false") | (Kind::Int | Kind::Uint, "0") => String::new(),
        (Kind::Text, default) => format!(" (default {default:?})"),
        (Kind::List, default) => format!(" (default [{default}])"),
        (_, default) => format!(" (default {default})"),
    }
}
