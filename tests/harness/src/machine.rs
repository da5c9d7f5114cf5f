//! Whether the machine was ours. A limit in time that was missed says something of the server only if nobody else took
//! the processors meanwhile.

use std::time::Duration;

/// What others may use of the processors before missed limits are not judged any more.
const MOST_FOR_OTHERS: f64 = 0.1;

/// Processor time used so far, in ticks.
#[derive(Debug, Clone, Copy)]
struct Used {
    /// Over all processors, the idle ones too.
    all: u64,
    busy: u64,
    /// By this process and those that it started.
    ours: u64,
}

/// Watches the processors from its making on.
#[derive(Debug)]
pub struct Machine {
    since: Option<Used>,
}

impl Machine {
    /// Where there is no `/proc` everything is judged.
    pub fn watch() -> Self {
        Self { since: used() }
    }

    /// What others, and the host of a virtual machine, used of all processors' time.
    pub fn used_by_others(&self) -> f64 {
        let Some((since, now)) = self.since.zip(used()) else { return 0.0 };
        let (all, busy) = (now.all.saturating_sub(since.all), now.busy.saturating_sub(since.busy));
        // A member that was killed and is not yet waited for is missing for a moment.
        let ours = now.ours.saturating_sub(since.ours);
        busy.saturating_sub(ours) as f64 / all.max(1) as f64
    }

    /// # Panics
    /// If `took` is longer than `limit`, and the machine was ours.
    #[track_caller]
    pub fn within(&self, what: &str, took: Duration, limit: Duration) {
        if took <= limit {
            return;
        }
        let others = self.used_by_others();
        let text =
            format!("{what} took {took:?}, the limit is {limit:?}; others used {:.0} % of the machine", others * 100.0);
        assert!(others > MOST_FOR_OTHERS, "{text}");
        // Past the test runner's capture, to be seen in every run.
        drop(std::io::Write::write_all(&mut std::io::stderr(), format!("NOT JUDGED: {text}\n").as_bytes()));
    }
}

fn used() -> Option<Used> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // What follows is counted in user already.
    let [user, nice, system, _idle, _iowait, _irq, _softirq, steal] = *fields.first_chunk::<8>()?;
    let all = fields[..8].iter().sum();
    // Interrupts are nobody's; most are made by our own packets.
    let busy = user + nice + system + steal;
    let own = ProcessTimes::of("self")?;
    let children = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let times =
            ProcessTimes::of(name.to_str().filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))?)?;
        (times.parent == u64::from(std::process::id())).then_some(times.own)
    });
    Some(Used { all, busy, ours: own.own + own.waited_for + children.sum::<u64>() })
}

struct ProcessTimes {
    parent: u64,
    own: u64,
    /// Of children that ended.
    waited_for: u64,
}

impl ProcessTimes {
    fn of(pid: &str) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: state, parent, …, and from the 14th field of all on the times.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self { parent: number(1)?, own: number(11)? + number(12)?, waited_for: number(13)? + number(14)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Waits until the process has used so many ticks more.
    fn burn(pid: &str, ticks: u64) {
        let own = || ProcessTimes::of(pid).expect("a process that runs").own;
        let begun = own();
        while own() < begun + ticks {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn what_we_and_our_children_use_is_ours() {
        let before = used().expect("a /proc");
        burn("self", 10);
        let mut child =
            Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().expect("sh");
        burn(&child.id().to_string(), 10);
        let alive = used().expect("a /proc");
        child.kill().expect("our own child");
        child.wait().expect("a killed child ends");
        let after = used().expect("a /proc");
        assert!(alive.ours >= before.ours + 20, "{before:?} {alive:?}");
        assert!(after.ours >= alive.ours, "{alive:?} {after:?}");
        assert!(after.all > after.busy);
    }

    #[test]
    fn a_limit_that_was_kept_is_never_questioned() {
        let machine = Machine::watch();
        machine.within("nothing", Duration::ZERO, Duration::ZERO);
        assert!((0.0..=1.0).contains(&machine.used_by_others()));
    }
}
