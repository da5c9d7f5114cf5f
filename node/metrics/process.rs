//! CPU, memory and file descriptors of this process, read when they are asked for.

use super::family::gauge;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Error, Registry};
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;

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
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        vec![
            gauge(USED.0, USED.1, i64::try_from(used).unwrap_or(i64::MAX)),
            gauge(LIMIT.0, LIMIT.1, i64::try_from(limit).unwrap_or(i64::MAX)),
        ]
    }
}
