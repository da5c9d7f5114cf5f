//! Grafana dashboards and Prometheus rules for Keelstone, made from typed source. `cargo run -p keelstone-dashboards` writes what is
//! committed beside it: `grafana/*.json`, `prometheus/*.yaml` and `RUNBOOKS.md`.
//!
//! Every family of metrics that is used has to be named in `node/metrics/names.txt`, or in [`LATER_FAMILIES`] if it is shown only
//! once there is something to show.

pub mod alerts;
pub mod boards;
pub mod grafana;
pub mod query;
pub mod recordings;
pub mod rules;

use std::collections::BTreeMap;

/// Families with labels that nothing has been counted under at the start, and those of Prometheus itself.
pub const LATER_FAMILIES: &[&str] =
    &["etcd_debugging_server_alarms", "etcd_server_apply_duration_seconds", "etcd_server_client_requests_total", "up"];

/// All generated files: path under this folder, and text.
pub fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for board in boards::all() {
        files.insert(format!("grafana/{}.json", board.uid), board.json());
    }
    files.insert("prometheus/alerts.yaml".into(), rules::alerts_yaml(&alerts::all()));
    files.insert("prometheus/alerts_test.yaml".into(), rules::tests_yaml(&alerts::all()));
    files.insert("prometheus/recordings.yaml".into(), rules::recordings_yaml(&recordings::all()));
    files.insert("RUNBOOKS.md".into(), rules::runbooks(&alerts::all()));
    files
}
