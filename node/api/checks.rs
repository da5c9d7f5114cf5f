//! The checks behind `/livez` and `/readyz`, and their report:
//!
//! ```text
//! [+]data_corruption ok
//! [-]linearizable_read failed: etcdserver: request timed out
//! ```

use super::node::Node;
use keelstone_proto::etcdserverpb::AlarmType;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// No member has reported corrupt data.
    DataCorruption,
    /// This member can read what it has.
    SerializableRead,
    /// There is a quorum that agrees.
    LinearizableRead,
    /// This member may serve all requests.
    NonLearner,
}

impl Check {
    pub fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    /// # Errors
    /// Why the check fails, as the page says it.
    async fn run(self, node: &Node) -> Result<(), String> {
        match self {
            Check::DataCorruption if node.alarms().iter().any(|alarm| alarm.alarm() == AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::NonLearner if node.is_learner() => Err("not supported for learner".to_owned()),
            Check::LinearizableRead => node.check_reads().await.map_err(|error| error.text()),
            // A published view is in memory: there is nothing that can fail.
            Check::SerializableRead | Check::DataCorruption | Check::NonLearner => Ok(()),
        }
    }
}

/// A path and what it checks.
#[derive(Debug)]
pub struct CheckGroup {
    pub name: &'static str,
    pub checks: &'static [Check],
}

pub const LIVEZ: CheckGroup = CheckGroup { name: "livez", checks: &[Check::SerializableRead] };
pub const READYZ: CheckGroup = CheckGroup {
    name: "readyz",
    checks: &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner],
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub is_ok: bool,
    /// One line for each check, in their order.
    pub lines: String,
}

impl CheckGroup {
    /// Runs those of `checks` that are not excluded. Names that no check has are only mentioned in the log.
    pub async fn run(&self, node: &Node, checks: &[Check], excluded: &[&str]) -> Report {
        let mut results = Vec::with_capacity(checks.len());
        for check in checks.iter().filter(|check| !excluded.contains(&check.name())) {
            let result = check.run(node).await;
            self.count(node, *check, result.is_ok());
            results.push((*check, result));
        }
        let unknown: Vec<_> =
            excluded.iter().filter(|name| checks.iter().all(|check| check.name() != **name)).collect();
        if !unknown.is_empty() {
            tracing::warn!(?unknown, "some health checks cannot be excluded");
        }
        report(&results)
    }

    fn count(&self, node: &Node, check: Check, succeeded: bool) {
        let status = if succeeded { "success" } else { "error" };
        let metrics = &node.metrics;
        metrics.healthcheck.with_label_values(&[self.name, check.name()]).set(succeeded.into());
        metrics.healthchecks_total.with_label_values(&[self.name, check.name(), status]).inc();
    }
}

fn report(results: &[(Check, Result<(), String>)]) -> Report {
    let mut report = Report { is_ok: true, lines: String::new() };
    for (check, result) in results {
        let written = match result {
            Ok(()) => writeln!(report.lines, "[+]{} ok", check.name()),
            Err(why) => {
                report.is_ok = false;
                writeln!(report.lines, "[-]{} failed: {why}", check.name())
            }
        };
        written.expect("a string takes all that is written");
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_each_check_and_why_it_failed() {
        let failed = Err("etcdserver: request timed out".to_owned());
        let results = [(Check::DataCorruption, Ok(())), (Check::LinearizableRead, failed)];
        let lines = "[+]data_corruption ok\n[-]linearizable_read failed: etcdserver: request timed out\n";
        assert_eq!(report(&results), Report { is_ok: false, lines: lines.to_owned() });
        assert_eq!(report(&[]), Report { is_ok: true, lines: String::new() });
    }
}
