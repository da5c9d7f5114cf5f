//! What processes have used, as the kernel and they themselves count it.

use keelstone_harness::{Cluster, Member, http};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// `USER_HZ`, the unit of times in `/proc/PID/stat`: 100 on every Linux that Rust runs on.
const TICKS_PER_SEC: f64 = 100.0;

pub const MIB: f64 = 1_048_576.0;

/// What both servers count under etcd's names: syncs of the log, and durable commits of the state.
const SYNCS: [&str; 2] =
    ["etcd_disk_wal_fsync_duration_seconds_count ", "etcd_disk_backend_commit_duration_seconds_count "];

/// Sums since the process began, and its memory now.
#[derive(Debug)]
pub struct Usage {
    /// User and system time of all its threads, to a hundredth of a second.
    pub cpu_secs: f64,
    /// The same for each thread that lives, to the nanosecond.
    threads: HashMap<String, u64>,
    /// Bytes that it caused to be written to the disk.
    pub written_bytes: f64,
    pub rss_mib: f64,
    /// The highest resident memory so far.
    pub peak_rss_mib: f64,
}

impl Usage {
    /// # Panics
    /// If the process is gone or `/proc` cannot be read.
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| read(&format!("/proc/{pid}/{name}"));
        let status = read("status");
        Self {
            cpu_secs: cpu_secs(&read("stat")),
            threads: thread_nanos(pid),
            written_bytes: field(&read("io"), "write_bytes:"),
            rss_mib: field(&status, "VmRSS:") * 1024.0 / MIB,
            peak_rss_mib: field(&status, "VmHWM:") * 1024.0 / MIB,
        }
    }

    /// CPU time since `before`, to the nanosecond unless threads ended in between and took their count with them.
    pub fn cpu_secs_since(&self, before: &Self) -> f64 {
        let since = |(thread, nanos): (&String, &u64)| nanos - before.threads.get(thread).unwrap_or(&0).min(nanos);
        let fine = self.threads.iter().map(since).sum::<u64>() as f64 / 1e9;
        let coarse = self.cpu_secs - before.cpu_secs;
        if (fine - coarse).abs() <= 3.0 / TICKS_PER_SEC { fine } else { coarse }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

/// Fields 14 and 15, counted behind the program's name, which may contain anything.
fn cpu_secs(stat: &str) -> f64 {
    let behind_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let times = behind_name.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<f64>().expect("ticks are a number")).sum::<f64>() / TICKS_PER_SEC
}

/// Time on a core for each thread; empty where the kernel does not count it.
fn thread_nanos(pid: u32) -> HashMap<String, u64> {
    let mut threads = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).expect("list the threads of a running process") {
        let path = entry.expect("next thread").path();
        // Not there if the thread has just ended, or the kernel keeps no such count.
        let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds");
        threads.insert(path.display().to_string(), nanos);
    }
    threads
}

fn field(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Blocks that the files below a folder occupy on the disk, in MiB.
pub fn folder_mib(folder: &Path) -> f64 {
    let mut mib = 0.0;
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("list {}: {error}", folder.display())) {
        let path = entry.expect("next entry of a folder").path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        // `blocks` counts 512 bytes, whatever the file system's own block is.
        mib += if metadata.is_dir() { folder_mib(&path) } else { metadata.blocks() as f64 * 512.0 / MIB };
    }
    mib
}

/// A number that a member counts.
pub async fn metric(member: &Member, name: &str) -> f64 {
    let page = http::get(member.client_port, "/metrics").await.expect("a page of metrics");
    field(&page.body, name)
}

/// What all members of a cluster used between two moments.
#[derive(Debug)]
pub struct Spent {
    pub time: Duration,
    pub cpu_secs: f64,
    pub written_bytes: f64,
    pub syncs: f64,
    /// At the second moment.
    pub rss_mib: f64,
    /// CPU time of this process.
    pub own_cpu_secs: f64,
    /// CPU time that programs other than these and this one took, and the kernel for itself.
    pub others_cpu_secs: f64,
}

/// Takes the first of two moments.
#[derive(Debug)]
pub struct Meter {
    before: Vec<Usage>,
    syncs_before: f64,
    own_before: f64,
    others_before: f64,
    begun: Instant,
}

impl Meter {
    /// The servers' pages of metrics are read outside of the time that is measured, here and at the end.
    pub async fn start(cluster: &Cluster) -> Self {
        let syncs_before = syncs(cluster).await;
        let before: Vec<Usage> = cluster.iter().map(usage).collect();
        let (own_before, others_before) = (own_cpu_secs(), others_cpu_secs(&before));
        Self { before, syncs_before, own_before, others_before, begun: Instant::now() }
    }

    pub async fn stop(self, cluster: &Cluster) -> Spent {
        let time = self.begun.elapsed();
        let after: Vec<Usage> = cluster.iter().map(usage).collect();
        let sum = |of: &dyn Fn(&Usage, &Usage) -> f64| -> f64 {
            after.iter().zip(&self.before).map(|(after, before)| of(after, before)).sum()
        };
        Spent {
            time,
            cpu_secs: sum(&Usage::cpu_secs_since),
            written_bytes: sum(&|after, before| after.written_bytes - before.written_bytes),
            rss_mib: sum(&|after, _| after.rss_mib),
            own_cpu_secs: own_cpu_secs() - self.own_before,
            others_cpu_secs: others_cpu_secs(&after) - self.others_before,
            syncs: syncs(cluster).await - self.syncs_before,
        }
    }
}

fn own_cpu_secs() -> f64 {
    cpu_secs(&read("/proc/self/stat"))
}

/// What the whole machine has used since it started, less these and this process.
fn others_cpu_secs(servers: &[Usage]) -> f64 {
    machine_secs(&read("/proc/stat")) - own_cpu_secs() - servers.iter().map(|usage| usage.cpu_secs).sum::<f64>()
}

/// All of the first line but idle time, time spent waiting for disks, and guests, who are counted twice.
fn machine_secs(stat: &str) -> f64 {
    let times = stat.lines().next().expect("a line for all cores").split_whitespace().skip(1).take(8).enumerate();
    let busy = times.filter(|(place, _)| ![3, 4].contains(place));
    busy.map(|(_, ticks)| ticks.parse::<f64>().expect("ticks are a number")).sum::<f64>() / TICKS_PER_SEC
}

pub fn usage(member: &Member) -> Usage {
    Usage::of(member.pid().expect("a running server"))
}

async fn syncs(cluster: &Cluster) -> f64 {
    let mut syncs = 0.0;
    for member in cluster.iter() {
        for name in SYNCS {
            syncs += metric(member, name).await;
        }
    }
    syncs
}

#[cfg(test)]
mod tests {
    use super::{cpu_secs, machine_secs};

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0";
        assert_eq!(cpu_secs(stat), 2.0);
    }

    #[test]
    fn the_machine_is_busy_when_it_neither_idles_nor_waits() {
        assert_eq!(machine_secs("cpu  100 20 30 9999 999 1 2 47 55 5\ncpu0 1 1 1 1\n"), 2.0);
    }
}
