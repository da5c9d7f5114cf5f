//! All parts register with one registry: nobody's name is taken twice, and the list of names is the golden file.

use crate::metrics::server::{ServerFacts, ServerReading};
use crate::types::MemberId;
use prometheus::{Error, Registry};
use std::collections::BTreeSet;

/// As a member builds it. Families with labels show only once they have a value.
fn registry() -> Result<Registry, Error> {
    let registry = crate::metrics::registry()?;
    let facts = ServerFacts {
        member: MemberId(1),
        version: crate::ETCD_VERSION,
        runtime: crate::runtime_name(),
        features: vec![("AllAlpha", "ALPHA", false)],
        quota_bytes: 0,
    };
    crate::metrics::server::register(&registry, facts, Box::new(ServerReading::default))?;
    let apply = crate::apply::Metrics::register(&registry)?;
    super::Metrics::register(&registry, apply.slow_applies())?;
    crate::watch::Metrics::register(&registry)?;
    crate::mvcc::Metrics::register(&registry)?;
    crate::lease::Metrics::register(&registry)?;
    crate::alarm::Metrics::register(&registry)?;
    crate::auth::Metrics::register(&registry)?;
    crate::backup::Metrics::register(&registry)?;
    crate::cluster::Metrics::register(&registry)?;
    crate::storage::Metrics::register(&registry)?;
    crate::wal::Metrics::register(&registry)?;
    crate::raft::Metrics::register(&registry)?.know(MemberId(1), MemberId(2));
    crate::metrics::corruption::CorruptionMetrics::register(&registry)?;
    Ok(registry)
}

#[test]
fn the_names_are_those_of_the_list() {
    let families = registry().expect("no name is taken twice").gather();
    let ours: BTreeSet<String> = families
        .iter()
        .map(|family| {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            let name = family.name();
            let is_of_peers = name.starts_with("etcd_network_") && !name.starts_with("etcd_network_client_");
            if !is_of_peers {
                return format!("{name} {kind}");
            }
            let labels: Vec<_> = family.get_metric()[0].get_label().iter().map(|label| label.name()).collect();
            format!("{name} {kind} {{{}}}", labels.join(","))
        })
        .collect();
    let golden: BTreeSet<String> = include_str!("../metrics/names.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = golden.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&golden).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}\nnot in the list {surplus:#?}");
}
