//! etcd's timing as openraft's settings.

use super::consensus::Limits;
use super::network::Timing;
use openraft::{Config, ConfigError, SnapshotPolicy};
use std::sync::Arc;

/// With T the election timeout, a follower stands after between T/4 and 0.9 T without its leader. openraft adds
/// the lease to the sample, so equal values would double etcd's failover time.
pub fn openraft_config(timing: Timing, limits: &Limits) -> Result<Arc<Config>, ConfigError> {
    let election = millis(timing.election);
    // openraft gives up on a heartbeat that is not answered within one interval, and on a new stream of appends within three
    // quarters of it: etcd's interval alone would ask for round trips shorter than that, where etcd only needs them
    // to fit into the election timeout several times.
    let heartbeat = millis(timing.heartbeat).max(election / 4);
    let config = Config {
        cluster_name: "keelstone".to_owned(),
        heartbeat_interval: heartbeat,
        election_timeout_min: (election / 4).max(heartbeat + 1),
        election_timeout_max: (election * 9 / 10).max(heartbeat + 2),
        install_snapshot_timeout: millis(limits.snapshot_timeout),
        max_payload_entries: 4_096,
        max_append_entries: Some(8_192),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(limits.snapshot_count),
        max_in_snapshot_log_to_keep: limits.snapshot_catchup_entries,
        // How far behind a learner may be when it is added; members catch up by log while the log is there.
        replication_lag_threshold: u64::MAX,
        // As soon as a snapshot allows it, as in etcd: how far a follower may fall behind is the operator's to say.
        purge_batch_size: 1,
        api_batch_capacity: 8_192,
        enable_pre_vote: Some(limits.pre_vote),
        // A restarted leader stands for election like any other: its last commit may be unknown to it.
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
