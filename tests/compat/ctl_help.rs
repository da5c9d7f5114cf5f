//! Help and usage of our etcdctl beside the official one: the descriptions are ours, all else is the same.

use crate::ctl::ours;
use keelstone_harness::tools;
use std::path::Path;
use std::process::Command;

/// Help without its sentences: usage lines, commands, flags with their kinds.
fn outline(help: &str) -> Vec<String> {
    let mut lines = help.lines().skip_while(|line| !line.starts_with("Usage:")).collect::<Vec<_>>();
    if let Some(examples) = lines.iter().position(|line| *line == "Examples:") {
        let after = lines[examples..].iter().position(|line| line.contains("Commands") || line.starts_with("Flags"));
        lines.drain(examples..examples + after.expect("commands or flags follow the examples"));
    }
    let is_of_shell = |line: &&str| line.trim_start().starts_with("etcdctl");
    let first = |line: &str| line.trim().split("   ").next().unwrap_or_default().to_owned();
    let named = |line: &str| match line.trim_start() {
        _ if is_of_shell(&line) => line.to_owned(),
        flag if flag.starts_with('-') => first(line),
        word if line.starts_with("  ") => word.split(' ').next().unwrap_or_default().to_owned(),
        _ => line.to_owned(),
    };
    // The commands on files are none of etcdctl 3.7's, and those on backups are ours alone.
    let others = ["not built yet", "as etcdctl until 3.5", "Keelstone's own"];
    let is_ours = |line: &&str| others.iter().all(|words| !line.contains(words));
    let lines = lines.into_iter().filter(is_ours);
    lines.filter(|line| !line.is_empty()).map(named).collect()
}

#[test]
fn help_has_the_same_commands_and_flags() {
    let Some(official) = tools::etcdctl(7, "help_has_the_same_commands_and_flags") else { return };
    let ours = ours();
    let run = |tool: &Path, line: &str| {
        let output = Command::new(tool).args(line.split(' ').filter(|word| !word.is_empty())).output();
        let output = output.expect("run etcdctl");
        let [out, complained] = [&output.stdout, &output.stderr].map(|bytes| outline(&String::from_utf8_lossy(bytes)));
        (output.status.code(), out, complained)
    };
    for command in [
        "",
        "get",
        "put",
        "del",
        "txn",
        "compaction",
        "alarm",
        "alarm list",
        "alarm disarm",
        "defrag",
        "endpoint",
        "endpoint health",
        "endpoint status",
        "endpoint hashkv",
        "move-leader",
        "watch",
        "version",
        "lease",
        "lease grant",
        "lease revoke",
        "lease timetolive",
        "lease list",
        "lease keep-alive",
        "member",
        "member add",
        "member remove",
        "member update",
        "member list",
        "member promote",
        "snapshot",
        "snapshot save",
        "make-mirror",
        "lock",
        "elect",
        "auth",
        "auth enable",
        "auth disable",
        "auth status",
        "user",
        "user add",
        "user delete",
        "user get",
        "user list",
        "user passwd",
        "user grant-role",
        "user revoke-role",
        "role",
        "role add",
        "role delete",
        "role get",
        "role list",
        "role grant-permission",
        "role revoke-permission",
        "check",
        "check perf",
        "check datascale",
        "completion",
        "downgrade",
        "downgrade validate",
        "downgrade enable",
        "downgrade cancel",
        "options",
    ] {
        for line in [format!("{command} --help"), format!("help {command}"), format!("{command} --bogus")] {
            assert_eq!(run(&ours, &line), run(&official, &line), "{line}");
        }
    }
    for line in ["options", "help bogus", "lease bogus", "completion", "completion x"] {
        assert_eq!(run(&ours, line), run(&official, line), "{line}");
    }
}
