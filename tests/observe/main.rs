//! A real Prometheus watches a real cluster: what dashboards and alerts read is there and says what is so.

mod prometheus;
mod what_etcds_read;

use keelstone_dashboards::query::{Place, Query};
use keelstone_dashboards::{alerts, boards, recordings};
use keelstone_harness::faults::{judge, serves};
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{AlarmRequest, AlarmType};
use keelstone_harness::{Client, Cluster, ClusterSpec, Random, Suite, tools, wait};
use prometheus::{JOB, Prometheus, Sample};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// The window of rates: all that this test does is within.
const WINDOW: &str = "5m";
const MEMBERS: usize = 3;
/// Of a member.
const MAX_SERIES: f64 = 3000.0;

fn suite() -> Suite {
    Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "observe")
}

/// As Grafana fills in its variables when all members are chosen.
fn filled_in(query: &Query) -> String {
    let text = query.text(Place::Panel);
    text.replace("$job", JOB).replace("$instance", ".*").replace("$__rate_interval", WINDOW)
}

/// What panels show and clients seldom ask for.
async fn exercise(client: &Client) {
    client.defragment().await.expect("defragment");
    let mut snapshot = client.snapshot().await.expect("a snapshot");
    while snapshot.message().await.expect("a part of the snapshot").is_some() {}
    client.hash_kv(0).await.expect("a hash");
}

/// What panels and rules say: a table, and what is wrong with it.
#[derive(Default)]
struct Findings {
    table: String,
    wrong: Vec<String>,
}

impl Findings {
    /// `may_be_empty`: there is nothing to show while all is well.
    fn add(&mut self, place: &str, query: &str, samples: Result<Vec<Sample>, String>, may_be_empty: bool) {
        let samples = match samples {
            Ok(samples) => samples,
            Err(error) => return self.wrong.push(format!("{place}: {query}: {error}")),
        };
        let odd = samples.iter().find(|sample| !sample.value.is_finite());
        let finite = if odd.is_some() { "no" } else { "yes" };
        writeln!(self.table, "{place}\t{query}\t{}\t{finite}", samples.len()).expect("a string takes all");
        if let Some(odd) = odd {
            self.wrong.push(format!("{place}: {query}: {} at {}", odd.value, odd.labels));
        } else if samples.is_empty() && !may_be_empty {
            self.wrong.push(format!("{place}: {query}: no series"));
        }
    }
}

fn alarm(action: AlarmAction) -> AlarmRequest {
    AlarmRequest { action: action.into(), member_id: 77, alarm: AlarmType::Nospace.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something_and_alerts_come_and_go() {
    if !tools::is_installed("prometheus", "every_panel_shows_something_and_alerts_come_and_go") {
        return;
    }
    let suite = suite();
    let backups = suite.make_folder("backups");
    let place = format!("--backup-dir=file://{}", backups.display());
    let spec = ClusterSpec::of(MEMBERS).with_flags(&[&place, "--backup-schedule=@hourly"]);
    let mut cluster = Cluster::start(&suite, &spec).await;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/prometheus");
    let mut rules = vec![rules.join("alerts.yaml"), rules.join("recordings.yaml")];
    // Rules of others that are to be looked at too, such as those of etcd's mixin.
    rules.extend(std::env::var_os("KEELSTONE_RULES").map(PathBuf::from));
    let prometheus = Prometheus::start(&suite, &cluster, &rules).await;
    let mut random = Random::from_environment();
    let load = Load::start(&cluster.clients(), LoadSpec::default(), &mut random);
    load.progress(100, LIMIT).await;
    exercise(&cluster[0].client()).await;
    cluster[1].kill();
    load.progress(100, LIMIT).await;
    wait::until("Prometheus to miss a member", LIMIT, || async {
        let up = prometheus.query("sum(up)").await.ok()?;
        up.iter().any(|sample| sample.value == 2.0).then_some(())
    })
    .await;
    cluster.restart(1).await;
    serves(&cluster[1].client(), LIMIT).await;
    exercise(&cluster[1].client()).await;

    let last = RefCell::new(Findings::default());
    let settled = wait::until("every panel to show something", LIMIT, || async {
        let found = look(&prometheus).await;
        let is_well = found.wrong.is_empty();
        last.replace(found);
        is_well.then_some(())
    });
    let settled = tokio::time::timeout(LIMIT - Duration::from_secs(1), settled).await;
    println!("{}", last.borrow().table);
    assert!(settled.is_ok(), "{}", last.borrow().wrong.join("\n"));

    let client = cluster[0].client();
    assert!(!prometheus.firing().await.contains(&"KeelstoneAlarm".to_owned()));
    client.alarm(alarm(AlarmAction::Activate)).await.expect("raise an alarm");
    let fires = async || prometheus.firing().await.contains(&"KeelstoneAlarm".to_owned());
    wait::until("the alert of a raised alarm", LIMIT, || async { fires().await.then_some(()) }).await;
    client.alarm(alarm(AlarmAction::Deactivate)).await.expect("end the alarm");
    wait::until("the alert to end", LIMIT, || async { (!fires().await).then_some(()) }).await;

    println!("{}", judge(&cluster.clients(), load).await);
    cluster.assert_no_unexpected_errors();
}

async fn look(prometheus: &Prometheus) -> Findings {
    let mut found = Findings::default();
    for board in boards::all() {
        for panel in board.panels() {
            for line in &panel.lines {
                let (place, query) = (format!("{} / {}", board.title, panel.title), filled_in(&line.query));
                let samples = prometheus.query(&query).await;
                found.add(&place, &query, samples, line.may_be_empty);
            }
        }
    }
    for alert in alerts::all() {
        let query = alert.query.text(Place::Rule);
        let samples = prometheus.query(&query).await;
        found.add(alert.name, &query, samples, true);
    }
    for rule in recordings::all() {
        found.add("recording", rule.name, prometheus.query(rule.name).await, false);
    }
    for (series, labels) in what_etcds_read::SERIES {
        // Each member has it, and each of its series has a value for each label.
        let whole: String = labels.iter().map(|label| format!(r#", {label}!="""#)).collect();
        let query = format!(r#"count by (instance) ({series}{{job="{JOB}"{whole}}})"#);
        let samples = prometheus.query(&query).await;
        if samples.as_ref().is_ok_and(|samples| samples.len() != MEMBERS) {
            found.wrong.push(format!("{series} with {labels:?} is not there on each member"));
        }
        found.add("made for etcd", &query, samples, false);
    }
    let counted = prometheus.query(&format!(r#"count by (instance) ({{job="{JOB}"}})"#)).await;
    for member in counted.iter().flatten().filter(|member| member.value > MAX_SERIES) {
        found.wrong.push(format!("{} has {} series", member.labels, member.value));
    }
    found.add("series of a member", "all", counted, false);
    for (rule, health) in prometheus.rules().await {
        if health != "ok" {
            found.wrong.push(format!("{rule}: {health}"));
        }
    }
    found
}
