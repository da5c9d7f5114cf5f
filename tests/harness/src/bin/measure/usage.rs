//! What a process has used, as the kernel counts it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `USER_HZ`, the unit of times in `/proc/PID/stat`: 100 on every Linux that Rust runs on.
const TICKS_PER_SEC: f64 = 100.0;

const MIB: f64 = 1_048_576.0;

/// Sums since the process began, and its memory now.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu_secs: f64,
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
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path}: {error}"))
        };
        let status = read("status");
        Self {
            cpu_secs: cpu_secs(&read("stat")),
            written_bytes: field(&read("io"), "write_bytes:"),
            rss_mib: field(&status, "VmRSS:") * 1024.0 / MIB,
            peak_rss_mib: field(&status, "VmHWM:") * 1024.0 / MIB,
        }
    }
}

/// Fields 14 and 15, counted behind the program's name, which may contain anything.
fn cpu_secs(stat: &str) -> f64 {
    let behind_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let times = behind_name.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<f64>().expect("ticks are a number")).sum::<f64>() / TICKS_PER_SEC
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

#[cfg(test)]
mod tests {
    use super::cpu_secs;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0";
        assert_eq!(cpu_secs(stat), 2.0);
    }
}
