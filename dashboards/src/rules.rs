//! Rules of Prometheus: alerts with a page of what to do, and a case of promtool's for and against each.

use crate::query::{Place, Query};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where the pages of alerts lie for who reads an alert: beside the rules, unless the operator serves them elsewhere.
const RUNBOOKS: &str = "RUNBOOKS.md";

#[derive(Clone, Debug)]
pub struct Alert {
    pub name: &'static str,
    pub query: Query,
    /// How long the query must hold.
    pub hold: &'static str,
    pub severity: Severity,
    /// One line, for a pager.
    pub summary: &'static str,
    /// What it means for those who use the cluster.
    pub meaning: &'static str,
    /// What to look at and to do, in this order.
    pub steps: &'static [&'static str],
    pub case: Case,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody is to get up for it.
    Critical,
    /// Somebody is to look at it tomorrow.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

/// Under what an alert fires, and under what not.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Each with the values under which it fires, then those under which it does not: in promtool's notation, a minute apart.
    pub series: &'static [(&'static str, &'static str, &'static str)],
    /// When it is looked at.
    pub at: &'static str,
    /// With which labels it fires, beside severity.
    pub labels: &'static [(&'static str, &'static str)],
}

/// A query that is kept under a name, for panels over long times.
#[derive(Clone, Debug)]
pub struct Recording {
    pub name: &'static str,
    pub query: Query,
}

#[derive(Serialize)]
struct File<R> {
    groups: Vec<Group<R>>,
}

#[derive(Serialize)]
struct Group<R> {
    name: &'static str,
    rules: Vec<R>,
}

#[derive(Serialize)]
struct AlertRule {
    alert: &'static str,
    expr: String,
    r#for: &'static str,
    labels: BTreeMap<&'static str, &'static str>,
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct RecordingRule {
    record: &'static str,
    expr: String,
}

#[derive(Serialize)]
struct Tests {
    rule_files: Vec<&'static str>,
    evaluation_interval: &'static str,
    tests: Vec<Test>,
}

#[derive(Serialize)]
struct Test {
    name: String,
    interval: &'static str,
    input_series: Vec<Series>,
    alert_rule_test: Vec<Expectation>,
}

#[derive(Serialize)]
struct Series {
    series: &'static str,
    values: &'static str,
}

#[derive(Serialize)]
struct Expectation {
    eval_time: &'static str,
    alertname: &'static str,
    exp_alerts: Vec<Expected>,
}

#[derive(Serialize)]
struct Expected {
    exp_labels: BTreeMap<&'static str, &'static str>,
    exp_annotations: BTreeMap<&'static str, String>,
}

fn yaml(head: &str, value: &impl Serialize) -> String {
    format!("# {head}\n{}", serde_yaml_ng::to_string(value).expect("a tree of strings"))
}

const MADE: &str = "Made by `cargo run -p keelstone-dashboards`.";

impl Alert {
    fn annotations(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("summary", self.summary.to_owned()),
            ("description", self.meaning.to_owned()),
            ("runbook_url", format!("{RUNBOOKS}#{}", self.name.to_lowercase())),
        ])
    }

    fn rule(&self) -> AlertRule {
        AlertRule {
            alert: self.name,
            expr: self.query.text(Place::Rule),
            r#for: self.hold,
            labels: BTreeMap::from([("severity", self.severity.name())]),
            annotations: self.annotations(),
        }
    }

    fn tests(&self) -> [Test; 2] {
        let Case { series, at, labels } = self.case;
        let test = |what: &str, input_series: Vec<Series>, expected: Vec<Expected>| Test {
            name: format!("{} {what}", self.name),
            interval: "1m",
            input_series,
            alert_rule_test: vec![Expectation { eval_time: at, alertname: self.name, exp_alerts: expected }],
        };
        let labels = labels.iter().copied().chain([("severity", self.severity.name())]).collect();
        let fired = Expected { exp_labels: labels, exp_annotations: self.annotations() };
        let firing = series.iter().map(|&(series, values, _)| Series { series, values });
        let quiet = series.iter().map(|&(series, _, values)| Series { series, values });
        [test("fires", firing.collect(), vec![fired]), test("is quiet", quiet.collect(), Vec::new())]
    }
}

/// For `rule_files` of Prometheus.
pub fn alerts_yaml(alerts: &[Alert]) -> String {
    let rules = alerts.iter().map(Alert::rule).collect();
    yaml(MADE, &File { groups: vec![Group { name: "keelstone", rules }] })
}

/// For `promtool test rules`.
pub fn tests_yaml(alerts: &[Alert]) -> String {
    let tests = alerts.iter().flat_map(Alert::tests).collect();
    yaml(MADE, &Tests { rule_files: vec!["alerts.yaml"], evaluation_interval: "1m", tests })
}

/// For `rule_files` of Prometheus.
pub fn recordings_yaml(recordings: &[Recording]) -> String {
    let rules = recordings.iter().map(|rule| RecordingRule { record: rule.name, expr: rule.query.text(Place::Rule) });
    yaml(MADE, &File { groups: vec![Group { name: "keelstone-recordings", rules: rules.collect() }] })
}

/// A page for each alert.
pub fn runbooks(alerts: &[Alert]) -> String {
    let mut text = format!(
        "# When an alert fires\n\n{MADE} The alerts of etcd's own mixin work unchanged beside these; what they mean is what \
         they mean of etcd.\n"
    );
    for alert in alerts {
        write!(
            text,
            "\n## {}\n\n{} ({}, after {})\n\n{}\n\n",
            alert.name,
            alert.summary,
            alert.severity.name(),
            alert.hold,
            alert.meaning
        )
        .expect("a string takes all");
        for (number, step) in (1..).zip(alert.steps) {
            writeln!(text, "{number}. {step}").expect("a string takes all");
        }
    }
    text
}
