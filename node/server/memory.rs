//! How much memory this process may have: what its control groups and the machine leave it.

use std::fs;
use std::path::Path;

/// In bytes. None: the system does not say.
pub fn allowed_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(machine_bytes);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups.lines().filter_map(group_bytes).chain(machine).min()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The least limit on the way from a group to the root, which in a container is often all that can be seen.
fn group_bytes(line: &str) -> Option<u64> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return None,
    };
    let limit = |group: &Path| {
        let text =
            fs::read_to_string(Path::new(root).join(group.strip_prefix("/").unwrap_or(group)).join(file)).ok()?;
        // "max" is no number, and none is meant.
        text.trim().parse().ok()
    };
    Path::new(path).ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_has() {
        assert_eq!(machine_bytes("MemTotal:       16307472 kB\nMemFree: 1 kB\n"), Some(16_307_472 * 1024));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
        assert!(allowed_bytes() > Some(1 << 20));
    }
}
