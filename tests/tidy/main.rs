//! The rules of STYLE.md that a machine can check: who imports whom, and what no file may hold. Exceptions are
//! listed with their reasons; one that nobody needs any more fails too.

mod source;

use source::Source;
use std::collections::BTreeSet;

/// What may be imported by all.
const BASE: &[&str] = &["types", "clock", "threads", "net", "config", "metrics", "defect"];

/// Each part and what it may import beside [`BASE`]: what is further right on its lines of STYLE.md's table.
/// `disk` and `wal`, which the table does not name, belong to those who keep files; `logging` to those who start.
const ARROWS: &[(&str, &str)] = &[
    ("cli", "server client api admission raft apply mvcc lease auth alarm cluster storage logging backup"),
    ("server", "client api admission raft apply watch mvcc lease auth alarm cluster storage wal disk logging backup"),
    ("api", "admission raft apply watch mvcc lease auth alarm cluster storage backup"),
    ("admission", "raft apply mvcc lease auth alarm cluster storage"),
    ("raft", "apply mvcc lease auth alarm cluster storage wal disk"),
    ("apply", "mvcc lease auth alarm cluster storage"),
    ("watch", "mvcc"),
    ("mvcc", "storage"),
    // A client of any cluster, be it etcd's.
    ("client", ""),
    ("lease", "storage"),
    ("auth", "storage"),
    ("alarm", "storage"),
    ("cluster", "storage"),
    // What was loaded is read as a member reads it.
    ("backup", "apply mvcc lease auth alarm cluster storage wal disk"),
    ("storage", "disk"),
    ("wal", "disk"),
    ("disk", ""),
    ("logging", ""),
    ("types", ""),
    ("clock", ""),
    ("threads", ""),
    ("net", ""),
    ("config", ""),
    ("metrics", ""),
    ("defect", ""),
    // The two roots of the crate.
    ("lib", ""),
    ("main", "cli"),
];

/// Macros, which stand at the root of the crate, by the part that they belong to.
const MACROS: &[(&str, &str)] = &[("fatal", "logging")];

/// Everything that is written by hand.
const ALL: &[&str] = &[
    "node",
    "proto/src",
    "plugins/host/src",
    "plugins/host/tests",
    "plugins/host/benches",
    "plugins/sdk/rust/src",
    "plugins/sdk/rust/key-policy",
    "tests",
];

/// Crates that only some folders or files may name; `tonic` stands for `tonic_prost` too.
const FOREIGN: &[(&str, &[&str])] = &[
    ("redb", &["node/storage/"]),
    ("openraft", &["node/raft/"]),
    (
        "tonic",
        &[
            "node/api/",
            "node/server/",
            "node/cli/",
            "node/client/",
            "node/raft/network/",
            // These call the service of a peer, whose client speaks in requests and statuses.
            "node/raft/consensus/",
            "node/raft/hash.rs",
            "node/raft/lease.rs",
            "node/raft/membership.rs",
            "node/raft/read_index.rs",
            "node/raft/transfer.rs",
        ],
    ),
];

/// Parts that know no messages but this one.
const BELOW_APPLY: &[&str] = &["mvcc", "lease", "auth", "alarm", "cluster", "storage", "disk"];
const ONLY_MESSAGE: &str = "::mvccpb::KeyValue";

/// What stands for unfinished or hidden work.
const SHORTCUTS: &[&str] = &[".unwrap()", "todo!", "unimplemented!", "dbg!(", "#[ignore", "(dead_code"];

const MAX_LINES: usize = 700;

/// Where settings are declared, and what does not count as reading one: making it, and printing it.
const SETTINGS: &str = "node/config/settings.rs";
const NO_READERS: &[&str] = &["node/config/", "node/cli/start_line.rs"];

/// Where the places to fail at are declared.
const POINTS: &str = "node/defect/point.rs";

/// Settings that nobody reads.
const UNREAD: &[(&str, &str)] = &[];

/// Fails with all that was found.
fn check(found: &[String]) {
    assert!(found.is_empty(), "{} places against STYLE.md:\n{}", found.len(), found.join("\n"));
}

/// Where these words begin in the code.
fn places<'a>(code: &'a str, words: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_within_a_word = |at: usize| {
        let before = code[..at].chars().next_back();
        words.starts_with(char::is_alphabetic) && before.is_some_and(|before| before.is_alphanumeric() || before == '_')
    };
    code.match_indices(words).map(|(at, _)| at).filter(move |at| !is_within_a_word(*at))
}

fn first_word(code: &str) -> &str {
    let end = code.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(code.len());
    &code[..end]
}

/// The first names of `{a, b::{c, d}, e}`, or of `a::b`.
fn names(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![first_word(path)];
    };
    let (mut depth, mut names, mut from) = (0_usize, Vec::new(), 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                names.push(first_word(group[from..at].trim_start()));
                from = at + 1;
                if char == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// What a file names of the crate's root, and where.
fn imports(source: &Source) -> Vec<(usize, &str)> {
    let to_root = "super::".repeat(source.depth());
    let own_crate = if source.path == "node/main.rs" { "keelstone::" } else { "crate::" };
    let mut found = Vec::new();
    for prefix in [own_crate, &to_root].into_iter().filter(|prefix| !prefix.is_empty()) {
        for at in places(&source.code, prefix).collect::<Vec<_>>() {
            let path = &source.code[at + prefix.len()..];
            found.extend(names(path).into_iter().map(|name| (at, name)));
        }
    }
    found
}

#[test]
fn parts_import_only_what_is_right_of_them() {
    let mut found = Vec::new();
    for source in source::read(&["node"]).iter().filter(|source| !source.is_test) {
        let part = source.part().expect("below node");
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == part) else {
            found.push(format!("{}: the part {part} is not in the table", source.path));
            continue;
        };
        for (at, name) in imports(source) {
            let to = MACROS.iter().find(|(name_of, _)| *name_of == name).map_or(name, |(_, part)| *part);
            let is_part = ARROWS.iter().any(|(part, _)| *part == to);
            if is_part && to != part && !BASE.contains(&to) && !allowed.split(' ').any(|part| part == to) {
                found.push(format!("{}:{}: {part} imports {to}", source.path, source.line(at)));
            }
        }
    }
    check(&found);
}

#[test]
fn foreign_crates_stay_in_their_parts() {
    let mut found = Vec::new();
    let mut needed = BTreeSet::new();
    for source in source::read(&["node"]).iter().filter(|source| !source.is_test) {
        for (name, homes) in FOREIGN {
            for at in places(&source.code, name).collect::<Vec<_>>() {
                let word = first_word(&source.code[at..]);
                let is_crate = word == *name || word.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
                let is_path = source.code[at + word.len()..].starts_with("::") || source.code[..at].ends_with("use ");
                if !is_crate || !is_path {
                    continue;
                }
                match homes.iter().find(|home| source.path.starts_with(**home)) {
                    Some(home) => drop(needed.insert(*home)),
                    None => found.push(format!("{}:{}: {word}", source.path, source.line(at))),
                }
            }
        }
    }
    let files = FOREIGN.iter().flat_map(|(_, homes)| *homes).filter(|home| home.ends_with(".rs"));
    found.extend(files.filter(|file| !needed.contains(**file)).map(|file| format!("{file}: not needed in the table")));
    check(&found);
}

#[test]
fn messages_stay_above_the_state_but_for_the_pair() {
    let mut found = Vec::new();
    let is_below = |source: &&Source| source.part().is_some_and(|part| BELOW_APPLY.contains(&part));
    for source in source::read(&["node"]).iter().filter(|source| !source.is_test).filter(is_below) {
        for at in places(&source.code, "keelstone_proto").collect::<Vec<_>>() {
            if !source.code[at + "keelstone_proto".len()..].starts_with(ONLY_MESSAGE) {
                found.push(format!("{}:{}: a message other than {ONLY_MESSAGE}", source.path, source.line(at)));
            }
        }
    }
    check(&found);
}

/// The fields of a file's structs, each with the struct.
fn fields(code: &str) -> Vec<(&str, &str)> {
    let mut fields = Vec::new();
    let mut owner = "";
    for line in code.lines() {
        if let Some(name) = line.strip_prefix("pub struct ") {
            owner = first_word(name);
        } else if let Some((name, _)) = line.strip_prefix("    pub ").and_then(|field| field.split_once(": ")) {
            fields.push((owner, name));
        }
    }
    fields
}

/// A place to fail at is offered to etcd's suites only where there is one.
#[test]
fn every_failpoint_stands_somewhere() {
    let sources = source::read(&["node"]);
    let offered = sources.iter().find(|source| source.path == POINTS).expect("the file of points");
    let (_, variants) = offered.code.split_once("pub enum Point {").expect("the enum");
    let (variants, _) = variants.split_once('}').expect("its end");
    let names: Vec<&str> = variants.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    assert!(names.contains(&"RaftBeforeSave"), "points are found: {names:?}");
    let is_reached = |name: &str| {
        let path = format!("Point::{name}");
        let is_it = |source: &Source, at: usize| first_word(&source.code[at + "Point::".len()..]) == name;
        let places = |source: &Source| places(&source.code, &path).any(|at| is_it(source, at));
        sources.iter().filter(|source| !source.is_test && source.part() != Some("defect")).any(places)
    };
    let listed = |name: &str| offered.code.contains(&format!(" Point::{name},"));
    let found: Vec<String> = names
        .into_iter()
        .filter(|name| !is_reached(name) || !listed(name))
        .map(|name| format!("{POINTS}: {name}"))
        .collect();
    check(&found);
}

/// A flag that is read by nobody is ignored without a word. Told by names, so that two settings of one name hide each other.
#[test]
fn every_setting_is_read_by_somebody() {
    let sources = source::read(&["node"]);
    let settings = sources.iter().find(|source| source.path == SETTINGS).expect("the file of settings");
    let is_reader = |source: &&Source| !source.is_test && !NO_READERS.iter().any(|path| source.path.starts_with(path));
    let is_read = |field: &str| {
        let access = format!(".{field}");
        let reads =
            |source: &Source| places(&source.code, &access).any(|at| first_word(&source.code[at + 1..]) == field);
        // Methods of the settings read for others.
        reads(settings) || sources.iter().filter(is_reader).any(reads)
    };
    let fields = fields(&settings.code);
    assert!(fields.contains(&("Compaction", "batch_limit")), "fields are found: {fields:?}");
    let unread = fields.into_iter().filter(|(_, field)| !is_read(field)).collect::<BTreeSet<_>>();
    let known = UNREAD.iter().copied().collect::<BTreeSet<_>>();
    let found: Vec<String> =
        unread.symmetric_difference(&known).map(|(of, field)| format!("{SETTINGS}: {of}::{field}")).collect();
    check(&found);
}

#[test]
fn nothing_is_unfinished_or_hidden() {
    let mut found = Vec::new();
    for source in source::read(ALL) {
        for shortcut in SHORTCUTS.iter().filter(|shortcut| !source.is_test || **shortcut != ".unwrap()") {
            found.extend(
                places(&source.code, shortcut).map(|at| format!("{}:{}: {shortcut}", source.path, source.line(at))),
            );
        }
        // Tests that do not run are no better inside a `cfg(test)` that the code above leaves out.
        let texts = source::blank_texts(&source.raw);
        found.extend(places(&texts, "#[ignore").map(|at| format!("{}:{}: #[ignore", source.path, source.line(at))));
    }
    check(&found);
}

#[test]
fn a_lint_is_allowed_with_a_reason_only() {
    let mut found = Vec::new();
    for source in source::read(ALL) {
        for at in ["[allow(", "[expect("].iter().flat_map(|words| places(&source.code, words)).collect::<Vec<_>>() {
            let attribute = source.code[at..].split(")]").next().expect("split gives one");
            if !attribute.contains("reason =") {
                found.push(format!("{}:{}: {attribute}", source.path, source.line(at)));
            }
        }
    }
    check(&found);
}

#[test]
fn a_file_says_its_job_and_can_be_read_at_once() {
    let mut found = Vec::new();
    for source in source::read(ALL) {
        if !source.raw.starts_with("//!") {
            found.push(format!("{}: does not begin with its job", source.path));
        }
        let lines = source.raw.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{}: {lines} lines, more than {MAX_LINES}", source.path));
        }
    }
    check(&found);
}

#[test]
fn what_tests_hold_is_told_from_code() {
    let raw = "//! crate::a\nuse crate::b; fn f<'a>() { g('\"', b'\\'', \"crate::c\", r#\"todo!\"#) }\n\
               #[cfg(test)]\nmod tests {\n use crate::d;\n fn x() {}\n}\nuse crate::e::{f, g};\n#[cfg(test)]\nmod t;\n";
    let code = source::blank_texts(raw);
    assert_eq!(code.len(), raw.len());
    let items: Vec<&str> = source::test_items(&code).into_iter().map(|item| &raw[item]).collect();
    assert!(items[0].starts_with("#[cfg(test)]\nmod tests {") && items[0].ends_with('}'), "{items:?}");
    assert_eq!(items[1..], ["#[cfg(test)]\nmod t;"]);
    let seen: Vec<&str> = places(&code, "crate::").map(|at| first_word(&code[at + 7..])).collect();
    assert_eq!(seen, ["b", "d", "e"]);
    assert!(!code.contains("todo!"));
    assert_eq!(names("{a, b::{c, d}, e::f}; x, y"), ["a", "b", "e"]);
    assert_eq!(names("a::b"), ["a"]);
}
