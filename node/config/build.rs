//! From checked values to [`Settings`]: zeros that stand for etcd's defaults, minimums, and what follows from the
//! name and from the machine's address.

use super::bootstrap::{Bootstrap, ClusterState, PeerUrls, print_members};
use super::check::{SettingsError, Source, is_discovered};
use super::discovery;
use super::notice::Notice;
use super::security;
use super::settings::{
    Compaction, Corruption, GrpcKeepalive, Http, Inflight, Limits, Log, Member, Observe, Raft, ServerPing, Settings,
    Storage, Urls, Watch,
};
use super::table::{FLAGS, Flag, State};
use super::url::{ListenUrl, ListenUrlError, Url};
use super::values::Values;
use std::time::Duration;

const DEFAULT_SNAPSHOT_COUNT: u64 = 10_000;
const DEFAULT_CATCHUP_ENTRIES: u64 = 5_000;
const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;
const DEFAULT_COMPACTION_BATCH: usize = 1_000;
const DEFAULT_PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
const MIN_PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
const DEFAULT_WARN_UNARY: Duration = Duration::from_millis(300);
/// grpc-go's, which counts in etcd if it is given none above zero.
const DEFAULT_MIN_PING_INTERVAL: Duration = Duration::from_secs(5 * 60);
const MIN_PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// etcd advises against larger requests.
const ADVISED_REQUEST_BYTES: u64 = 10 << 20;

/// Looks up the address of this machine that others reach it by; the error says why there is none.
pub type DefaultHost<'a> = &'a dyn Fn() -> Result<String, String>;

/// `values` has passed [`super::check::check`].
pub fn build(
    values: &Values,
    source: Source,
    log: Log,
    default_host: DefaultHost<'_>,
    notices: &mut Vec<Notice>,
) -> Result<Settings, SettingsError> {
    note_flags(values, notices);
    let (urls, initial_cluster) = urls(values, source, default_host, notices)?;
    let member = member(values, notices);
    let security = security::read(values, &member.data_dir)?;
    let discovers = !values.words("discovery-endpoints").is_empty();
    security::check_urls(&security, &urls)?;
    Ok(Settings {
        member,
        bootstrap: Bootstrap {
            initial_cluster,
            token: values.text(if discovers { "discovery-token" } else { "initial-cluster-token" }).to_owned(),
            state: match values.text("initial-cluster-state") {
                "existing" => ClusterState::Existing,
                _ => ClusterState::New,
            },
            discovery: discovery::read(values),
            force_new_cluster: values.bool("force-new-cluster"),
        },
        urls,
        security,
        http: Http {
            gateway: values.bool("enable-grpc-gateway"),
            origins: values.urls("cors").iter().map(ToString::to_string).collect(),
            hosts: values.words("host-whitelist").to_vec(),
        },
        raft: raft(values, notices),
        storage: storage(values),
        limits: limits(values, notices),
        keepalive: keepalive(values),
        compaction: Compaction {
            batch_limit: match usize::try_from(values.int("compaction-batch-limit")) {
                Ok(limit) if limit > 0 => limit,
                _ => DEFAULT_COMPACTION_BATCH,
            },
            sleep_interval: values.duration("compaction-sleep-interval").or_zero(),
            automatic: super::check::auto_compaction(values).expect("checked before"),
        },
        downgrade_check: values.duration("downgrade-check-time").or_zero(),
        corruption: Corruption {
            check_interval: Some(values.duration("corrupt-check-time").or_zero())
                .filter(|interval| !interval.is_zero()),
            compact_hash_interval: values.duration("compact-hash-check-time").or_zero(),
        },
        watch: Watch { progress_notify_interval: progress_interval(values, notices) },
        log,
        observe: Observe {
            warn_apply_duration: values.duration("warning-apply-duration").or_zero(),
            warn_unary_request_duration: match values.duration("warning-unary-request-duration").0 {
                0 => DEFAULT_WARN_UNARY,
                _ => values.duration("warning-unary-request-duration").or_zero(),
            },
            enable_pprof: values.bool("enable-pprof"),
        },
        auth: super::auth::read(values, notices),
        backup: super::backup::read(values).expect("checked before"),
        gates: values.gates().clone(),
    })
}

/// What the operator should know about the flags that were used.
fn note_flags(values: &Values, notices: &mut Vec<Notice>) {
    for (given, instead) in &values.older {
        notices.push(Notice::OlderName { given, instead: instead.clone() });
    }
    for flag in FLAGS.iter().filter(|flag| values.is_set(flag.name)) {
        match flag.state {
            State::NoEffect(why) if !values.is_default(flag) => {
                notices.push(Notice::NoEffect { flag: flag.name.to_owned(), why });
            }
            State::Ignored => notices.push(Notice::IgnoredByEtcd { flag: flag.name }),
            _ => {}
        }
    }
    for (gate, why) in values.gates().without_effect() {
        notices.push(Notice::NoEffect { flag: format!("feature-gates {gate}"), why });
    }
    for (flag, text) in [
        ("max-snapshots", "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
        (
            "v2-deprecation",
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. \
             The default value is enforced, ignoring user input.",
        ),
    ] {
        if values.is_set(flag) {
            notices.push(Notice::Deprecated { text });
        }
    }
}

fn member(values: &Values, notices: &mut Vec<Notice>) -> Member {
    let name = values.text("name").to_owned();
    let data_dir = match values.text("data-dir") {
        "" => {
            let path = format!("{name}.etcd");
            notices.push(Notice::DefaultDataDir { path: path.clone() });
            path
        }
        path => path.to_owned(),
    };
    let wal_dir = values.text("wal-dir");
    Member {
        name,
        data_dir: data_dir.into(),
        dedicated_wal_dir: if wal_dir.is_empty() { None } else { Some(wal_dir.into()) },
    }
}

/// All URLs, and the initial cluster, which follows from the name and the advertised peer URLs if nobody set it
/// (etcd `UpdateDefaultClusterFromName`), and is not known yet if DNS is to say it.
fn urls(
    values: &Values,
    source: Source,
    default_host: DefaultHost<'_>,
    notices: &mut Vec<Notice>,
) -> Result<(Urls, String), ListenUrlError> {
    let listen = |flag: &str| -> Result<Vec<ListenUrl>, ListenUrlError> {
        let mut urls = values.urls(flag).to_vec();
        urls.dedup();
        urls.into_iter().map(ListenUrl::new).collect()
    };
    let mut urls = Urls {
        listen_peer: listen("listen-peer-urls")?,
        listen_client: listen("listen-client-urls")?,
        listen_client_http: listen("listen-client-http-urls")?,
        listen_metrics: listen("listen-metrics-urls")?,
        advertise_peer: values.urls("initial-advertise-peer-urls").to_vec(),
        advertise_client: values.urls("advertise-client-urls").to_vec(),
    };
    let is_default = |name: &str| values.is_default(Flag::find(name).expect("a row of the table"));
    let open = |listen: &[ListenUrl]| listen.first().is_some_and(|url| url.url().host() == "0.0.0.0");
    let peer_unnamed = is_default("initial-advertise-peer-urls") && open(&urls.listen_peer);
    let client_unnamed = is_default("advertise-client-urls") && open(&urls.listen_client);
    if peer_unnamed || client_unnamed {
        match default_host() {
            Ok(host) => {
                let with_host = |url: &Url, listen: &ListenUrl| url.with_host(&host, listen.url().port());
                if peer_unnamed {
                    urls.advertise_peer = vec![with_host(&urls.advertise_peer[0], &urls.listen_peer[0])];
                }
                if client_unnamed {
                    urls.advertise_client = vec![with_host(&urls.advertise_client[0], &urls.listen_client[0])];
                }
                notices.push(Notice::DefaultHost { host });
            }
            Err(why) => notices.push(Notice::NoDefaultHost { why }),
        }
    }
    let name = values.text("name");
    let alone = |name: &str| print_members(&PeerUrls::from([(name.to_owned(), urls.advertise_peer.clone())]));
    let initial_cluster = if !values.words("discovery-endpoints").is_empty() {
        // What it brings to the registry.
        alone(name)
    } else if is_discovered(values, source) {
        String::new()
    } else if name != "default" && is_default("initial-cluster") {
        alone(if name.is_empty() { "default" } else { name })
    } else {
        values.text("initial-cluster").to_owned()
    };
    Ok((urls, initial_cluster))
}

fn raft(values: &Values, notices: &mut Vec<Notice>) -> Raft {
    let mut or_default = |flag: &'static str, default: u64| match values.uint(flag) {
        0 => {
            notices.push(Notice::ZeroMeansDefault { flag, default });
            default
        }
        value => value,
    };
    let snapshot_count = or_default("snapshot-count", DEFAULT_SNAPSHOT_COUNT);
    let snapshot_catchup_entries = or_default("snapshot-catchup-entries", DEFAULT_CATCHUP_ENTRIES);
    let mut at_least = |flag: &'static str| {
        let given = values.duration(flag).or_zero();
        if given < MIN_PEER_TIMEOUT {
            notices.push(Notice::Raised { flag, minimum: "5s" });
        }
        given.max(MIN_PEER_TIMEOUT)
    };
    Raft {
        peer_read_timeout: at_least("raft-read-timeout"),
        peer_write_timeout: at_least("raft-write-timeout"),
        heartbeat_interval: Duration::from_millis(values.uint("heartbeat-interval")),
        election_timeout_given: Duration::from_millis(values.uint("election-timeout")),
        initial_election_tick_advance: values.bool("initial-election-tick-advance"),
        pre_vote: values.bool("pre-vote"),
        snapshot_count,
        snapshot_catchup_entries,
        max_learners: usize::try_from(values.int("max-learners")).unwrap_or(0),
        strict_reconfig_check: values.bool("strict-reconfig-check"),
        auto_promote_learners: values.bool("auto-promote-learners"),
    }
}

fn storage(values: &Values) -> Storage {
    let quota = values.int("quota-backend-bytes");
    Storage {
        quota_bytes: match u64::try_from(quota) {
            Ok(0) => Some(DEFAULT_QUOTA_BYTES),
            Ok(bytes) => Some(bytes),
            Err(_) => None,
        },
        auto_disarm: values.bool("auto-disarm-nospace"),
        max_wals: values.uint("max-wals"),
        defragment_above_bytes: match values.uint("bootstrap-defrag-threshold-megabytes") {
            0 => None,
            megabytes => Some(megabytes.saturating_mul(1 << 20)),
        },
    }
}

fn limits(values: &Values, notices: &mut Vec<Notice>) -> Limits {
    let request = values.uint("max-request-bytes");
    if request > ADVISED_REQUEST_BYTES {
        notices.push(Notice::LargeRequests { bytes: request, advised: ADVISED_REQUEST_BYTES });
    }
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        max_txn_ops: size(values.uint("max-txn-ops")),
        max_request_bytes: size(request),
        max_concurrent_streams: u32::try_from(values.uint("max-concurrent-streams")).unwrap_or(u32::MAX),
        inflight: match u64::try_from(values.int("max-inflight-bytes")) {
            Ok(0) => Inflight::HalfOfMemory,
            Ok(bytes) => Inflight::Bytes(bytes),
            Err(_) => Inflight::Unlimited,
        },
    }
}

fn keepalive(values: &Values) -> GrpcKeepalive {
    let above_zero = |flag: &str| Some(values.duration(flag).or_zero()).filter(|duration| !duration.is_zero());
    let ping = above_zero("grpc-keepalive-interval").zip(above_zero("grpc-keepalive-timeout"));
    GrpcKeepalive {
        server_ping: ping.map(|(interval, timeout)| ServerPing { interval, timeout }),
        min_ping_interval: above_zero("grpc-keepalive-min-time").unwrap_or(DEFAULT_MIN_PING_INTERVAL),
    }
}

fn progress_interval(values: &Values, notices: &mut Vec<Notice>) -> Duration {
    let flag = "watch-progress-notify-interval";
    match values.duration(flag).or_zero() {
        Duration::ZERO => DEFAULT_PROGRESS_INTERVAL,
        given if given < MIN_PROGRESS_INTERVAL => {
            notices.push(Notice::Raised { flag, minimum: "100ms" });
            MIN_PROGRESS_INTERVAL
        }
        given => given,
    }
}
