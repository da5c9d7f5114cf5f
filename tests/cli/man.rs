//! `keelstone man`: what the command lines take is on the pages, and the pages are in order.

use crate::ours;
use crate::process::{Ended, Program};
use keelstone_harness::tools;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn keelstone(args: &[&str]) -> Ended {
    let program = Program { name: "keelstone", first: None, ..ours() };
    program.run(Path::new("."), args, &[("SOURCE_DATE_EPOCH", "1795737600")])
}

fn page(name: &str) -> String {
    let ended = keelstone(&["man", name]);
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{name}");
    ended.stdout
}

/// As it stands on a page.
fn bold(term: &str) -> String {
    format!("\\fB{}\\fR", term.replace('-', "\\-"))
}

/// The long flags that a help explains, beside `--help`.
fn flags(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let flag = |line: &str| {
        let (_, long) = line.split_once("--")?;
        Some(long.split([' ', '=']).next().unwrap_or_default().to_owned())
    };
    lines.filter_map(flag).filter(|name| name != "help").collect()
}

/// What the page says of a command, to the next one.
fn entry<'a>(page: &'a str, words: &str) -> &'a str {
    let head = format!(".TP\n{}", bold(words));
    let (_, rest) = page.split_once(&head).unwrap_or_else(|| panic!("{words} is not on its page:\n{page}"));
    match rest.split_once("\n.RS\n") {
        // Its own flags come before the next command.
        Some((about, flags)) if !about.contains("\n.TP\n") => flags.split("\n.RE\n").next().unwrap(),
        _ => "",
    }
}

fn check_entry(page: &str, words: &str, help: &str) {
    let (own, _) = help.split_once("\nGlobal Flags:").unwrap_or((help, ""));
    let Some((_, own)) = own.split_once("\nFlags:\n") else { panic!("{words}: no flags in\n{help}") };
    let entry = entry(page, words);
    for flag in flags(own) {
        let flag = format!("--{flag}");
        let shown = entry.contains(&bold(&flag)) || entry.contains(&format!(", {}\\fR", flag.replace('-', "\\-")));
        assert!(shown, "{words} {flag}: {entry}");
    }
}

/// The names in the lists of commands of a help.
fn children(help: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut in_list = false;
    for line in help.lines() {
        if line.ends_with("ommands:") || line.ends_with(" commands") {
            in_list = true;
        } else if line.is_empty() {
            in_list = false;
        } else if in_list {
            names.push(line.split_whitespace().next().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn every_flag_of_the_server_is_on_its_page() {
    let page = page("server");
    let help = keelstone(&["server", "--help"]).stdout;
    let shown = flags(&help);
    assert!(shown.len() > 100, "{help}");
    // Those of etcd beside them: names of earlier releases are in no help.
    let of_etcd = include_str!("etcd-3.7.3-flags.txt").lines().filter(|line| !line.starts_with('#'));
    let of_etcd = of_etcd.filter_map(|line| Some(line.split('\t').next()?.to_owned()));
    for flag in shown.into_iter().chain(of_etcd) {
        assert!(page.contains(&format!(".TP\n{}", bold(&format!("--{flag}")))), "--{flag}");
    }
    for name in ["--experimental-max-learners", "--version", "--auto-promote-learners"] {
        assert!(page.contains(&format!(".TP\n{}", bold(name))), "{name}");
    }
    assert!(page.contains("\\fB\\-\\-name\\fR \\fItext\\fR\n") && page.contains("\nDefault: http://localhost:2380\n"));
}

#[test]
fn every_command_and_flag_of_the_client_is_on_its_page() {
    let page = page("ctl");
    let mut waiting = vec![Vec::new()];
    let mut commands = 0;
    while let Some(words) = waiting.pop() {
        let words: Vec<String> = words;
        let line: Vec<&str> = ["ctl"].into_iter().chain(words.iter().map(String::as_str)).chain(["--help"]).collect();
        let help = keelstone(&line).stdout;
        let children = children(&help);
        if children.is_empty() {
            commands += 1;
            check_entry(&page, &words.join(" "), &help);
        }
        waiting.extend(children.into_iter().map(|child| [&words[..], &[child]].concat()));
    }
    assert!(commands > 50, "{commands} commands were found");
    for flag in flags(&keelstone(&["ctl", "options"]).stdout) {
        assert!(page.contains(&format!("\\-\\-{}\\fR", flag.replace('-', "\\-"))), "--{flag}");
    }
}

#[test]
fn every_command_and_flag_of_the_offline_tool_is_on_its_page() {
    let page = page("utl");
    let help = keelstone(&["utl", "--help"]).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, global) = list.split_once("\n\n").unwrap();
    for line in list.lines() {
        let words: Vec<&str> =
            line.split_whitespace().take_while(|word| word.starts_with(char::is_lowercase)).collect();
        // What explains it is behind at least three blanks.
        let words = match line.trim_start().split_once("   ") {
            Some((command, _)) => command.split(' ').take_while(|word| words.contains(word)).collect::<Vec<_>>(),
            None => panic!("{line}"),
        };
        if words == ["preflight"] {
            assert!(page.contains(&bold("preflight")) && page.contains("keelstone utl preflight MANIFEST DATA\\-DIR"));
            continue;
        }
        let line: Vec<&str> = ["utl"].into_iter().chain(words.iter().copied()).chain(["--help"]).collect();
        check_entry(&page, &words.join(" "), &keelstone(&line).stdout);
    }
    assert!(list.lines().count() >= 8, "{list}");
    for flag in flags(global) {
        assert!(page.contains(&format!("\\-\\-{}\\fR", flag.replace('-', "\\-"))), "--{flag}");
    }
}

#[test]
fn all_pages_are_written_at_once_and_what_checks_pages_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("share/man1");
    let ended = keelstone(&["man", "--out", out.to_str().unwrap()]);
    assert_eq!((ended.status.code(), ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    let mut checkers = 0;
    for name in ["server", "ctl", "utl"] {
        let path = out.join(format!("keelstone-{name}.1"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, page(name));
        assert!(text.starts_with(&format!(".TH KEELSTONE\\-{} 1 \"2026-11-27\"", name.to_uppercase())), "{text}");
        checkers += usize::from(is_quiet("mandoc", &["-T", "lint", "-W", "warning"], &path));
        checkers += usize::from(is_quiet("man", &["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"], &path));
    }
    if checkers == 0 {
        tools::say_skipped("the check of manual pages", "neither mandoc nor man is installed");
    }
}

/// Fails if the program finds something; false if it is not installed.
fn is_quiet(program: &str, args: &[&str], page: &PathBuf) -> bool {
    let output = match Command::new(program).args(args).arg(page).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
        Err(error) => panic!("{program}: {error}"),
    };
    let found = String::from_utf8_lossy(&output.stderr);
    // mandoc tells on stdout, where man puts the page.
    let found = if program == "mandoc" { String::from_utf8_lossy(&output.stdout) + found } else { found };
    assert!(output.status.success() && found.is_empty(), "{program}: {found}");
    true
}

#[test]
fn a_wrong_word_is_told_what_there_is() {
    for args in [&["man"][..], &["man", "etcd"], &["man", "--out"], &["man", "ctl", "utl"]] {
        let ended = keelstone(args);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ended.stderr.contains("keelstone man server|ctl|utl"), "{args:?}: {}", ended.stderr);
    }
    let ended = keelstone(&["man", "--out", "/proc/nowhere"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.starts_with("Error: create /proc/nowhere: "), "{}", ended.stderr);
}
