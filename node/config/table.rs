//! Every flag of etcd 3.7 as data: type, default, place in the file, help, and what Keelstone does with it.
//! Parsing, environment, file, help and refusals all walk this one table, so none of them can forget a flag.
//! A test compares names and defaults with those of the real binary.

use super::kind::{Kind, Value};
use Place::{At, Config, Json, Nowhere};
use Section::{
    Auth, Clustering, Features, FileOnly, Logging, Member, Observing, Older, Ours, Security, Tracing, Unsafe,
};
use State::{Alias, Built, Ignored, Later, NoEffect, SetsGate};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// As etcd's flag package prints it.
    pub default: &'static str,
    pub place: Place,
    pub section: Section,
    pub state: State,
    pub help: &'static str,
}

/// What Keelstone does with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Does what it does in etcd.
    Built,
    /// Belongs to the named feature, which is not built yet: any value but the default is refused.
    Later(&'static str),
    /// Read and checked, but there is nothing that it could change, for the reason given; a value that is not the
    /// default is noted in the log.
    NoEffect(&'static str),
    /// etcd itself takes it and does nothing.
    Ignored,
    /// A name of etcd 3.5 or 3.6 for the named flag; noted in the log.
    Alias(&'static str),
    /// A flag of etcd 3.5 or 3.6 that became a feature gate; noted in the log.
    SetsGate(&'static str),
}

/// Where the configuration file holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the top, under the flag's name; etcd's struct `Config`, which its error texts name.
    Config,
    /// The same, in etcd's struct `configJSON`: a text that is parsed on, in which empty means unset.
    Json,
    /// Under nested keys.
    At(&'static [&'static str]),
    Nowhere,
}

/// A heading of the help; the last two are not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Member,
    Clustering,
    Security,
    Auth,
    Observing,
    Logging,
    Tracing,
    Features,
    Unsafe,
    /// What etcd does not have.
    Ours,
    /// Names of older releases, and what etcd ignores.
    Older,
    /// Not a flag: settings that only the file has.
    FileOnly,
}

impl Flag {
    /// `ETCD_` and the name in upper case with `_` for `-`.
    pub fn env_name(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The keys that lead to it in the file.
    pub fn path(&self) -> Option<Vec<&'static str>> {
        match self.place {
            Config | Json => Some(vec![self.name]),
            At(path) => Some(path.to_vec()),
            Nowhere => None,
        }
    }

    pub fn default_value(&self) -> Value {
        self.kind.default_value(self.default)
    }

    /// The flag that a command line or the environment means by `name`.
    pub fn find(name: &str) -> Option<&'static Flag> {
        FLAGS.iter().find(|flag| flag.name == name && flag.section != FileOnly)
    }
}

const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    place: Place,
    section: Section,
    state: State,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, place, section, state, help }
}

const fn alias(name: &'static str, kind: Kind, of: &'static str) -> Flag {
    flag(name, kind, "", Config, Older, Alias(of), "")
}

const fn sets_gate(name: &'static str, gate: &'static str) -> Flag {
    flag(name, Kind::Bool, "", Config, Older, SetsGate(gate), "")
}

const fn ignored(name: &'static str) -> Flag {
    flag(name, Kind::Ignored, "", Nowhere, Older, Ignored, "")
}

const UINT: Kind = Kind::Uint("uint");
const UINT64: Kind = Kind::Uint("uint64");
const INT: Kind = Kind::Int("int");
const INT64: Kind = Kind::Int("int64");

#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    flag("name", Kind::Text, "default", Config, Member, Built,
        "A name for people; it also picks this member out of --initial-cluster."),
    flag("data-dir", Kind::Text, "", Config, Member, Built,
        "Directory of everything the member keeps; empty means <name>.etcd."),
    flag("wal-dir", Kind::Text, "", Config, Member, Built,
        "A directory of its own for the Raft log, for instance on a faster disk."),
    flag("config-file", Kind::Text, "", Nowhere, Member, Built,
        "Read all settings from this YAML or JSON file; flags and environment then count for nothing."),
    flag("snapshot-count", UINT64, "10000", Config, Member, Built,
        "Committed entries after which the head of the log may be dropped."),
    flag("snapshot-catchup-entries", UINT64, "5000", Config, Member, Built,
        "Log entries kept beyond that, so that a slow follower needs no whole snapshot."),
    flag("heartbeat-interval", UINT, "100", Config, Member, Built,
        "Milliseconds between heartbeats of the leader."),
    flag("election-timeout", UINT, "1000", Config, Member, Built,
        "Milliseconds without a leader before an election; at least five heartbeats, at most 50000."),
    flag("initial-election-tick-advance", Kind::Bool, "true", Config, Member, Built,
        "Stand for election within the first timeout after a start; if false, not before it is over."),
    flag("listen-peer-urls", Kind::Urls(""), "http://localhost:2380", Json, Member, Built,
        "Where to listen for other members."),
    flag("listen-client-urls", Kind::Urls(""), "http://localhost:2379", Json, Member, Built,
        "Where to listen for clients: gRPC, and HTTP unless --listen-client-http-urls is set."),
    flag("listen-client-http-urls", Kind::Urls(""), "", Json, Member, Built,
        "Where to listen for HTTP clients alone; HTTP then leaves --listen-client-urls."),
    flag("max-snapshots", UINT, "5", Config, Member, NoEffect("Keelstone keeps no snapshot files"),
        "Snapshot files to keep; deprecated by etcd 3.6."),
    flag("max-wals", UINT, "5", Config, Member, Built,
        "Log segments to keep; 0 keeps all."),
    flag("memory-mlock", Kind::Bool, "false", Config, Member, Later("memory locking"),
        "Keep all memory of the process from being swapped out."),
    flag("quota-backend-bytes", INT64, "0", Config, Member, Built,
        "Size of the state at which writes are refused; 0 means 2 GiB, a negative value no limit."),
    flag("backend-bbolt-freelist-type", Kind::Text, "", Config, Member, NoEffect("the state is not a bbolt file"),
        "Free list of bbolt: array or map."),
    flag("backend-batch-interval", Kind::Duration, "0s", Config, Member, NoEffect("Keelstone commits with every batch of applied entries"),
        "Longest time between commits of the state; 0 means 100ms."),
    flag("backend-batch-limit", INT, "0", Config, Member, NoEffect("Keelstone commits with every batch of applied entries"),
        "Most operations between commits of the state; 0 means 10000."),
    flag("max-txn-ops", UINT, "128", Config, Member, Built,
        "Most operations in one transaction."),
    flag("max-request-bytes", UINT, "1572864", Config, Member, Built,
        "Largest request of a client, in bytes."),
    flag("max-concurrent-streams", Kind::Uint32, "4294967295", Config, Member, Built,
        "Most streams that one client connection may have open."),
    flag("grpc-keepalive-min-time", Kind::Duration, "5s", Config, Member, Built,
        "A client that pings more often than this is disconnected, as in etcd not behind TLS on a port for HTTP too; 0 means 5m."),
    flag("grpc-keepalive-interval", Kind::Duration, "2h0m0s", Config, Member, Built,
        "Ping a client connection that was silent for so long; 0 turns pings off."),
    flag("grpc-keepalive-timeout", Kind::Duration, "20s", Config, Member, Built,
        "Close the connection if the ping is not answered within this time; 0 turns pings off."),
    flag("socket-reuse-port", Kind::Bool, "false", At(&["socket-options", "reuse-port"]), Member, Later("socket options"),
        "Set SO_REUSEPORT on listeners."),
    flag("socket-reuse-address", Kind::Bool, "false", At(&["socket-options", "reuse-address"]), Member, Later("socket options"),
        "Set SO_REUSEADDR on listeners."),
    flag("enable-grpc-gateway", Kind::Bool, "true", Config, Member, Built,
        "Serve the JSON gateway under /v3/."),
    flag("raft-read-timeout", Kind::Duration, "5s", Nowhere, Member, Built,
        "Give up a peer connection on which nothing comes for so long, pings included; at least 5s. One is given up after two election timeouts in any case."),
    flag("raft-write-timeout", Kind::Duration, "5s", Nowhere, Member, Built,
        "The same if nothing can be sent for so long; at least 5s."),
    flag("feature-gates", Kind::Gates, "", Json, Member, Built,
        "Switch gates, as in A=true,B=false. Known gates:"),
    flag("initial-advertise-peer-urls", Kind::Urls(""), "http://localhost:2380", Json, Clustering, Built,
        "Peer URLs that other members are told."),
    flag("initial-cluster", Kind::Text, "default=http://localhost:2380", Config, Clustering, Built,
        "Members of a new cluster, as in a=http://10.0.0.1:2380,b=http://10.0.0.2:2380."),
    flag("initial-cluster-state", Kind::Choice(&["new", "existing"]), "new", Config, Clustering, Built,
        "new, or existing to join a running cluster; only the first start reads it."),
    flag("initial-cluster-token", Kind::Text, "etcd-cluster", Config, Clustering, Built,
        "Keeps clusters apart that were given the same members."),
    flag("advertise-client-urls", Kind::Urls(""), "http://localhost:2379", Json, Clustering, Built,
        "Client URLs that clients are told; needed whenever --listen-client-urls is set."),
    flag("discovery-token", Kind::Text, "", At(&["discovery-config", "token"]), Clustering, Built,
        "Token of the cluster at the discovery service."),
    flag("discovery-endpoints", Kind::UniqueWords, "", At(&["discovery-config", "client", "endpoints"]), Clustering, Built,
        "Endpoints of the discovery service."),
    flag("discovery-dial-timeout", Kind::Duration, "2s", At(&["discovery-config", "client", "dial-timeout"]), Clustering, Built,
        "Time to reach the discovery service."),
    flag("discovery-request-timeout", Kind::Duration, "5s", At(&["discovery-config", "client", "request-timeout"]), Clustering, Built,
        "Time for a request to the discovery service."),
    flag("discovery-keepalive-time", Kind::Duration, "2s", At(&["discovery-config", "client", "keepalive-time"]), Clustering, Built,
        "Time between pings to the discovery service."),
    flag("discovery-keepalive-timeout", Kind::Duration, "6s", At(&["discovery-config", "client", "keepalive-timeout"]), Clustering, Built,
        "Time to wait for an answer to such a ping."),
    flag("discovery-insecure-transport", Kind::Bool, "true", At(&["discovery-config", "client", "secure", "insecure-transport"]), Clustering, Built,
        "Reach the discovery service without TLS."),
    flag("discovery-insecure-skip-tls-verify", Kind::Bool, "false", At(&["discovery-config", "client", "secure", "insecure-skip-tls-verify"]), Clustering, Built,
        "Do not check the discovery service's certificate."),
    flag("discovery-cert", Kind::Text, "", At(&["discovery-config", "client", "secure", "cert"]), Clustering, Built,
        "Client certificate for the discovery service."),
    flag("discovery-key", Kind::Text, "", At(&["discovery-config", "client", "secure", "key"]), Clustering, Built,
        "Key of that certificate."),
    flag("discovery-cacert", Kind::Text, "", At(&["discovery-config", "client", "secure", "cacert"]), Clustering, Built,
        "Authority that signed the discovery service's certificate."),
    flag("discovery-user", Kind::Text, "", At(&["discovery-config", "client", "auth", "username"]), Clustering, Built,
        "User at the discovery service, as in name or name:password."),
    flag("discovery-password", Kind::Text, "", At(&["discovery-config", "client", "auth", "password"]), Clustering, Built,
        "Password of that user."),
    flag("discovery-fallback", Kind::Choice(&["exit", "proxy"]), "exit", Nowhere, Clustering, Built,
        "What to do if discovery fails; only exit is left."),
    flag("discovery-srv", Kind::Text, "", Config, Clustering, Built,
        "DNS domain whose SRV records name the members."),
    flag("discovery-srv-name", Kind::Text, "", Config, Clustering, Built,
        "Suffix of the SRV service name."),
    flag("strict-reconfig-check", Kind::Bool, "true", Config, Clustering, Built,
        "Refuse membership changes that would lose the quorum."),
    flag("pre-vote", Kind::Bool, "true", Config, Clustering, Built,
        "Ask for votes before standing for election, so that a member that was cut off disturbs nobody."),
    flag("auto-compaction-retention", Kind::Text, "0", Config, Clustering, Built,
        "How much history automatic compaction keeps: a duration (hours if without unit) or a number of revisions; 0 turns it off."),
    flag("auto-compaction-mode", Kind::Text, "periodic", Config, Clustering, Built,
        "What the retention counts: periodic or revision."),
    flag("v2-deprecation", Kind::Choices(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]), "", Config, Clustering, NoEffect("Keelstone has no v2 store"),
        "Stage of the end of the v2 store; without effect since etcd 3.6."),
    flag("cert-file", Kind::Text, "", At(&["client-transport-security", "cert-file"]), Security, Built,
        "Certificate that clients are shown."),
    flag("key-file", Kind::Text, "", At(&["client-transport-security", "key-file"]), Security, Built,
        "Key of that certificate."),
    flag("client-cert-auth", Kind::Bool, "false", At(&["client-transport-security", "client-cert-auth"]), Security, Built,
        "Require a client certificate signed by --trusted-ca-file."),
    flag("client-cert-file", Kind::Text, "", At(&["client-transport-security", "client-cert-file"]), Security, Built,
        "Certificate for calls to itself, if not --cert-file."),
    flag("client-key-file", Kind::Text, "", At(&["client-transport-security", "client-key-file"]), Security, Built,
        "Key of that certificate."),
    flag("client-crl-file", Kind::Text, "", Nowhere, Security, Built,
        "Revoked client certificates."),
    flag("client-cert-allowed-hostname", Kind::Words, "", At(&["client-transport-security", "allowed-hostname"]), Security, Built,
        "Names of which a client certificate must hold one."),
    flag("trusted-ca-file", Kind::Text, "", At(&["client-transport-security", "trusted-ca-file"]), Security, Built,
        "Authority that signs client certificates."),
    flag("auto-tls", Kind::Bool, "false", At(&["client-transport-security", "auto-tls"]), Security, Built,
        "Make a certificate for clients at the start."),
    flag("peer-cert-file", Kind::Text, "", At(&["peer-transport-security", "cert-file"]), Security, Built,
        "Certificate that peers are shown."),
    flag("peer-key-file", Kind::Text, "", At(&["peer-transport-security", "key-file"]), Security, Built,
        "Key of that certificate."),
    flag("peer-client-cert-auth", Kind::Bool, "false", At(&["peer-transport-security", "client-cert-auth"]), Security, Built,
        "Require a peer certificate signed by --peer-trusted-ca-file."),
    flag("peer-client-cert-file", Kind::Text, "", At(&["peer-transport-security", "client-cert-file"]), Security, Built,
        "Certificate for calls to peers, if not --peer-cert-file."),
    flag("peer-client-key-file", Kind::Text, "", At(&["peer-transport-security", "client-key-file"]), Security, Built,
        "Key of that certificate."),
    flag("peer-trusted-ca-file", Kind::Text, "", At(&["peer-transport-security", "trusted-ca-file"]), Security, Built,
        "Authority that signs peer certificates."),
    flag("peer-cert-allowed-cn", Kind::Words, "", At(&["peer-transport-security", "allowed-cn"]), Security, Built,
        "Common names of which a peer certificate must have one."),
    flag("peer-cert-allowed-hostname", Kind::Words, "", At(&["peer-transport-security", "allowed-hostname"]), Security, Built,
        "Names of which a peer certificate must hold one."),
    flag("peer-auto-tls", Kind::Bool, "false", At(&["peer-transport-security", "auto-tls"]), Security, Built,
        "Make a certificate for peers at the start."),
    flag("peer-crl-file", Kind::Text, "", Nowhere, Security, Built,
        "Revoked peer certificates."),
    flag("peer-skip-client-san-verification", Kind::Bool, "false", At(&["peer-transport-security", "skip-client-san-verification"]), Security, Built,
        "Do not compare a peer certificate's names with its address."),
    flag("self-signed-cert-validity", UINT, "1", Config, Security, Built,
        "Years that certificates made at the start are valid."),
    flag("cipher-suites", Kind::Words, "", Config, Security, Built,
        "Cipher suites to offer, by their names in Go."),
    flag("tls-min-version", Kind::Text, "TLS1.2", Config, Security, Built,
        "Lowest version of TLS: TLS1.2 or TLS1.3."),
    flag("tls-max-version", Kind::Text, "", Config, Security, Built,
        "Highest version of TLS; empty means the newest."),
    flag("cors", Kind::Urls("*"), "*", Json, Security, Built,
        "Origins that browsers may call from."),
    flag("host-whitelist", Kind::UniqueWords, "*", Json, Security, Built,
        "Host names that clear-text HTTP requests may carry."),
    flag("auth-token", Kind::Text, "simple", Config, Auth, Built,
        "Kind of tokens: simple, or jwt with its options."),
    flag("bcrypt-cost", UINT, "10", Config, Auth, Built,
        "Cost of hashing passwords, 4 to 31."),
    flag("auth-token-ttl", UINT, "300", Config, Auth, Built,
        "Seconds that a simple token lives."),
    flag("enable-pprof", Kind::Bool, "false", Config, Observing, Built,
        "Serve a profile of processor time under /debug/pprof/, to whoever reaches the client port. The first one takes some hundred megabytes, for the program's debug information, that stay taken."),
    flag("metrics", Kind::Text, "basic", Config, Observing, NoEffect("there are always histograms of each call"),
        "Detail of metrics: basic, or extensive for histograms of each call."),
    flag("listen-metrics-urls", Kind::Urls(""), "", Config, Observing, Built,
        "Further addresses for /metrics and health checks."),
    flag("warning-unary-request-duration", Kind::Duration, "300ms", Config, Observing, Built,
        "Log unary requests that take longer; 0 means 300ms."),
    flag("warning-apply-duration", Kind::Duration, "100ms", Config, Observing, Built,
        "Log what takes longer to apply, and reads that take longer."),
    flag("logger", Kind::Text, "zap", Config, Logging, Built,
        "Shape of log lines; only zap is left."),
    flag("log-outputs", Kind::UniqueWords, "default", Config, Logging, Built,
        "default, stderr, stdout or files to append to, separated by commas."),
    flag("log-level", Kind::Text, "info", Config, Logging, Built,
        "Least level to log: debug, info, warn, error, panic or fatal."),
    flag("log-format", Kind::Text, "json", Config, Logging, Built,
        "json or console."),
    flag("enable-log-rotation", Kind::Bool, "false", Config, Logging, Built,
        "Rotate the log file."),
    flag("log-rotation-config-json", Kind::Text, "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}", Config, Logging, Built,
        "When to rotate and what to keep, as JSON."),
    flag("enable-distributed-tracing", Kind::Bool, "false", Config, Tracing, Later("distributed tracing"),
        "Send traces to an OpenTelemetry collector."),
    flag("distributed-tracing-address", Kind::Text, "localhost:4317", Config, Tracing, Later("distributed tracing"),
        "Address of the collector."),
    flag("distributed-tracing-service-name", Kind::Text, "etcd", Config, Tracing, Later("distributed tracing"),
        "Service name in traces, the same on all members."),
    flag("distributed-tracing-instance-id", Kind::Text, "", Config, Tracing, Later("distributed tracing"),
        "Instance id in traces, different on each member."),
    flag("distributed-tracing-sampling-rate", INT, "0", Config, Tracing, Later("distributed tracing"),
        "Traces to keep out of a million."),
    flag("corrupt-check-time", Kind::Duration, "12h0m0s", Config, Features, Built,
        "Time between comparisons of the members' data; 0 for none, which is etcd's default."),
    flag("compact-hash-check-time", Kind::Duration, "1m0s", Config, Features, Built,
        "Time between comparisons of hashes taken at compactions."),
    flag("compaction-batch-limit", INT, "0", Config, Features, Built,
        "Revisions that compaction looks at in one go; 0 means 1000."),
    flag("compaction-sleep-interval", Kind::Duration, "0s", Config, Features, Built,
        "Pause of compaction after each such batch, to slow it down; 0 means none (in etcd 10ms): it gives way to all that waits."),
    flag("watch-progress-notify-interval", Kind::Duration, "0s", Config, Features, Built,
        "Time between progress notices to idle watchers; 0 means 10m, the least is 100ms."),
    flag("bootstrap-defrag-threshold-megabytes", UINT, "0", Config, Features, Built,
        "Defragment at start if that frees so many megabytes; 0 for never."),
    flag("max-learners", INT, "1", Config, Features, Built,
        "Most learners in the cluster."),
    flag("downgrade-check-time", Kind::Duration, "5s", Config, Features, Built,
        "Time between looks whether all members run the version that the cluster goes down to; 0 for none."),
    flag("force-new-cluster", Kind::Bool, "false", Config, Unsafe, Built,
        "Drop all other members and start alone. Loses what only they had. For one start: leave it out at the next."),
    flag("unsafe-no-fsync", Kind::Bool, "false", Config, Unsafe, Later("running without fsync"),
        "Never wait for the disk. Loses acknowledged writes on a crash."),
    flag("audit-log-path", Kind::Text, "", Config, Ours, Built,
        "A file to which each call of a client is written as a line of JSON: who, from where, what, on which keys, and the result; never a value. Empty: none."),
    flag("audit-log-rotation-config-json", Kind::Text, "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}", Config, Ours, Built,
        "When that file is put aside and what to keep, as --log-rotation-config-json says it of the log."),
    flag("auto-disarm-nospace", Kind::Bool, "false", Config, Ours, Built,
        "Clear this member's NOSPACE alarm once its state is below 90 % of the quota and its disk has room."),
    flag("auto-promote-learners", Kind::Bool, "false", Config, Ours, Built,
        "Promote a learner as soon as it has caught up with the leader. To be set on every member, for any may lead."),
    flag("max-inflight-bytes", INT64, "0", Config, Ours, Built,
        "Memory that requests and answers on their way may take together; what needs more is refused as ResourceExhausted. 0 means half of the memory that the process may have, a negative value no limit."),
    flag("backup-dir", Kind::Text, "", Config, Ours, Built,
        "Where backups go, as in file:///var/backups/etcd. To be set on every member, each with a place of its own or all with one."),
    flag("backup-schedule", Kind::Text, "", Config, Ours, Built,
        "When the leader makes a full backup: minute hour day month weekday, in UTC, or @hourly, @daily, @weekly, @monthly, @every 6h. Empty: only when asked."),
    flag("backup-delta-interval", Kind::Duration, "5m0s", Config, Ours, Built,
        "How much of the log one segment between two scheduled full backups spans; any revision can be had back from them. 0 for none."),
    flag("backup-retention", Kind::Text, "hourly=24,daily=7,weekly=4", Config, Ours, Built,
        "Full backups to keep, with what follows them: count=N, age=DURATION, hourly=N, daily=N, weekly=N, monthly=N, whichever keeps it; or all. The newest stays."),
    flag("version", Kind::Bool, "false", Nowhere, Older, Built, ""),

    flag("client-transport-security.allowed-cn", Kind::Words, "", At(&["client-transport-security", "allowed-cn"]), FileOnly, Built, ""),
    flag("client-transport-security.skip-client-san-verification", Kind::Bool, "false",
        At(&["client-transport-security", "skip-client-san-verification"]), FileOnly, Built, ""),
    flag("discovery-config.client.max-request-bytes", INT, "0", At(&["discovery-config", "client", "max-request-bytes"]), FileOnly, Built, ""),
    flag("discovery-config.client.max-recv-bytes", INT, "0", At(&["discovery-config", "client", "max-recv-bytes"]), FileOnly, Built, ""),
    flag("discovery-config.client.secure.server-name", Kind::Text, "", At(&["discovery-config", "client", "secure", "server-name"]), FileOnly, Built, ""),
    flag("discovery-config.client.auth.token", Kind::Text, "", At(&["discovery-config", "client", "auth", "token"]), FileOnly, Built, ""),

    alias("experimental-corrupt-check-time", Kind::Duration, "corrupt-check-time"),
    alias("experimental-compact-hash-check-time", Kind::Duration, "compact-hash-check-time"),
    alias("experimental-compaction-batch-limit", INT, "compaction-batch-limit"),
    alias("experimental-compaction-sleep-interval", Kind::Duration, "compaction-sleep-interval"),
    alias("experimental-watch-progress-notify-interval", Kind::Duration, "watch-progress-notify-interval"),
    alias("experimental-warning-apply-duration", Kind::Duration, "warning-apply-duration"),
    alias("experimental-warning-unary-request-duration", Kind::Duration, "warning-unary-request-duration"),
    alias("experimental-downgrade-check-time", Kind::Duration, "downgrade-check-time"),
    alias("experimental-enable-distributed-tracing", Kind::Bool, "enable-distributed-tracing"),
    alias("experimental-distributed-tracing-address", Kind::Text, "distributed-tracing-address"),
    alias("experimental-distributed-tracing-service-name", Kind::Text, "distributed-tracing-service-name"),
    alias("experimental-distributed-tracing-instance-id", Kind::Text, "distributed-tracing-instance-id"),
    alias("experimental-distributed-tracing-sampling-rate", INT, "distributed-tracing-sampling-rate"),
    alias("experimental-bootstrap-defrag-threshold-megabytes", UINT, "bootstrap-defrag-threshold-megabytes"),
    alias("experimental-max-learners", INT, "max-learners"),
    alias("experimental-memory-mlock", Kind::Bool, "memory-mlock"),
    alias("experimental-snapshot-catchup-entries", UINT64, "snapshot-catchup-entries"),
    alias("experimental-snapshot-catch-up-entries", UINT64, "snapshot-catchup-entries"),
    alias("experimental-peer-skip-client-san-verification", Kind::Bool, "peer-skip-client-san-verification"),
    sets_gate("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    sets_gate("experimental-compact-hash-check-enabled", "CompactHashCheck"),
    sets_gate("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
    sets_gate("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    sets_gate("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
    sets_gate("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
    sets_gate("experimental-set-member-localaddr", "SetMemberLocalAddr"),

    ignored("cluster-active-size"), ignored("cluster-remove-delay"), ignored("cluster-sync-interval"),
    ignored("config"), ignored("force"), ignored("max-result-buffer"), ignored("max-retry-attempts"),
    ignored("peer-heartbeat-interval"), ignored("peer-election-timeout"), ignored("retry-interval"),
    ignored("snapshot"), ignored("v"), ignored("vv"), ignored("test.coverprofile"), ignored("test.outputdir"),
];
