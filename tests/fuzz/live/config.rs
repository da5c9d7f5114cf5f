//! Settings that are accepted, with the most extreme values: the process serves, or ends with a word; it never panics.

use super::suite;
use crate::engine::{Target, Verdict, run};
use keelstone::config::Settings;
use keelstone_harness::{Random, free_port, wait};
use prost::Message;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

#[derive(Clone, PartialEq, Message)]
struct Words {
    /// Flags beside those that say where to listen and what to keep.
    #[prost(string, repeated, tag = "1")]
    args: Vec<String>,
}

const START_LIMIT: Duration = Duration::from_secs(30);

const SERVES: &str = "ready to serve client requests";
/// Where not even a member's own name is small enough for `--max-request-bytes`: real etcd says so for ever, too.
const TOO_SMALL: &str = "failed to publish local member to cluster through raft";

/// Ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One pair for all processes, which run one after the other.
fn ports() -> (u16, u16) {
    static PORTS: OnceLock<(u16, u16)> = OnceLock::new();
    *PORTS.get_or_init(|| (free_port(), free_port()))
}

fn words(args: &[String], folder: &Path) -> Vec<String> {
    let (client, peer) = ports();
    let mut words = args.to_vec();
    // The last of a flag counts.
    words.extend([
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=m=http://127.0.0.1:{peer}"),
        "--name=m".to_owned(),
        format!("--data-dir={}", folder.join("data").display()),
        "--wal-dir=".to_owned(),
        "--log-outputs=stderr".to_owned(),
        "--log-level=info".to_owned(),
        "--log-format=json".to_owned(),
    ]);
    words
}

fn check(input: &[u8]) -> Verdict {
    let Ok(Words { args }) = Words::decode(input) else { return Ok("no words".to_owned()) };
    if args.iter().any(|arg| !arg.starts_with("--") || !arg.contains('=')) {
        return Ok("a word that is no flag".to_owned());
    }
    let folder = suite().make_folder("config");
    let words = words(&args, &folder);
    if let Err(error) = Settings::from_args(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        return Ok(format!("{error:?}").split(['{', '"']).next().unwrap_or_default().to_owned());
    }
    let log = folder.join("log");
    let file = File::create(&log).map_err(|error| error.to_string())?;
    let mut command = suite().server.command();
    command.args(&words).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let mut process = Process(command.spawn().map_err(|error| format!("start: {error}"))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut ended = None;
    let mut text = String::new();
    runtime.block_on(wait::until_true("a process to serve or to end", START_LIMIT, || {
        ended = process.0.try_wait().expect("ask for the exit");
        text = std::fs::read_to_string(&log).unwrap_or_default();
        ended.is_some() || [SERVES, TOO_SMALL].iter().any(|line| text.contains(line))
    }));
    drop(process);
    let last = text.lines().last().unwrap_or_default().to_owned();
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    match ended.map(|status| status.code()) {
        None if text.contains(SERVES) => Ok("serves".to_owned()),
        None => Ok("refuses its own requests".to_owned()),
        Some(Some(1)) if !text.contains("panicked") => Ok(last),
        Some(code) => Err(format!("{words:?} ends with {code:?}: {text}")),
    }
}

const TIMES: [&str; 9] =
    ["0s", "1ns", "-1ns", "1ms", "100ms", "24h", "87600h", "2562047h47m16.854775807s", "-2562047h47m16.854775807s"];
const SIZES: [&str; 8] =
    ["0", "1", "5", "4294967295", "9223372036854775807", "18446744073709551615", "-1", "-9223372036854775808"];
const TIMED: [&str; 9] = [
    "grpc-keepalive-min-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "watch-progress-notify-interval",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "compaction-sleep-interval",
    "raft-read-timeout",
    "backend-batch-interval",
];
const SIZED: [&str; 9] = [
    "max-request-bytes",
    "max-txn-ops",
    "max-concurrent-streams",
    "snapshot-count",
    "snapshot-catchup-entries",
    "max-wals",
    "max-snapshots",
    "compaction-batch-limit",
    "backend-batch-limit",
];
const PACES: [(&str, &str); 6] =
    [("1", "5"), ("1", "50000"), ("10000", "50000"), ("7", "36"), ("100", "1000"), ("9999", "49999")];

fn generate(random: &mut Random) -> Vec<u8> {
    let mut args: Vec<String> = (0..1 + random.below(6))
        .map(|_| match random.below(2) {
            0 => format!("--{}={}", random.pick(&TIMED), random.pick(&TIMES)),
            _ => format!("--{}={}", random.pick(&SIZED), random.pick(&SIZES)),
        })
        .collect();
    if random.chance(30) {
        let (heartbeat, election) = random.pick(&PACES);
        args.extend([format!("--heartbeat-interval={heartbeat}"), format!("--election-timeout={election}")]);
    }
    Words { args }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let all = |flags: &[&str], value: &str| flags.iter().map(|flag| format!("--{flag}={value}")).collect::<Vec<_>>();
    let pace = |(heartbeat, election): (&str, &str)| {
        vec![format!("--heartbeat-interval={heartbeat}"), format!("--election-timeout={election}")]
    };
    [
        ("longest-times", all(&TIMED, TIMES[7])),
        ("shortest-times", all(&TIMED, TIMES[1])),
        ("largest-sizes", all(&SIZED[..2], SIZES[5])),
        ("largest-counts", all(&SIZED[3..7], SIZES[5])),
        ("quickest-pace", pace(PACES[0])),
        ("slowest-pace", pace(PACES[2])),
    ]
    .map(|(name, args)| (name.to_owned(), Words { args }.encode_to_vec()))
    .to_vec()
}

#[test]
fn live_config_serves_or_ends_with_a_word() {
    run(&mut Target { name: "live_config", check: &mut check, generate: &generate, seeds: &seeds });
}
