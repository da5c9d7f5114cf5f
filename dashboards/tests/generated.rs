//! What holds of all dashboards and rules, without a server.

use keelstone_dashboards::query::{Place, Query};
use keelstone_dashboards::{LATER_FAMILIES, alerts, boards, files, recordings};
use keelstone_harness::tools;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a member shows from its start.
fn families() -> BTreeSet<String> {
    let names = std::fs::read_to_string(Path::new(ROOT).join("../node/metrics/names.txt")).expect("read the names");
    let lines = names.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().next().expect("a name").to_owned()).collect()
}

/// All queries, by what they belong to.
fn queries() -> Vec<(String, Query)> {
    let mut queries = Vec::new();
    for board in boards::all() {
        for panel in board.panels() {
            let lines = panel.lines.iter().map(|line| line.query.clone());
            queries.extend(lines.map(|query| (format!("{} / {}", board.title, panel.title), query)));
        }
    }
    queries.extend(alerts::all().into_iter().map(|alert| (alert.name.to_owned(), alert.query)));
    queries.extend(recordings::all().into_iter().map(|rule| (rule.name.to_owned(), rule.query)));
    queries
}

#[test]
fn what_is_committed_is_what_the_source_says() {
    for (path, text) in files() {
        let found = std::fs::read_to_string(Path::new(ROOT).join(&path)).unwrap_or_default();
        assert!(found == text, "{path}: run `cargo run -p keelstone-dashboards`");
    }
}

#[test]
fn every_family_that_is_read_exists() {
    let known = families();
    for (place, query) in queries() {
        for &family in query.families() {
            assert!(known.contains(family) || LATER_FAMILIES.contains(&family), "{place} reads {family}");
        }
    }
}

/// Those of etcd are shown where etcd's users look for them.
#[test]
fn every_family_of_our_own_is_shown_or_watched() {
    // Times of the last event, beside an age or a count that is shown.
    let detail = ["keelstone_backup_drill_timestamp_seconds", "keelstone_backup_last_success_timestamp_seconds"];
    let read: BTreeSet<&str> = queries().iter().flat_map(|(_, query)| query.families().clone()).collect();
    for family in families().iter().filter(|family| family.starts_with("keelstone_")) {
        assert!(read.contains(family.as_str()) != detail.contains(&family.as_str()), "{family}");
    }
}

#[test]
fn no_two_lines_of_panels_show_the_same() {
    let mut seen = BTreeMap::new();
    for board in boards::all() {
        for panel in board.panels() {
            assert!(!panel.description.is_empty() && !panel.lines.is_empty(), "{}", panel.title);
            for line in &panel.lines {
                let place = format!("{} / {}", board.title, panel.title);
                if let Some(other) = seen.insert(line.query.text(Place::Panel), place.clone()) {
                    panic!("{place} shows what {other} shows");
                }
            }
        }
    }
}

/// None where it is missing and need not be there.
fn promtool(test: &str) -> Option<Command> {
    let mut command = tools::is_installed("promtool", test).then(|| Command::new("promtool"))?;
    command.current_dir(Path::new(ROOT).join("prometheus"));
    Some(command)
}

fn passes(mut command: Command) {
    let output = command.output().expect("the check runs");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}{complained}");
}

#[test]
fn alerts_fire_when_they_should_and_not_else() {
    let Some(mut promtool) = promtool("alerts_fire_when_they_should_and_not_else") else { return };
    promtool.args(["test", "rules", "alerts_test.yaml"]);
    passes(promtool);
}

#[test]
fn prometheus_takes_the_rules() {
    let Some(mut promtool) = promtool("prometheus_takes_the_rules") else { return };
    promtool.args(["check", "rules", "alerts.yaml", "recordings.yaml"]);
    passes(promtool);
}

/// With the model of Grafana 10.1, which `KEELSTONE_GRAFANA_PYTHON` has.
#[test]
fn grafana_knows_all_that_the_dashboards_say() {
    let Some(python) = std::env::var_os("KEELSTONE_GRAFANA_PYTHON") else {
        return tools::say_skipped("grafana_knows_all_that_the_dashboards_say", "no KEELSTONE_GRAFANA_PYTHON");
    };
    let mut check = Command::new(python);
    check.current_dir(ROOT).arg("check_schema.py");
    check.args(boards::all().iter().map(|board| format!("grafana/{}.json", board.uid)));
    passes(check);
}
