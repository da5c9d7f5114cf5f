//! The `etcd_server_*` families whose values live in the consensus part. They are asked for at scrape time.
//!
//! The trap is etcd's: `proposals_committed_total` is a gauge holding a log index.

use super::family::{counter, family, gauge, gauge_value, label};
use crate::types::MemberId;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Error, Registry};
use std::collections::HashMap;
use std::fmt;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    pub member: MemberId,
    /// As `etcd --version` says it.
    pub version: &'static str,
    /// What stands where etcd names its Go.
    pub runtime: String,
    /// Feature gates: name, stage (`ALPHA`, `BETA`), enabled.
    pub features: Vec<(&'static str, &'static str, bool)>,
    /// The quota that holds, also when none was set.
    pub quota_bytes: i64,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerReading {
    pub has_leader: bool,
    pub is_leader: bool,
    pub committed_index: u64,
    pub pending_proposals: u64,
    pub failed_proposals: u64,
    pub leader_changes: u64,
    pub slow_read_indexes: u64,
    pub failed_read_indexes: u64,
}

type Read = Box<dyn Fn() -> ServerReading + Send + Sync>;

/// # Errors
/// The registry already has these families.
pub fn register(registry: &Registry, facts: ServerFacts, read: Read) -> Result<(), Error> {
    let mut collector = ServerCollector { facts, read, descs: Vec::new() };
    collector.descs = collector
        .families(&ServerReading::default())
        .iter()
        .map(|family| Desc::new(family.name().to_owned(), family.help().to_owned(), Vec::new(), HashMap::new()))
        .collect::<Result<_, _>>()?;
    registry.register(Box::new(collector))
}

struct ServerCollector {
    facts: ServerFacts,
    read: Read,
    descs: Vec<Desc>,
}

impl fmt::Debug for ServerCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCollector").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Collector for ServerCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families(&(self.read)())
    }
}

impl ServerCollector {
    fn families(&self, reading: &ServerReading) -> Vec<MetricFamily> {
        let index = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        let mut families = vec![
            gauge(
                "etcd_server_has_leader",
                "Whether or not a leader exists. 1 is existence, 0 is not.",
                reading.has_leader.into(),
            ),
            gauge(
                "etcd_server_is_leader",
                "Whether or not this member is a leader. 1 if is, 0 otherwise.",
                reading.is_leader.into(),
            ),
            gauge(
                "etcd_server_proposals_committed_total",
                "The total number of consensus proposals committed.",
                index(reading.committed_index),
            ),
            gauge(
                "etcd_server_proposals_pending",
                "The current number of pending proposals to commit.",
                index(reading.pending_proposals),
            ),
            counter(
                "etcd_server_proposals_failed_total",
                "The total number of failed proposals seen.",
                reading.failed_proposals,
            ),
            counter(
                "etcd_server_leader_changes_seen_total",
                "The number of leader changes seen.",
                reading.leader_changes,
            ),
            counter(
                "etcd_server_slow_read_indexes_total",
                "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
                reading.slow_read_indexes,
            ),
            counter(
                "etcd_server_read_indexes_failed_total",
                "The total number of failed read indexes seen.",
                reading.failed_read_indexes,
            ),
        ];
        families.extend(self.facts());
        families
    }

    fn facts(&self) -> [MetricFamily; 5] {
        let features = self.facts.features.iter().map(|(name, stage, enabled)| {
            gauge_value(vec![label("name", name), label("stage", stage)], i64::from(*enabled))
        });
        [
            family(
                "etcd_server_id",
                "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
                MetricType::GAUGE,
                vec![gauge_value(vec![label("server_id", &self.facts.member.to_string())], 1)],
            ),
            family(
                "etcd_server_version",
                "Which version is running. 1 for 'server_version' label with current version.",
                MetricType::GAUGE,
                vec![gauge_value(vec![label("server_version", self.facts.version)], 1)],
            ),
            family(
                "etcd_server_go_version",
                "What the server runs on, which is not Go. 1 for 'server_go_version' label with its name.",
                MetricType::GAUGE,
                vec![gauge_value(vec![label("server_go_version", &self.facts.runtime)], 1)],
            ),
            family(
                "etcd_server_feature_enabled",
                "Whether or not a feature is enabled. 1 is enabled, 0 is not.",
                MetricType::GAUGE,
                features.collect(),
            ),
            gauge(
                "etcd_server_quota_backend_bytes",
                "Current backend storage quota size in bytes.",
                self.facts.quota_bytes,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    #[test]
    fn a_scrape_reads_the_state_of_its_moment() {
        let registry = Registry::new();
        let facts = ServerFacts {
            member: MemberId(0xab),
            version: "3.7.3",
            runtime: "none".to_owned(),
            features: vec![("AllAlpha", "ALPHA", false)],
            quota_bytes: 2_147_483_648,
        };
        let read = || ServerReading { has_leader: true, committed_index: 7, ..ServerReading::default() };
        register(&registry, facts, Box::new(read)).expect("a fresh registry");
        let text = String::from_utf8(render(&registry).expect("rendered")).expect("text");
        for line in [
            "etcd_server_has_leader 1",
            "etcd_server_is_leader 0",
            "etcd_server_proposals_committed_total 7",
            r#"etcd_server_id{server_id="ab"} 1"#,
            r#"etcd_server_version{server_version="3.7.3"} 1"#,
            r#"etcd_server_go_version{server_go_version="none"} 1"#,
            r#"etcd_server_feature_enabled{name="AllAlpha",stage="ALPHA"} 0"#,
            "etcd_server_quota_backend_bytes 2147483648",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
