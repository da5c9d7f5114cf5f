//! etcd's metrics of the membership.

use super::ClusterState;
use crate::types::MemberId;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

#[derive(Clone, Debug)]
pub struct Metrics {
    cluster_version: IntGaugeVec,
    known_peers: IntGaugeVec,
    is_learner: IntGauge,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let cluster_version = IntGaugeVec::new(
            Opts::new(
                "etcd_cluster_version",
                "Which version is running. 1 for 'cluster_version' label with current cluster version",
            ),
            &["cluster_version"],
        )?;
        let known_peers = IntGaugeVec::new(
            Opts::new("etcd_network_known_peers", "The current number of known peers."),
            &["Local", "Remote"],
        )?;
        let is_learner =
            IntGauge::new("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.")?;
        registry.register(Box::new(cluster_version.clone()))?;
        registry.register(Box::new(known_peers.clone()))?;
        registry.register(Box::new(is_learner.clone()))?;
        Ok(Self { cluster_version, known_peers, is_learner })
    }

    /// Shows `state` as the member `local` knows it.
    pub fn show(&self, local: MemberId, state: &ClusterState) {
        let local_label = local.to_string();
        for member in state.members.iter() {
            self.known_peers.with_label_values(&[&local_label, &member.id.to_string()]).set(1);
        }
        for id in state.members.removed() {
            self.known_peers.with_label_values(&[&local_label, &id.to_string()]).set(0);
        }
        let is_learner = state.members.get(local).is_some_and(|member| member.is_learner);
        self.is_learner.set(i64::from(is_learner));
        if let Some(version) = state.version {
            // Only the current one is kept: a scrape must not see two at 1.
            self.cluster_version.reset();
            self.cluster_version.with_label_values(&[&format!("{}.{}", version.major, version.minor)]).set(1);
        }
    }
}
