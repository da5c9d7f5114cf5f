//! Loading as a whole.

use super::table::{FLAGS, Flag, State};
use super::values::Values;
use super::*;
use std::time::Duration;

/// Every flag of etcd 3.7.3 with its default as Go's flag package prints it: the flag set of the server's command,
/// dumped from the real code by a small Go program.
const ETCD_FLAGS: &str = include_str!("../../tests/cli/etcd-3.7.3-flags.txt");

fn loaded(args: &[&str], env: &[(&str, &str)], file: &str) -> (Result<Loaded, LoadError>, Report) {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let surroundings = Surroundings {
        env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        read_file: &|path| match path {
            "/etc/etcd.yml" => Ok(file.to_owned()),
            _ => Err(io::Error::from_raw_os_error(2)),
        },
        default_host: &|| Ok("192.0.2.7".to_owned()),
    };
    let mut report = Report::default();
    let result = load(&args, &surroundings, &mut report);
    (result, report)
}

fn settings(args: &[&str], env: &[(&str, &str)], file: &str) -> Settings {
    match loaded(args, env, file).0 {
        Ok(Loaded::Run(settings)) => *settings,
        other => panic!("no settings: {other:?}"),
    }
}

/// Flags whose default differs from etcd's on purpose, as README says.
const OTHER_DEFAULTS: [(&str, &str, &str); 1] = [("corrupt-check-time", "0s", "12h0m0s")];

#[test]
fn the_table_has_every_flag_of_etcd_with_its_default_and_no_other() {
    let mut names = Vec::new();
    for line in ETCD_FLAGS.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let (name, default) = (columns.next().unwrap(), columns.nth(1).unwrap_or_default());
        let flag = Flag::find(name).unwrap_or_else(|| panic!("--{name} is missing"));
        let other = OTHER_DEFAULTS.iter().find(|(other, etcds, _)| (*other, *etcds) == (name, default));
        assert_eq!(flag.default, other.map_or(default, |(_, _, ours)| ours), "--{name}");
        assert!(!matches!(flag.state, State::Alias(_) | State::SetsGate(_)), "--{name}");
        names.push(name);
    }
    assert_eq!(names.len(), 128);
    for flag in FLAGS {
        let ours = matches!(flag.state, State::Alias(_) | State::SetsGate(_))
            || flag.section == table::Section::FileOnly
            || flag.section == table::Section::Ours;
        assert!(ours || names.contains(&flag.name), "--{} is not etcd's", flag.name);
    }
}

#[test]
fn rows_of_the_table_are_sound() {
    let values = Values::defaults();
    for (at, flag) in FLAGS.iter().enumerate() {
        assert!(FLAGS[..at].iter().all(|other| other.name != flag.name), "--{} twice", flag.name);
        match flag.state {
            State::Alias(of) => {
                let target = Flag::find(of).unwrap();
                assert_eq!(target.kind, flag.kind, "--{}", flag.name);
                assert!(!matches!(target.state, State::Alias(_) | State::SetsGate(_)));
            }
            State::SetsGate(gate) => assert!(gates::GATES.iter().any(|spec| spec.name == gate)),
            _ => {
                let printed = values.get(flag.name).print();
                assert!(printed == flag.default || flag.default == "*" || printed == "false", "--{}", flag.name);
            }
        }
    }
}

/// A value that is not the flag's default, and that goes with the defaults of all others.
fn another_value(flag: &Flag) -> String {
    match (flag.name, flag.default_value()) {
        ("election-timeout", _) => "700".to_owned(),
        ("log-level", _) => "debug".to_owned(),
        ("log-format", _) => "console".to_owned(),
        ("auto-compaction-mode", _) => "revision".to_owned(),
        ("initial-cluster-state", _) => "existing".to_owned(),
        ("v2-deprecation", _) => "gone".to_owned(),
        ("tls-min-version", _) => "TLS1.3".to_owned(),
        ("tls-max-version", _) => "TLS1.2".to_owned(),
        ("log-rotation-config-json" | "audit-log-rotation-config-json", _) => "{\"maxsize\": 7}".to_owned(),
        ("cipher-suites", _) => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned(),
        ("feature-gates", _) => "LeaseCheckpoint=true".to_owned(),
        ("auth-token", _) => "jwt,sign-method=RS256".to_owned(),
        ("backup-dir", _) => "file:///x".to_owned(),
        ("backup-schedule", _) => "@daily".to_owned(),
        ("backup-retention", _) => "count=7".to_owned(),
        (_, kind::Value::Bool(default)) => (!default).to_string(),
        (_, kind::Value::Duration(_)) => "77s".to_owned(),
        (_, kind::Value::Urls(_)) => "http://127.0.0.1:7".to_owned(),
        _ => "7".to_owned(),
    }
}

/// Flags that are used up while settings are loaded, each with the test that shows it.
const USED_WHILE_LOADING: [(&str, &str); 4] = [
    ("config-file", "a_file_beats_flags_and_environment"),
    ("version", "tests/cli: the_version_has_etcds_four_lines"),
    ("discovery-fallback", "tests/cli: a_refused_command_line_says_why_and_ends_as_etcd_does"),
    ("logger", "tests/cli: a_refused_command_line_says_why_and_ends_as_etcd_does"),
];

/// Flags whose settings mean nothing here: what etcd itself drops, what tunes a part that Keelstone does not have, and
/// what asks for what is there anyway. A flag that waits to be built is none of these.
const WITHOUT_EFFECT: [&str; 6] = [
    "max-snapshots",
    "v2-deprecation",
    "backend-bbolt-freelist-type",
    "backend-batch-interval",
    "backend-batch-limit",
    "metrics",
];

/// Whether somebody reads the settings is seen to in `tests/tidy`.
#[test]
fn a_flag_that_is_set_changes_the_settings_or_is_refused_or_named_in_the_log() {
    let defaults = format!("{:?}", settings(&[], &[], ""));
    for name in WITHOUT_EFFECT {
        assert!(matches!(Flag::find(name).map(|flag| flag.state), Some(State::NoEffect(_))), "--{name}");
    }
    for flag in FLAGS.iter().filter(|flag| flag.section != table::Section::FileOnly) {
        // Some count only beside another.
        let beside: &[&str] = match flag.name {
            "listen-client-urls" => &["--advertise-client-urls=http://localhost:2379"],
            "auto-compaction-mode" => &["--auto-compaction-retention=7"],
            "backup-schedule" | "backup-retention" => &["--backup-dir=file:///x"],
            "enable-log-rotation" => &["--log-outputs=x"],
            "log-rotation-config-json" => &["--log-outputs=x", "--enable-log-rotation"],
            "audit-log-rotation-config-json" => &["--audit-log-path=x"],
            "cert-file" | "key-file" => &["--cert-file=8", "--key-file=8"],
            "client-cert-file" | "client-key-file" => &["--client-cert-file=8", "--client-key-file=8"],
            "peer-cert-file" | "peer-key-file" => &["--peer-cert-file=8", "--peer-key-file=8"],
            "peer-client-cert-file" | "peer-client-key-file" => {
                &["--peer-client-cert-file=8", "--peer-client-key-file=8"]
            }
            "self-signed-cert-validity" => &["--auto-tls"],
            "discovery-srv-name" => &["--discovery-srv=x"],
            "discovery-token" | "discovery-endpoints" => &["--discovery-token=x", "--discovery-endpoints=x"],
            "discovery-user" | "discovery-password" => {
                &["--discovery-token=x", "--discovery-endpoints=x", "--discovery-user=x", "--discovery-password=x"]
            }
            name if name.starts_with("discovery-") && !matches!(name, "discovery-srv" | "discovery-fallback") => {
                &["--discovery-token=x", "--discovery-endpoints=x"]
            }
            "backup-delta-interval" => &["--backup-dir=file:///x", "--backup-schedule=@daily"],
            _ => &[],
        };
        let arg = format!("--{}={}", flag.name, another_value(flag));
        let args = [beside, &[&arg[..]]].concat();
        let (result, report) = loaded(&args, &[], "");
        let is_named =
            |name: &str| report.notices.iter().any(|notice| format!("{notice:?}").contains(&format!("{name:?}")));
        match flag.state {
            State::Built if USED_WHILE_LOADING.iter().any(|(name, _)| *name == flag.name) => {
                let is_started = matches!(&result, Ok(Loaded::Run(settings)) if format!("{settings:?}") == defaults);
                assert!(!is_started, "--{} changed nothing", flag.name);
            }
            State::Built => {
                let Ok(Loaded::Run(settings)) = result else { panic!("{args:?}: {result:?}") };
                let without = format!("{:?}", self::settings(beside, &[], ""));
                assert_ne!(format!("{settings:?}"), without, "--{} changed nothing", flag.name);
            }
            // Some are refused by a rule of etcd's before.
            State::Later(_) => assert!(result.is_err(), "{args:?} is taken"),
            State::NoEffect(_) => {
                assert!(result.is_ok() && is_named(flag.name), "{args:?}: {result:?}");
                assert!(WITHOUT_EFFECT.contains(&flag.name), "--{}", flag.name);
            }
            State::Ignored | State::Alias(_) | State::SetsGate(_) => {
                assert!(result.is_err() || is_named(flag.name), "{args:?}: {result:?}");
            }
        }
    }
}

#[test]
fn defaults_are_etcds() {
    let settings = settings(&[], &[], "");
    assert_eq!(settings.member.wal_dir().to_str(), Some("default.etcd/member/wal"));
    assert_eq!(settings.bootstrap.initial_cluster, "default=http://localhost:2380");
    assert_eq!(settings.urls.listen_client[0].address().to_string(), "127.0.0.1:2379");
    assert_eq!(settings.raft.election_timeout(), Duration::from_secs(1));
    assert_eq!(settings.storage.quota_bytes, Some(2_147_483_648));
    assert_eq!(settings.limits.max_message_bytes(), 2_097_152);
    assert_eq!(settings.limits.max_concurrent_streams, u32::MAX);
    assert_eq!(settings.watch.progress_notify_interval, Duration::from_secs(600));
    assert_eq!((settings.compaction.batch_limit, settings.compaction.sleep_interval), (1000, Duration::ZERO));
    assert_eq!(settings.observe.warn_unary_request_duration, Duration::from_millis(300));
    let ping = settings.keepalive.server_ping.unwrap();
    assert_eq!((ping.interval.as_secs(), ping.timeout.as_secs()), (7200, 20));
}

#[test]
fn the_name_alone_makes_the_cluster_and_the_directory() {
    let settings = settings(&["--name=abc"], &[], "");
    assert_eq!(settings.bootstrap.initial_cluster, "abc=http://localhost:2380");
    assert_eq!(settings.member.data_dir.to_str(), Some("abc.etcd"));
    assert!(settings.bootstrap.members("abc", &settings.urls.advertise_peer, &|_| Err(String::new())).is_ok());
}

#[test]
fn a_listener_without_an_address_is_advertised_by_the_machines() {
    let args = ["--name=abc", "--listen-peer-urls=http://0.0.0.0:12380"];
    let settings = settings(&args, &[], "");
    assert_eq!(url::join(&settings.urls.advertise_peer), "http://192.0.2.7:12380");
    assert_eq!(settings.bootstrap.initial_cluster, "abc=http://192.0.2.7:12380");
    assert_eq!(url::join(&settings.urls.advertise_client), "http://localhost:2379");
}

#[test]
fn an_election_timeout_counts_in_whole_heartbeats() {
    let settings = settings(&["--heartbeat-interval=300", "--election-timeout=2000"], &[], "");
    assert_eq!(settings.raft.election_timeout(), Duration::from_millis(1800));
}

#[test]
fn a_peer_is_silent_for_an_election_timeout_at_most_and_never_beyond_the_limits() {
    let silence = |args: &[&str]| settings(args, &[], "").raft.peer_silence();
    assert_eq!(silence(&[]), Duration::from_secs(1));
    assert_eq!(silence(&["--election-timeout=20000"]), Duration::from_millis(2500));
    assert_eq!(silence(&["--election-timeout=20000", "--raft-read-timeout=10s"]), Duration::from_millis(2500));
    let both = ["--election-timeout=20000", "--raft-read-timeout=10s", "--raft-write-timeout=1h"];
    assert_eq!(silence(&both), Duration::from_secs(5));
}

#[test]
fn small_values_are_raised_and_zeros_are_defaults() {
    let args = ["--raft-read-timeout=1s", "--watch-progress-notify-interval=1ms", "--snapshot-count=0"];
    let (result, report) = loaded(&args, &[], "");
    let Ok(Loaded::Run(settings)) = result else { panic!("{result:?}") };
    assert_eq!(settings.raft.peer_read_timeout, Duration::from_secs(5));
    assert_eq!(settings.watch.progress_notify_interval, Duration::from_millis(100));
    assert_eq!(settings.raft.snapshot_count, 10_000);
    let raised = report
        .notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Raised { .. } | Notice::ZeroMeansDefault { .. }));
    assert_eq!(raised.count(), 3);
}

#[test]
fn a_file_beats_flags_and_environment() {
    let env = [("ETCD_NAME", "env"), ("ETCD_CONFIG_FILE", "/etc/etcd.yml")];
    let file = "name: file\nlisten-client-urls: http://127.0.0.1:9\n";
    let settings = settings(&["--name=flag"], &env, file);
    assert_eq!(settings.member.name, "file");
    assert_eq!(url::join(&settings.urls.advertise_client), "http://localhost:2379", "the file may leave it out");
}

#[test]
fn a_missing_file_is_an_error() {
    let error = loaded(&["--config-file=/nope"], &[], "").0.unwrap_err();
    assert_eq!(error.to_string(), "open /nope: no such file or directory");
}

#[test]
fn the_log_of_an_error_is_the_one_asked_for() {
    let (result, report) = loaded(&["--log-format=console", "--election-timeout=0"], &[], "");
    assert!(result.is_err());
    assert_eq!(report.log.format, LogFormat::Console);
}

#[test]
fn older_names_and_flags_without_effect_are_noted() {
    let gates = "--feature-gates=TxnModeWriteWithSharedBuffer=false,LeaseCheckpoint=true";
    let args =
        ["--experimental-compaction-batch-limit=2", "--max-snapshots=1", "--v2-deprecation=gone", "--snapshot", gates];
    let (result, report) = loaded(&args, &[], "");
    assert!(result.is_ok());
    let notices = report.notices;
    let (given, instead) = ("experimental-compaction-batch-limit", "--compaction-batch-limit".to_owned());
    assert!(notices.contains(&Notice::OlderName { given, instead }));
    assert!(notices.contains(&Notice::IgnoredByEtcd { flag: "snapshot" }));
    assert_eq!(notices.iter().filter(|notice| matches!(notice, Notice::Deprecated { .. })).count(), 2);
    let without_effect = notices.iter().filter_map(|notice| match notice {
        Notice::NoEffect { flag, .. } => Some(flag.as_str()),
        _ => None,
    });
    let wanted = ["max-snapshots", "v2-deprecation", "feature-gates TxnModeWriteWithSharedBuffer"];
    assert_eq!(without_effect.collect::<Vec<_>>(), wanted);
}

#[test]
fn what_is_said_of_tls_must_fit_together() {
    let client = "--listen-client-urls=https://127.0.0.1:1,http://127.0.0.1:2";
    let advertised = "--advertise-client-urls=https://127.0.0.1:1";
    for (args, said) in [
        (
            &[client, advertised][..],
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
        (
            &["--listen-peer-urls=https://127.0.0.1:1"],
            "cannot listen on TLS for 127.0.0.1:1: KeyFile and CertFile are not presented",
        ),
        (
            &["--listen-metrics-urls=https://127.0.0.1:1"],
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
        ),
        (&["--peer-cert-file=a"], "KeyFile and CertFile must both be present[key: , cert: a]"),
        (
            &["--peer-client-key-file=a"],
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: a, cert: ]",
        ),
        (
            &["--peer-cert-allowed-cn=a,b", "--peer-cert-allowed-hostname=c"],
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\", \"b\"], hostnames=[\"c\"])",
        ),
        (&["--cipher-suites=rot13"], "unexpected TLS cipher suite \"rot13\""),
        (
            &[
                "--listen-client-urls=http://localhost:1",
                "--advertise-client-urls=http://localhost:1",
                "--listen-client-http-urls=http://127.0.0.1:1",
            ],
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url http://127.0.0.1:1",
        ),
    ] {
        assert_eq!(loaded(args, &[], "").0.unwrap_err().to_string(), said);
    }
    assert!(loaded(&["--cert-file=a"], &[], "").0.is_ok(), "nobody is shown it");
    assert!(loaded(&[client, advertised, "--auto-tls"], &[], "").0.is_ok());
    assert!(loaded(&["--listen-peer-urls=unixs://localhost:1", "--peer-auto-tls"], &[], "").0.is_ok());
}
