//! CPU, memory and file descriptors of this process, read when they are asked for.

use super::family::gauge;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Error, Registry};
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;

/// The most file descriptors that this process may have open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Memory that this process has from the system now, in bytes; zero if the system does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes.saturating_mul(1024))
}

/// # Errors
/// The registry already has these families.
pub fn register(registry: &Registry) -> Result<(), Error> {
    registry.register(Box::new(ProcessCollector::for_self()))?;
    registry.register(Box::new(DescriptorCollector::new()?))
}

const USED: (&str, &str) = ("os_fd_used", "The number of used file descriptors.");
const LIMIT: (&str, &str) = ("os_fd_limit", "The file descriptor limit.");

struct DescriptorCollector {
    descs: Vec<Desc>,
}

impl DescriptorCollector {
    fn new() -> Result<Self, Error> {
        let desc = |(name, help): (&str, &str)| Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new());
        Ok(Self { descs: vec![desc(USED)?, desc(LIMIT)?] })
    }
}

impl Collector for DescriptorCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let used = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let limit = descriptor_limit();
        vec![
            gauge(USED.0, USED.1, i64::try_from(used).unwrap_or(i64::MAX)),
            gauge(LIMIT.0, LIMIT.1, i64::try_from(limit).unwrap_or(i64::MAX)),
        ]
    }
}
