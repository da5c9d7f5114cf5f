//! What a seed means: the cluster, its machines, the load, and what goes wrong when.

use crate::network::Latency;
use keelstone_harness::Random;
use keelstone_harness::load::LoadSpec;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Plan {
    pub members: usize,
    /// A further member joins and is removed, again and again.
    pub guest: bool,
    /// How long faults go on.
    pub span: Duration,
    pub latency: Latency,
    pub heartbeat_ms: u64,
    pub election_ms: u64,
    pub snapshot_count: u64,
    pub catchup_entries: u64,
    pub segment_bytes: u64,
    pub load: LoadSpec,
    pub lease_checkpoints: bool,
    /// What compaction by itself keeps.
    pub kept_revisions: Option<u64>,
    /// Between two faults, on average.
    pub calm: Duration,
}

/// One thing that goes wrong. Times are how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed; what it wrote is there.
    Kill(Duration),
    /// The machine loses its power: what was not synced is lost in part, torn at sectors.
    PowerLoss(Duration),
    /// All machines lose their power at once.
    PowerLossOfAll(Duration),
    /// A file operation fails, so many operations from now; the process ends itself.
    DiskError { after: u64, lasts: Duration },
    /// The disk has so many bytes left; room comes back later.
    FullDisk { bytes: u64, lasts: Duration },
    /// The disk is slow: each write of the log takes this much.
    SlowDisk { write: Duration, lasts: Duration },
    /// SIGSTOP and SIGCONT.
    Pause(Duration),
    /// Nothing to and from the others.
    Isolate(Duration),
    /// It is heard and does not hear, or the other way round.
    OneWay { hears: bool, lasts: Duration },
    /// Every link is cut and healed again and again.
    Flap { times: u32, lasts: Duration },
    /// Two of the members do not hear each other; the rest hear both.
    Bridge(Duration),
    /// Connections to the others break.
    Reset,
    /// The wall clock jumps by so many milliseconds.
    WallJump(i64),
    /// A stop with hand-over, and a start.
    Restart(Duration),
}

fn between(random: &mut Random, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(from_ms + random.below(to_ms - from_ms))
}

/// So many revisions that no watcher falls behind them while its member is away.
fn out_of_reach(clients: usize, pace: Duration) -> i64 {
    let operations_in_90_s = 90_000 * clients as i64 / i64::try_from(pace.as_millis()).unwrap_or(i64::MAX).max(1);
    100 + operations_in_90_s * 7 / 10
}

impl Plan {
    /// A cluster on which nothing goes wrong by itself, for scenarios of up to an hour.
    pub fn calm(members: usize) -> Self {
        Self {
            members,
            guest: false,
            span: Duration::from_secs(3_600),
            latency: Latency {
                shortest: Duration::from_millis(2),
                jitter: Duration::from_millis(1),
                loss_one_in: u64::MAX,
            },
            heartbeat_ms: 100,
            election_ms: 1_000,
            snapshot_count: 1_000,
            catchup_entries: 100,
            segment_bytes: 1_000_000,
            load: LoadSpec::default(),
            lease_checkpoints: true,
            kept_revisions: Some(1_000),
            calm: Duration::MAX,
        }
    }

    pub fn draw(random: &mut Random) -> Self {
        let members = *random.pick(&[3, 3, 3, 3, 5, 5, 1]);
        let (heartbeat_ms, election_ms) = *random.pick(&[(100, 1000), (100, 1000), (50, 500), (300, 3000)]);
        let span =
            if random.chance(10) { between(random, 600_000, 1_800_000) } else { between(random, 60_000, 300_000) };
        // A long run is a quiet one.
        let quiet = span > Duration::from_secs(300);
        let latency = Latency {
            shortest: Duration::from_millis(*random.pick(&[1, 2, 5])),
            // A round trip must fit well into what passes between two heartbeats.
            jitter: Duration::from_micros(*random.pick(&[100, 2_000, 10_000, election_ms * 40])),
            loss_one_in: *random.pick(&[50, 1_000, 100_000]),
        };
        let clients = *random.pick(&[2, 4, 8]);
        let pace = if quiet { between(random, 1_000, 3_000) } else { between(random, 100, 600) };
        let load = LoadSpec {
            clients,
            pace,
            keys: *random.pick(&[2, 8, 30]),
            deadline: between(random, 500, 8_000),
            compact_behind: if random.chance(60) { Some(out_of_reach(clients, pace)) } else { None },
            housekeeping_pace: if quiet { Duration::from_secs(5) } else { Duration::from_secs(1) },
        };
        let guest = random.chance(50);
        Self {
            members,
            guest,
            span,
            latency,
            heartbeat_ms,
            election_ms,
            snapshot_count: *random.pick(&[20, 100, 1_000]),
            catchup_entries: *random.pick(&[1, 10, 100]),
            segment_bytes: *random.pick(&[16_384, 65_536, 1_000_000]),
            load,
            lease_checkpoints: random.chance(20),
            // The load compacts.
            kept_revisions: None,
            calm: if quiet { Duration::from_secs(60) } else { between(random, 2_000, 20_000) },
        }
    }

    pub fn fault(&self, random: &mut Random) -> Fault {
        let short = between(random, 100, 3 * self.election_ms);
        let long = between(random, self.election_ms, 20 * self.election_ms);
        let lasts = if random.chance(70) { short } else { long };
        match random.below(100) {
            0..12 => Fault::Kill(lasts),
            12..26 => Fault::PowerLoss(lasts),
            26..32 => Fault::PowerLossOfAll(short),
            32..40 => Fault::DiskError { after: random.below(40), lasts },
            40..44 => Fault::FullDisk { bytes: random.below(200_000), lasts },
            44..52 => Fault::SlowDisk { write: between(random, 10, 3 * self.election_ms), lasts: long },
            52..62 => Fault::Pause(lasts),
            62..72 => Fault::Isolate(lasts),
            72..80 => Fault::OneWay { hears: random.chance(50), lasts },
            80..84 => Fault::Flap { times: 2 + random.below(6) as u32, lasts },
            84..88 => Fault::Bridge(lasts),
            88..92 => Fault::Reset,
            92..95 => Fault::WallJump(random.below(7_200_000).cast_signed() - 3_600_000),
            _ => Fault::Restart(short),
        }
    }
}
