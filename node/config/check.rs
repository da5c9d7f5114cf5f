//! etcd's checks of settings that must fit together (`embed.Config.Validate`), in its order and with its texts,
//! then ours: what is not built yet is refused by name.

use super::auth::{self, AuthTokenError};
use super::backup::{self, BackupError};
use super::notice::Notice;
use super::security;
use super::table::{FLAGS, Flag, State};
use super::url::{ListenUrlError, Url, check_bind, check_host, join};
use super::value::GoDuration;
use super::values::Values;
use super::{AutoCompaction, Gate, log};
use std::path::Path;
use std::time::Duration;

/// Why settings are refused; all but [`SettingsError::NotBuilt`], [`SettingsError::CorruptCheckTime`] and those of our own flags
/// are etcd's texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Log(#[from] log::LogError),
    #[error("v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"")]
    DiscoveryFallback,
    #[error("{0}")]
    Bind(String),
    #[error("--initial-advertise-peer-urls {urls:?} must be \"host:port\" ({why})")]
    AdvertisePeer { urls: String, why: String },
    #[error(
        "--advertise-client-urls {urls:?} must be in the format \"host:port\", \
         \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({why})"
    )]
    AdvertiseClient { urls: String, why: String },
    #[error("unexpected clusterState {0:?}")]
    ClusterState(String),
    #[error(
        "multiple discovery or bootstrap flags are set. \
         Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\""
    )]
    SeveralBootstraps,
    #[error("both --discovery-token and --discovery-endpoints must be set")]
    HalfDiscovery,
    #[error("--discovery-endpoints must not contain empty endpoints")]
    EmptyDiscoveryEndpoint,
    #[error("--heartbeat-interval must be >0 (set to 0ms)")]
    NoHeartbeat,
    #[error("--election-timeout must be >0 (set to 0ms)")]
    NoElectionTimeout,
    #[error("--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]")]
    ElectionTooShort { election: u64, heartbeat: u64 },
    #[error("--election-timeout[{0}ms] is too long, and should be set less than {MAX_ELECTION_MS}ms")]
    ElectionTooLong(u64),
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    AdvertiseClientUnset,
    #[error("undefined auto-compaction-mode")]
    NoCompactionMode,
    #[error("unknown auto-compaction-mode {0:?}")]
    CompactionMode(String),
    #[error("error parsing CompactionRetention: {}", duration_error(.0))]
    CompactionRetention(String),
    #[error("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint")]
    CheckpointPersistAlone,
    #[error("--compact-hash-check-time must be >0 (set to {0})")]
    CompactHashCheckTime(String),
    /// etcd starts, and then ends by a panic.
    #[error("--corrupt-check-time must be >=0 (set to {0})")]
    CorruptCheckTime(String),
    #[error("unexpected TLS version {0:?} (must be one of: TLS1.2, TLS1.3)")]
    TlsVersion(String),
    #[error("min version ({min}) is greater than max version ({max})")]
    TlsVersionOrder { min: String, max: String },
    #[error("cipher suites cannot be configured when only TLS1.3 is enabled")]
    CiphersOfTls13,
    #[error(transparent)]
    Listen(#[from] ListenUrlError),
    #[error("{0}")]
    CipherSuites(String),
    #[error("KeyFile and CertFile must both be present[key: {0}, cert: {1}]")]
    HalfPair(String, String),
    #[error("ClientKeyFile and ClientCertFile must both be present or both absent: key: {0}, cert: {1}]")]
    HalfClientPair(String, String),
    #[error("AllowedCNs and AllowedHostnames are mutually exclusive (cns={cns:?}, hostnames={hostnames:?})")]
    TwoKindsOfNames { cns: Vec<String>, hostnames: Vec<String> },
    #[error("cannot listen on TLS for {0}: KeyFile and CertFile are not presented")]
    NoPeerCertificate(String),
    #[error("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url")]
    NoMetricsCertificate,
    #[error("cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {0}")]
    HttpOnClientUrl(Url),
    #[error("TLS key/cert (--cert-file, --key-file) must be provided for client url {0} with HTTPS scheme")]
    NoCertificate(Url),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Auth(#[from] AuthTokenError),
    #[error("--{flag} is not built yet in Keelstone: it belongs to {feature}. Leave it at its default{}", default_text(.default))]
    NotBuilt { flag: String, feature: &'static str, default: &'static str },
}

const MAX_ELECTION_MS: u64 = 50_000;

fn default_text(default: &str) -> String {
    if default.is_empty() { String::new() } else { format!(" ({default})") }
}

/// Where settings came from; two checks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    CommandLine,
    File,
}

/// Checks all but the logger, which comes first and is needed to report the rest.
pub fn check(values: &Values, source: Source, notices: &mut Vec<Notice>) -> Result<(), SettingsError> {
    check_urls(values, notices)?;
    check_bootstrap(values, source)?;
    check_timing(values.uint("heartbeat-interval"), values.uint("election-timeout"))?;
    if source == Source::CommandLine && values.is_set("listen-client-urls") && !values.is_set("advertise-client-urls") {
        return Err(SettingsError::AdvertiseClientUnset);
    }
    auto_compaction(values)?;
    backup::read(values)?;
    auth::check(values)?;
    let gates = values.gates();
    if gates.enabled(Gate::LeaseCheckpointPersist) && !gates.enabled(Gate::LeaseCheckpoint) {
        return Err(SettingsError::CheckpointPersistAlone);
    }
    let hash_check = values.duration("compact-hash-check-time");
    if hash_check.0 <= 0 {
        return Err(SettingsError::CompactHashCheckTime(hash_check.to_string()));
    }
    let check = values.duration("corrupt-check-time");
    if check.0 < 0 {
        return Err(SettingsError::CorruptCheckTime(check.to_string()));
    }
    if values.text("name") == "default" {
        notices.push(Notice::DefaultName { name: values.text("name").to_owned() });
    }
    security::read(values, Path::new(""))?;
    check_built(values)
}

fn check_urls(values: &Values, notices: &mut Vec<Notice>) -> Result<(), SettingsError> {
    let bind = |flag: &str| values.urls(flag).iter().try_for_each(check_bind).map_err(SettingsError::Bind);
    bind("listen-peer-urls")?;
    bind("listen-client-urls")?;
    bind("listen-client-http-urls")?;
    if values.urls("listen-client-http-urls").is_empty() {
        notices.push(Notice::SinglePort);
    }
    bind("listen-metrics-urls")?;
    let host = |flag: &str| values.urls(flag).iter().try_for_each(check_host);
    host("initial-advertise-peer-urls")
        .map_err(|why| SettingsError::AdvertisePeer { urls: join(values.urls("initial-advertise-peer-urls")), why })?;
    host("advertise-client-urls")
        .map_err(|why| SettingsError::AdvertiseClient { urls: join(values.urls("advertise-client-urls")), why })
}

fn check_bootstrap(values: &Values, source: Source) -> Result<(), SettingsError> {
    let srv = !values.text("discovery-srv").is_empty();
    let endpoints = values.words("discovery-endpoints");
    let token = !values.text("discovery-token").is_empty();
    let cluster = !values.text("initial-cluster").is_empty() && !is_discovered(values, source);
    match values.text("initial-cluster-state") {
        "new" | "existing" => {}
        "" if source == Source::File => {}
        other => return Err(SettingsError::ClusterState(other.to_owned())),
    }
    if [cluster, srv, !endpoints.is_empty()].iter().filter(|&&set| set).count() > 1 {
        return Err(SettingsError::SeveralBootstraps);
    }
    if token == endpoints.is_empty() {
        return Err(SettingsError::HalfDiscovery);
    }
    if endpoints.iter().any(|endpoint| endpoint.trim().is_empty()) {
        return Err(SettingsError::EmptyDiscoveryEndpoint);
    }
    Ok(())
}

/// Whether discovery takes the place of the default cluster; it never does of one that the operator named.
pub(super) fn is_discovered(values: &Values, source: Source) -> bool {
    let srv = !values.text("discovery-srv").is_empty();
    let srv_name = !values.text("discovery-srv-name").is_empty();
    let service = !values.words("discovery-endpoints").is_empty();
    match source {
        Source::CommandLine => !values.is_set("initial-cluster") && (srv || srv_name || service),
        Source::File => {
            let flag = Flag::find("initial-cluster").expect("a row of the table");
            values.is_default(flag) && (srv || service)
        }
    }
}

fn check_timing(heartbeat: u64, election: u64) -> Result<(), SettingsError> {
    if heartbeat == 0 {
        return Err(SettingsError::NoHeartbeat);
    }
    if election == 0 {
        return Err(SettingsError::NoElectionTimeout);
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(SettingsError::ElectionTooShort { election, heartbeat });
    }
    if election > MAX_ELECTION_MS {
        return Err(SettingsError::ElectionTooLong(election));
    }
    Ok(())
}

/// Refuses what has been set but is not built: never silently ignored.
fn check_built(values: &Values) -> Result<(), SettingsError> {
    for flag in FLAGS {
        let State::Later(feature) = flag.state else { continue };
        if !values.is_default(flag) {
            return Err(SettingsError::NotBuilt { flag: flag.name.to_owned(), feature, default: flag.default });
        }
    }
    Ok(())
}

/// What `--auto-compaction-mode` and `--auto-compaction-retention` say together (etcd `embed.parseCompactionRetention`): a
/// bare number is hours or revisions, all else a Go duration, whose nanoseconds count as revisions.
pub(super) fn auto_compaction(values: &Values) -> Result<Option<AutoCompaction>, SettingsError> {
    let text = values.text("auto-compaction-retention");
    let refused = || SettingsError::CompactionRetention(text.to_owned());
    let duration = || GoDuration::parse(text).ok().filter(|duration| duration.0 >= 0).map(|duration| duration.0);
    let bare = if text.is_empty() { Some(0) } else { text.parse::<i64>().ok().filter(|number| *number >= 0) };
    Ok(match (values.text("auto-compaction-mode"), bare) {
        ("periodic" | "revision", Some(0)) => None,
        ("periodic", hours) => {
            let hours = hours.map(|hours| hours.checked_mul(3_600_000_000_000).ok_or_else(refused)).transpose()?;
            let nanos = hours.or_else(duration).ok_or_else(refused)?;
            (nanos > 0).then_some(AutoCompaction::Period(Duration::from_nanos(nanos.unsigned_abs())))
        }
        ("revision", number) => {
            let kept = number.or_else(duration).ok_or_else(refused)?;
            (kept > 0).then_some(AutoCompaction::Revisions(kept))
        }
        ("", _) => return Err(SettingsError::NoCompactionMode),
        (other, _) => return Err(SettingsError::CompactionMode(other.to_owned())),
    })
}

/// What Go's parser says of a text that is no duration.
fn duration_error(text: &str) -> String {
    let number = text.trim_start_matches(['-', '+']);
    let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    match (number.len() - unit.len(), unit) {
        _ if GoDuration::parse(text).is_ok() => format!("negative duration {text:?}"),
        (0, _) => format!("time: invalid duration {text:?}"),
        (_, "") => format!("time: missing unit in duration {text:?}"),
        (_, unit) => format!("time: unknown unit {unit:?} in duration {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Request, parse};
    use super::*;

    fn checked(args: &[&str]) -> Result<Vec<Notice>, String> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let Request::Run(values) = parse(&args).unwrap() else { panic!("help") };
        let mut notices = Vec::new();
        check(&values, Source::CommandLine, &mut notices).map_err(|error| error.to_string())?;
        Ok(notices)
    }

    #[test]
    fn defaults_pass_with_etcds_two_warnings() {
        let notices = checked(&[]).unwrap();
        assert_eq!(notices, [Notice::SinglePort, Notice::DefaultName { name: "default".to_owned() }]);
    }

    /// Texts recorded from etcd 3.7.3.
    #[test]
    fn conflicts_are_refused_in_etcds_words() {
        for (args, said) in [
            (&["--listen-peer-urls=http://a:1"][..], "expected IP in URL for binding (http://a:1)"),
            (
                &["--advertise-client-urls=http://:2379"],
                "--advertise-client-urls \"http://:2379\" must be in the format \"host:port\", \
                 \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" (unexpected empty host (http://:2379))",
            ),
            (
                &["--initial-advertise-peer-urls=http://:1"],
                "--initial-advertise-peer-urls \"http://:1\" must be \"host:port\" (unexpected empty host (http://:1))",
            ),
            (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
            (&["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)"),
            (
                &["--election-timeout=499"],
                "--election-timeout[499ms] should be at least as 5 times as --heartbeat-interval[100ms]",
            ),
            (
                &["--election-timeout=50001"],
                "--election-timeout[50001ms] is too long, and should be set less than 50000ms",
            ),
            (
                &["--listen-client-urls=http://127.0.0.1:1"],
                "--advertise-client-urls is required when --listen-client-urls is set explicitly",
            ),
            (&["--discovery-token=x"], "both --discovery-token and --discovery-endpoints must be set"),
            (
                &["--discovery-srv=x", "--initial-cluster=default=http://localhost:2380"],
                "multiple discovery or bootstrap flags are set. \
                 Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\"",
            ),
            (&["--auto-compaction-mode=foo"], "unknown auto-compaction-mode \"foo\""),
            (&["--auto-compaction-mode="], "undefined auto-compaction-mode"),
            (&["--compact-hash-check-time=0"], "--compact-hash-check-time must be >0 (set to 0s)"),
            (&["--corrupt-check-time=-1s"], "--corrupt-check-time must be >=0 (set to -1s)"),
            (&["--tls-min-version=foo"], "unexpected TLS version \"foo\" (must be one of: TLS1.2, TLS1.3)"),
            (
                &["--feature-gates=LeaseCheckpointPersist=true"],
                "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
            ),
        ] {
            assert_eq!(checked(args).unwrap_err(), said, "{args:?}");
        }
        assert!(checked(&["--election-timeout=50000"]).is_ok());
        assert!(checked(&["--election-timeout=500"]).is_ok());
    }

    #[test]
    fn a_retention_is_hours_revisions_or_a_duration() {
        let said = |mode: &str, retention: &str| {
            let args = [format!("--auto-compaction-mode={mode}"), format!("--auto-compaction-retention={retention}")];
            let mut values = Values::defaults();
            for (flag, text) in [("auto-compaction-mode", mode), ("auto-compaction-retention", retention)] {
                let flag = FLAGS.iter().find(|known| known.name == flag).unwrap();
                values.put(flag, flag.kind.set(&flag.default_value(), text).unwrap());
            }
            assert_eq!(auto_compaction(&values).is_ok(), checked(&[&args[0], &args[1]]).is_ok());
            auto_compaction(&values).map_err(|error| error.to_string())
        };
        let period = |secs| Ok(Some(AutoCompaction::Period(Duration::from_secs(secs))));
        let revisions = |kept| Ok(Some(AutoCompaction::Revisions(kept)));
        let refused = |text: &str| Err(format!("error parsing CompactionRetention: {text}"));
        for (mode, retention, expected) in [
            ("periodic", "0", Ok(None)),
            ("periodic", "", Ok(None)),
            ("periodic", "0s", Ok(None)),
            ("periodic", "8", period(8 * 3600)),
            ("periodic", "30m", period(1800)),
            ("revision", "1000", revisions(1000)),
            ("revision", "", Ok(None)),
            ("revision", "1us", revisions(1000)),
            // As etcd 3.7.3 says it.
            ("periodic", "foo", refused("time: invalid duration \"foo\"")),
            ("periodic", "-1", refused("time: missing unit in duration \"-1\"")),
            ("revision", "1x", refused("time: unknown unit \"x\" in duration \"1x\"")),
            // etcd would compact without a pause.
            ("periodic", "-1h", refused("negative duration \"-1h\"")),
        ] {
            assert_eq!(said(mode, retention), expected, "{mode} {retention:?}");
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name_and_its_default_is_not() {
        for flag in FLAGS {
            let State::Later(feature) = flag.state else { continue };
            let mut values = Values::defaults();
            let other = match (flag.name, flag.default_value()) {
                ("cors", _) => "http://a:1".to_owned(),
                ("listen-client-http-urls", _) => "http://127.0.0.1:7".to_owned(),
                (_, super::super::kind::Value::Bool(value)) => (!value).to_string(),
                (_, super::super::kind::Value::Duration(_)) => "77s".to_owned(),
                _ => "7".to_owned(),
            };
            let set = flag.kind.set(&flag.default_value(), &other).unwrap();
            values.put(flag, set);
            let said = check_built(&values).unwrap_err().to_string();
            assert!(said.contains(&format!("--{} ", flag.name)) && said.contains(feature), "{said}");
            values.put(flag, flag.default_value());
            assert_eq!(check_built(&values), Ok(()), "{}", flag.name);
        }
        assert!(checked(&["--feature-gates=FastLeaseKeepAlive=false,PriorityRequest=true"]).is_ok());
    }
}
