//! Command lines that are refused: exit code and the one line that says why, recorded from etcd 3.7.3.

/// One command line with what is around it.
pub struct Case {
    pub args: &'static [&'static str],
    pub env: &'static [(&'static str, &'static str)],
    /// What `c.yml` holds.
    pub file: &'static str,
    pub code: i32,
    /// A plain line of stderr, or the message or error of a log line.
    pub says: &'static str,
    pub ours_only: bool,
}

const fn flags(args: &'static [&'static str], code: i32, says: &'static str) -> Case {
    Case { args, env: &[], file: "", code, says, ours_only: false }
}

const fn env(env: &'static [(&'static str, &'static str)], args: &'static [&'static str], says: &'static str) -> Case {
    Case { args, env, file: "", code: 1, says, ours_only: false }
}

const fn file(file: &'static str, says: &'static str) -> Case {
    Case { args: &["--config-file=c.yml"], env: &[], file, code: 1, says, ours_only: false }
}

const fn ours(args: &'static [&'static str], says: &'static str) -> Case {
    Case { args, env: &[], file: "", code: 1, says, ours_only: true }
}

#[rustfmt::skip]
pub const REFUSED: &[Case] = &[
    flags(&["--nope"], 2, "flag provided but not defined: -nope"),
    flags(&["--experimental-nope"], 2, "flag provided but not defined: -experimental-nope"),
    flags(&["--discovery=http://a"], 2, "flag provided but not defined: -discovery"),
    flags(&["---x"], 2, "bad flag syntax: ---x"),
    flags(&["-=x"], 2, "bad flag syntax: -=x"),
    flags(&["--name"], 2, "flag needs an argument: -name"),
    flags(&["--pre-vote=maybe"], 2, "invalid boolean value \"maybe\" for -pre-vote: parse error"),
    flags(&["--heartbeat-interval", "x"], 2, "invalid value \"x\" for flag -heartbeat-interval: parse error"),
    flags(&["--heartbeat-interval", "-1"], 2, "invalid value \"-1\" for flag -heartbeat-interval: parse error"),
    flags(&["--heartbeat-interval=99999999999999999999"], 2, "invalid value \"99999999999999999999\" for flag -heartbeat-interval: value out of range"),
    flags(&["--max-concurrent-streams=4294967296"], 2, "invalid value \"4294967296\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"4294967296\": value out of range"),
    flags(&["--backend-batch-interval=5"], 2, "invalid value \"5\" for flag -backend-batch-interval: parse error"),
    flags(&["--listen-peer-urls=foo"], 2, "invalid value \"foo\" for flag -listen-peer-urls: URL scheme must be http, https, unix, or unixs: foo"),
    flags(&["--listen-peer-urls=http://a"], 2, "invalid value \"http://a\" for flag -listen-peer-urls: URL address does not have the form \"host:port\": http://a"),
    flags(&["--listen-peer-urls=http://a:1/x"], 2, "invalid value \"http://a:1/x\" for flag -listen-peer-urls: URL must not contain a path: http://a:1/x"),
    flags(&["--listen-peer-urls=http://a b:1"], 2, "invalid value \"http://a b:1\" for flag -listen-peer-urls: parse \"http://a b:1\": invalid character \" \" in host name"),
    flags(&["--initial-cluster-state=foo"], 2, "invalid value \"foo\" for flag -initial-cluster-state: invalid value"),
    flags(&["--v2-deprecation=foo"], 2, "invalid value \"foo\" for flag -v2-deprecation: invalid value \"foo\""),
    flags(&["--feature-gates=foo=true"], 2, "invalid value \"foo=true\" for flag -feature-gates: unrecognized feature gate: foo"),
    flags(&["--feature-gates=LeaseCheckpoint"], 2, "invalid value \"LeaseCheckpoint\" for flag -feature-gates: missing bool value for LeaseCheckpoint"),
    flags(&["--log-level=foo"], 2, "panic: unrecognized level: \"foo\""),
    flags(&["stray"], 1, "\"stray\" is not a valid flag"),
    flags(&["--", "stray"], 1, "\"stray\" is not a valid flag"),
    flags(&["--pre-vote", "false"], 1, "\"false\" is not a valid flag"),
    flags(&["--version", "stray"], 1, "\"stray\" is not a valid flag"),
    flags(&["--listen-peer-urls=http://a:1"], 1, "expected IP in URL for binding (http://a:1)"),
    flags(&["--discovery-fallback=proxy"], 1, "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\""),
    flags(&["--log-format=foo"], 1, "unknown log format: foo, supported values json, console"),
    flags(&["--logger=foo"], 1, "unknown logger option \"foo\""),
    flags(&["--logger=capnslog"], 1, "--logger=capnslog is removed in v3.5"),
    flags(&["--log-outputs=default,stderr"], 1, "multi logoutput for \"default\" is not supported yet"),
    flags(&["--log-outputs=/nope/x"], 1, "open sink \"/nope/x\": open /nope/x: no such file or directory"),
    flags(&["--log-outputs=foo://x"], 1, "open sink \"foo://x\": no sink found for scheme \"foo\""),
    flags(&["--heartbeat-interval=0"], 1, "--heartbeat-interval must be >0 (set to 0ms)"),
    flags(&["--election-timeout=0"], 1, "--election-timeout must be >0 (set to 0ms)"),
    flags(&["--election-timeout=400"], 1, "--election-timeout[400ms] should be at least as 5 times as --heartbeat-interval[100ms]"),
    flags(&["--election-timeout=50001"], 1, "--election-timeout[50001ms] is too long, and should be set less than 50000ms"),
    flags(&["--listen-client-urls=http://127.0.0.1:1"], 1, "--advertise-client-urls is required when --listen-client-urls is set explicitly"),
    flags(&["--advertise-client-urls=http://:2379"], 1, "--advertise-client-urls \"http://:2379\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" (unexpected empty host (http://:2379))"),
    flags(&["--discovery-token=x"], 1, "both --discovery-token and --discovery-endpoints must be set"),
    flags(&["--discovery-srv=x", "--initial-cluster=default=http://localhost:2380"], 1, "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\""),
    flags(&["--auto-compaction-mode=foo"], 1, "unknown auto-compaction-mode \"foo\""),
    flags(&["--auto-compaction-retention=foo"], 1, "error parsing CompactionRetention: time: invalid duration \"foo\""),
    flags(&["--compact-hash-check-time=0"], 1, "--compact-hash-check-time must be >0 (set to 0s)"),
    flags(&["--tls-min-version=foo"], 1, "unexpected TLS version \"foo\" (must be one of: TLS1.2, TLS1.3)"),
    flags(&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], 1, "min version (TLS1.3) is greater than max version (TLS1.2)"),
    flags(&["--feature-gates=LeaseCheckpointPersist=true"], 1, "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"),
    flags(&["--config-file=/nope"], 1, "open /nope: no such file or directory"),

    env(&[("ETCD_NAME", "foo")], &["--name=bar"], "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))"),
    env(&[("ETCD_NAME", "")], &["--name=bar"], "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))"),
    env(&[("ETCD_HEARTBEAT_INTERVAL", "foo"), ("ETCD_PRE_VOTE", "foo")], &[], "invalid value \"foo\" for ETCD_PRE_VOTE: parse error"),
    env(&[("ETCD_ELECTION_TIMEOUT", "0"), ("ETCD_FOO", "bar")], &[], "unrecognized environment variable"),
    env(&[("ETCD_VERSION", "3"), ("ETCD_ELECTION_TIMEOUT", "0")], &[], "cannot set special environment variable"),
    env(&[("ETCD_CONFIG_FILE", "/nope")], &["--name=x"], "open /nope: no such file or directory"),

    file("election-timeout: 0\nunknown: [1, {a: b}]\n", "--election-timeout must be >0 (set to 0ms)"),
    file("{\"election-timeout\":0}", "--election-timeout must be >0 (set to 0ms)"),
    file("name: a\nname: b\nNAME: c\nelection-timeout: 0\n", "--election-timeout must be >0 (set to 0ms)"),
    file("pre-vote: yes\nwal-dir:\nelection-timeout: 0\n", "--election-timeout must be >0 (set to 0ms)"),
    file("heartbeat-interval: \"100\"", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go struct field configYAML.Config.heartbeat-interval of type uint"),
    file("heartbeat-interval: 100.5", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number 100.5 into Go struct field configYAML.Config.heartbeat-interval of type uint"),
    file("name: 12", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number into Go struct field configYAML.Config.name of type string"),
    file("pre-vote: maybe", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go struct field configYAML.Config.pre-vote of type bool"),
    file("log-outputs: stderr", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go struct field configYAML.Config.log-outputs of type []string"),
    file("watch-progress-notify-interval: 10m", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go struct field configYAML.Config.watch-progress-notify-interval of type time.Duration"),
    file("client-transport-security: {cert-file: 1}", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number into Go struct field securityConfig.configJSON.client-transport-security.cert-file of type string"),
    file("listen-peer-urls: [a]", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go struct field configYAML.configJSON.listen-peer-urls of type string"),
    file("socket-options: {reuse-port: 1}", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number into Go struct field SocketOpts.Config.socket-options.reuse-port of type bool"),
    file("discovery-config: {client: {secure: 1}}", "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number into Go struct field ConfigSpec.Config.discovery-config.client.secure of type clientv3.SecureConfig"),
    file("listen-peer-urls: foo", "unexpected error setting up listen-peer-urls: URL scheme must be http, https, unix, or unixs: foo"),
    file("feature-gates: foo=true", "unrecognized feature gate: foo"),
    file("initial-cluster-state: foo", "unexpected clusterState \"foo\""),

    ours(&["--backup-schedule=@daily"], "--backup-schedule needs a --backup-dir"),
    ours(&["--backup-dir=backups"], "--backup-dir: \"backups\" has no scheme; a local directory is file:///path"),
    ours(&["--backup-dir=file:///x", "--backup-retention=weeks=4"], "--backup-retention: \"weeks=4\" is no rule: count=N, age=DURATION, hourly=N, daily=N, weekly=N, monthly=N, separated by commas, or all"),

    ours(&["--unsafe-no-fsync"], "--unsafe-no-fsync is not built yet in Keelstone: it belongs to running without fsync. Leave it at its default (false)"),
    ours(&["--memory-mlock"], "--memory-mlock is not built yet in Keelstone: it belongs to memory locking. Leave it at its default (false)"),
    ours(&["--peer-cert-file=x"], "KeyFile and CertFile must both be present[key: , cert: x]"),
    ours(&["--corrupt-check-time=-1s"], "--corrupt-check-time must be >=0 (set to -1s)"),
];
