//! The help text, made from the table.

use super::gates::{GATES, GateState, Stage};
use super::table::{FLAGS, Flag, Section, State};
use std::fmt::Write;

/// What stands on stderr beside a refused command line and before the help.
pub const USAGE: &str = "Usage:

  etcd [flags]
    Run a member of a cluster.

  etcd --version
    Print the version of etcd that this server behaves as, and leave.

  etcd -h | --help
    Print all flags, and leave.

  etcd --config-file <file>
    Take all settings from a YAML or JSON file; flags and ETCD_* variables then count for nothing.
    Durations in the file are integers, in nanoseconds (600000000000 is 10m).
";

/// Headings of the sections that are shown.
pub const SECTIONS: [(Section, &str); 10] = [
    (Section::Member, "Member"),
    (Section::Clustering, "Clustering"),
    (Section::Security, "Security"),
    (Section::Auth, "Auth"),
    (Section::Observing, "Profiling and Monitoring"),
    (Section::Logging, "Logging"),
    (Section::Tracing, "Distributed tracing"),
    (Section::Features, "Features"),
    (Section::Unsafe, "Unsafe"),
    (Section::Ours, "Keelstone"),
];

/// All flags with their defaults, by section.
pub fn flags() -> String {
    let mut out = String::new();
    for (section, title) in SECTIONS {
        let write = write_section(&mut out, section, title);
        write.expect("writing to a String does not fail");
    }
    out.push_str(ENVIRONMENT);
    out.push('\n');
    out
}

pub const ENVIRONMENT: &str =
    "Every flag is also a variable: ETCD_ and its name in upper case with _ for -, as in ETCD_DATA_DIR.";

/// The default as people read it.
pub fn default(flag: &Flag) -> &'static str {
    if flag.name == "data-dir" { "<name>.etcd" } else { flag.default }
}

/// What else is to be said of a flag.
pub fn remark(flag: &Flag) -> Option<String> {
    match flag.state {
        State::Later(_) => Some("Not built yet in Keelstone: only the default is taken.".to_owned()),
        State::NoEffect(why) => Some(format!("Without effect in Keelstone: {why}.")),
        State::Built | State::Ignored | State::Alias(_) | State::SetsGate(_) => None,
    }
}

/// What `--feature-gates` takes, each with what is to be said of it.
pub fn gates() -> Vec<(&'static str, String)> {
    let named = GATES.iter().map(|gate| {
        let stage = match gate.stage {
            Stage::Alpha => "alpha",
            Stage::Beta => "beta",
        };
        let later = match gate.state {
            GateState::Built => "",
            GateState::NoEffect(_) => ", without effect",
        };
        (gate.name, format!("{stage}, default {}{later}", gate.default))
    });
    named.chain([("AllAlpha, AllBeta", "all gates of that stage that are not named".to_owned())]).collect()
}

fn write_section(out: &mut String, section: Section, title: &str) -> std::fmt::Result {
    writeln!(out, "{title}:")?;
    for flag in FLAGS.iter().filter(|flag| flag.section == section) {
        writeln!(out, "  --{} '{}'\n    {}", flag.name, default(flag), flag.help)?;
        if flag.name == "feature-gates" {
            for (gate, note) in gates() {
                writeln!(out, "      {gate} ({note})")?;
            }
        }
        if let Some(remark) = remark(flag) {
            writeln!(out, "    {remark}")?;
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_that_is_not_of_the_past_is_shown() {
        let text = flags();
        for flag in FLAGS {
            let shown = text.contains(&format!("  --{} '", flag.name));
            let hidden = matches!(flag.section, Section::Older | Section::FileOnly);
            assert_eq!(shown, !hidden, "{}", flag.name);
            assert_eq!(flag.help.is_empty(), hidden, "{}", flag.name);
        }
    }
}
