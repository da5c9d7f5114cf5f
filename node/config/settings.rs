//! What a node is told, typed and checked. Everything in here is valid by itself and in combination (etcd
//! `embed.Config.Validate`); the one thing checked later is the initial cluster, which only a member without a
//! log reads: see [`Bootstrap::members`].

use super::auth::Auth;
use super::backup::Backup;
use super::bootstrap::Bootstrap;
use super::gates::FeatureGates;
use super::security::Security;
use super::url::{ListenUrl, Url};
use std::path::PathBuf;
use std::time::Duration;

/// All settings of a member.
#[derive(Clone, Debug)]
pub struct Settings {
    pub member: Member,
    pub urls: Urls,
    pub security: Security,
    pub http: Http,
    pub bootstrap: Bootstrap,
    pub raft: Raft,
    pub storage: Storage,
    pub limits: Limits,
    pub keepalive: GrpcKeepalive,
    pub compaction: Compaction,
    pub corruption: Corruption,
    pub watch: Watch,
    /// Between looks whether a downgrade is done; zero: never.
    pub downgrade_check: Duration,
    pub log: Log,
    pub observe: Observe,
    pub auth: Auth,
    /// None: there is no place for backups.
    pub backup: Option<Backup>,
    pub gates: FeatureGates,
}

/// Who the member is and where it keeps its files.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub data_dir: PathBuf,
    /// A directory for the log apart from the data directory, if the operator wants one.
    pub dedicated_wal_dir: Option<PathBuf>,
}

impl Member {
    pub fn member_dir(&self) -> PathBuf {
        self.data_dir.join("member")
    }

    pub fn wal_dir(&self) -> PathBuf {
        self.dedicated_wal_dir.clone().unwrap_or_else(|| self.member_dir().join("wal"))
    }
}

/// Where the member listens and what it tells others. Lists are sorted by text and without repetition; all but
/// `listen_metrics` and `listen_client_http` hold at least one URL.
#[derive(Clone, Debug)]
pub struct Urls {
    pub listen_peer: Vec<ListenUrl>,
    pub listen_client: Vec<ListenUrl>,
    /// If not empty, HTTP moves here and `listen_client` serves gRPC only.
    pub listen_client_http: Vec<ListenUrl>,
    pub listen_metrics: Vec<ListenUrl>,
    pub advertise_peer: Vec<Url>,
    pub advertise_client: Vec<Url>,
}

/// What is served on client ports beside gRPC.
#[derive(Clone, Debug)]
pub struct Http {
    /// Whether calls are taken as JSON.
    pub gateway: bool,
    /// Origins of pages that browsers may show answers to. Empty: all.
    pub origins: Vec<String>,
    /// Names by which this member may be called without TLS. Empty, or `*` among them: all.
    pub hosts: Vec<String>,
}

/// How consensus runs.
#[derive(Clone, Debug)]
pub struct Raft {
    pub heartbeat_interval: Duration,
    /// As given; etcd counts it in whole heartbeats, see [`Raft::election_timeout`].
    pub election_timeout_given: Duration,
    /// Off: a member that starts with others leaves them a whole election timeout to be heard from before it stands.
    pub initial_election_tick_advance: bool,
    pub pre_vote: bool,
    /// Committed entries after which the log may be cut.
    pub snapshot_count: u64,
    /// Entries kept in the log behind a snapshot, for slow followers.
    pub snapshot_catchup_entries: u64,
    /// At least 5 s, as in etcd.
    pub peer_read_timeout: Duration,
    pub peer_write_timeout: Duration,
    pub max_learners: usize,
    /// Refuse changes of the members that could cost the quorum.
    pub strict_reconfig_check: bool,
    /// Promote learners that have caught up without being asked.
    pub auto_promote_learners: bool,
}

impl Raft {
    /// The election timeout that counts: a whole number of heartbeats (etcd `ElectionTicks * TickMs`).
    pub fn election_timeout(&self) -> Duration {
        let ticks = self.election_timeout_given.as_millis() / self.heartbeat_interval.as_millis().max(1);
        self.heartbeat_interval * u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// How long a peer connection may be idle before it is pinged, and the answer be on its way: an election timeout,
    /// but never so long that both together exceed the limits for reading and writing.
    pub fn peer_silence(&self) -> Duration {
        let limit = self.peer_read_timeout.min(self.peer_write_timeout);
        self.election_timeout().min(limit / 2)
    }
}

/// What of etcd's storage settings has a meaning here.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The size at which NOSPACE is raised. None: no limit (a negative `--quota-backend-bytes`).
    pub quota_bytes: Option<u64>,
    /// Whether this member clears its NOSPACE alarm by itself.
    pub auto_disarm: bool,
    /// Log segments to keep at least; zero keeps all (etcd's word: "0 is unlimited").
    pub max_wals: u64,
    /// Defragment at start if that frees so much. None: never.
    pub defragment_above_bytes: Option<u64>,
}

/// Bounds of requests.
#[derive(Clone, Debug)]
pub struct Limits {
    pub max_txn_ops: usize,
    pub max_request_bytes: usize,
    pub max_concurrent_streams: u32,
    pub inflight: Inflight,
}

/// Memory that requests and answers on their way may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inflight {
    /// Half of what the process may have.
    HalfOfMemory,
    Bytes(u64),
    Unlimited,
}

impl Limits {
    /// The largest gRPC message: a request and 512 KiB around it (etcd `MaxRequestBytesWithOverhead`).
    pub fn max_message_bytes(&self) -> usize {
        self.max_request_bytes.saturating_add(512 * 1024)
    }
}

/// Pings on client connections.
#[derive(Clone, Debug)]
pub struct GrpcKeepalive {
    /// When to ping a silent client, and how long to wait for its answer; none: never.
    pub server_ping: Option<ServerPing>,
    /// Clients that ping more often are sent away.
    pub min_ping_interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerPing {
    pub interval: Duration,
    pub timeout: Duration,
}

/// How compaction spreads its work.
#[derive(Clone, Debug)]
pub struct Compaction {
    /// Revisions that one slice looks at.
    pub batch_limit: usize,
    /// Pause after every so many. None by default, where etcd pauses for 10 ms: our slices give way to all that waits.
    pub sleep_interval: Duration,
    /// What the leader compacts by itself, if anything.
    pub automatic: Option<AutoCompaction>,
}

/// When members' data are compared. Two of the checks have gates: InitialCorruptCheck and CompactHashCheck.
#[derive(Clone, Debug)]
pub struct Corruption {
    /// Between two comparisons of all data; none: never.
    pub check_interval: Option<Duration>,
    /// Between two comparisons of what compactions left behind; above zero.
    pub compact_hash_interval: Duration,
}

/// How much history compaction by itself keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// All of the last so long.
    Period(Duration),
    /// So many revisions.
    Revisions(i64),
}

#[derive(Clone, Debug)]
pub struct Watch {
    /// Time between progress notifications of an idle watcher, at least 100 ms; etcd adds up to a tenth at random.
    pub progress_notify_interval: Duration,
}

/// Least level that is written. etcd's `panic`, `dpanic` and `fatal` are below none of ours but fatal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    /// `dpanic`, `panic` and `fatal`: only lines that end the process.
    Fatal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Console,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
    /// Without repetition. Empty: log nothing (`/dev/null` among the outputs).
    pub outputs: Vec<LogOutput>,
    /// Of the one file among the outputs.
    pub rotation: Option<Rotation>,
    /// Where calls of clients are recorded. None: nowhere.
    pub audit: Option<AuditLog>,
}

/// A record of the calls of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLog {
    pub path: PathBuf,
    pub rotation: Rotation,
}

/// When a log file is put aside and begun anew, and what becomes of those before (`--log-rotation-config-json`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Rotation {
    /// Zero: 100.
    #[serde(rename = "maxsize")]
    pub max_megabytes: u64,
    /// Zero: they are kept however old they are.
    #[serde(rename = "maxage")]
    pub max_age_days: u32,
    /// Zero: all are kept.
    #[serde(rename = "maxbackups")]
    pub max_backups: usize,
    /// Their names have the local time and not UTC.
    #[serde(rename = "localtime")]
    pub local_time: bool,
    pub compress: bool,
}

impl Rotation {
    /// The longest that a file may be.
    pub fn max_bytes(&self) -> u64 {
        let megabytes = if self.max_megabytes == 0 { 100 } else { self.max_megabytes };
        megabytes.saturating_mul(1 << 20)
    }
}

impl Default for Log {
    /// How lines are written before the settings are known.
    fn default() -> Self {
        Log {
            level: LogLevel::Info,
            format: LogFormat::Json,
            outputs: vec![LogOutput::Stderr],
            rotation: None,
            audit: None,
        }
    }
}

/// What the operator wants to see.
#[derive(Clone, Debug)]
pub struct Observe {
    /// A slower apply is logged.
    pub warn_apply_duration: Duration,
    /// A slower unary request is logged.
    pub warn_unary_request_duration: Duration,
    /// Pages of profiles were asked for.
    pub enable_pprof: bool,
}
