//! CPU, memory and file descriptors of this process, read when they are asked for.

use super::family::{counter, family, gauge};
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Gauge, Metric, MetricFamily, MetricType};
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
/// Go's collector has these three, the crate's has not.
const ADDRESS_SPACE: (&str, &str) =
    ("process_virtual_memory_max_bytes", "The most virtual memory that the process may have, in bytes.");
const RECEIVED: (&str, &str) =
    ("process_network_receive_bytes_total", "Bytes that came in by the network of the process.");
const SENT: (&str, &str) =
    ("process_network_transmit_bytes_total", "Bytes that went out by the network of the process.");

struct DescriptorCollector {
    descs: Vec<Desc>,
}

impl DescriptorCollector {
    fn new() -> Result<Self, Error> {
        let desc = |(name, help): (&str, &str)| Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new());
        Ok(Self {
            descs: [USED, LIMIT, ADDRESS_SPACE, RECEIVED, SENT].into_iter().map(desc).collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for DescriptorCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let used = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let limit = descriptor_limit();
        let (received, sent) = network_bytes(&std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default());
        vec![
            gauge(USED.0, USED.1, i64::try_from(used).unwrap_or(i64::MAX)),
            gauge(LIMIT.0, LIMIT.1, i64::try_from(limit).unwrap_or(i64::MAX)),
            address_space(),
            counter(RECEIVED.0, RECEIVED.1, received),
            counter(SENT.0, SENT.1, sent),
        ]
    }
}

/// Without a limit it is the largest number, as in Go.
#[allow(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
fn address_space() -> MetricFamily {
    let mut gauge = Gauge::default();
    gauge.set_value(getrlimit(Resource::As).current.unwrap_or(u64::MAX) as f64);
    let mut metric = Metric::default();
    metric.set_gauge(gauge);
    family(ADDRESS_SPACE.0, ADDRESS_SPACE.1, MetricType::GAUGE, vec![metric])
}

/// What came in and went out, by IP's own count; zero if the system does not say.
fn network_bytes(netstat: &str) -> (u64, u64) {
    let mut lines = netstat.lines().filter(|line| line.starts_with("IpExt:")).map(str::split_whitespace);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return (0, 0) };
    let values: HashMap<_, _> = names.zip(values).collect();
    let value = |name| values.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
    (value("InOctets"), value("OutOctets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_found_by_their_names() {
        let netstat = "TcpExt: A InOctets\nTcpExt: 1 2\nIpExt: X InOctets OutOctets\nIpExt: 7 8 9\n";
        assert_eq!((network_bytes(netstat), network_bytes("")), ((8, 9), (0, 0)));
    }
}
