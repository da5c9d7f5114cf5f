//! Command lines, environments and files: an error with a text, or settings. Settings are the same a second time; what a
//! command line set prints as a command line that sets the same.

use crate::engine::{Target, Verdict, run};
use keelstone::cluster::InitialCluster;
use keelstone::config::args::{self, Request};
use keelstone::config::table::{FLAGS, Section, State};
use keelstone::config::values::Values;
use keelstone::config::{LoadError, Loaded, Report, Settings, Surroundings, load};
use keelstone_harness::Random;
use prost::Message;
use std::time::Duration;

#[derive(Clone, PartialEq, Message)]
struct Words {
    #[prost(string, repeated, tag = "1")]
    args: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    env: Vec<Variable>,
    /// Read if `--config-file` names one, whatever its path.
    #[prost(string, optional, tag = "3")]
    file: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Variable {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// A century is longer than any member lives, so whatever adds times to now goes on well.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn loaded(words: &Words) -> (Result<Loaded, LoadError>, Report) {
    let surroundings = Surroundings {
        env: words.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
        read_file: &|_| words.file.clone().ok_or_else(|| std::io::Error::from_raw_os_error(2)),
        default_host: &|| Ok("192.0.2.7".to_owned()),
    };
    let mut report = Report::default();
    let loaded = load(&words.args, &surroundings, &mut report);
    (loaded, report)
}

fn check(input: &[u8]) -> Verdict {
    let Ok(words) = Words::decode(input) else { return Ok("no words".to_owned()) };
    let (first, report) = loaded(&words);
    let again = loaded(&words);
    if format!("{first:?} {report:?}") != format!("{:?} {:?}", again.0, again.1) {
        return Err(format!("not the same twice: {first:?} {again:?}"));
    }
    print_and_parse(&words.args)?;
    match first {
        Ok(Loaded::Run(settings)) => consequences(&settings),
        Ok(other) => Ok(format!("{other:?}")),
        Err(error) if error.to_string().is_empty() => Err(format!("refused without a word: {error:?}")),
        Err(error) => Ok(format!("{error:?}").split(['{', '"']).next().unwrap_or_default().to_owned()),
    }
}

/// What the server makes of settings before it opens a port.
fn consequences(settings: &Settings) -> Verdict {
    let raft = &settings.raft;
    let times = [raft.election_timeout(), raft.peer_read_timeout, raft.peer_write_timeout];
    if let Some(time) = times.iter().find(|time| **time > CENTURY) {
        return Err(format!("a time of {time:?}"));
    }
    let members = InitialCluster::parse(&settings.bootstrap.initial_cluster)
        .and_then(|cluster| cluster.members(&settings.bootstrap.token));
    let resolve = |url: &keelstone::config::Url| Ok(url.clone());
    let bootstrap = settings.bootstrap.members(&settings.member.name, &settings.urls.advertise_peer, &resolve);
    // The two read the same text, one for Raft and one for the operator.
    if let (Ok(bootstrap), Err(error)) = (&bootstrap, &members) {
        return Err(format!("the initial cluster is {bootstrap:?} and also refused: {error}"));
    }
    Ok(format!("settings, {} members, {:?}", members.is_ok(), bootstrap.is_ok()))
}

fn print_and_parse(words: &[String]) -> Result<(), String> {
    let Ok(Request::Run(values)) = args::parse(words) else { return Ok(()) };
    let printed: Vec<String> = FLAGS
        .iter()
        .filter(|flag| values.is_set(flag.name) && !matches!(flag.state, State::Alias(_) | State::SetsGate(_)))
        .map(|flag| format!("--{}={}", flag.name, values.get(flag.name).print()))
        .collect();
    let Ok(Request::Run(again)) = args::parse(&printed) else {
        return Err(format!("what was set cannot be set again: {printed:?}"));
    };
    let all = |values: &Values| {
        let own = FLAGS.iter().filter(|flag| !matches!(flag.state, State::Alias(_) | State::SetsGate(_)));
        own.map(|flag| format!("{}={}", flag.name, values.get(flag.name).print())).collect::<Vec<_>>()
    };
    if all(&values) == all(&again) { Ok(()) } else { Err(format!("{printed:?} sets something else")) }
}

const TEXTS: [&str; 44] = [
    "",
    "0",
    "1",
    "-1",
    "5",
    "true",
    "F",
    "maybe",
    "0x10",
    "017",
    "1_000",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "5s",
    "-5s",
    "0s",
    "1.5h",
    "2562047h47m16.854775807s",
    "-2562047h",
    "100ms",
    "1e9",
    "http://127.0.0.1:1",
    "https://[::1]:2",
    "http://a:1,http://b:2",
    "unix:///x",
    "http://[::1%25lo]:1",
    "http://0.0.0.0:2379",
    "http://:1",
    "http://a b:1",
    "://",
    "a=http://127.0.0.1:2380",
    "a=http://x:1,b=http://x:1",
    "default=http://localhost:2380",
    "new",
    "existing",
    "stderr,/dev/null",
    "AllAlpha=true,AllBeta=false",
    "LeaseCheckpoint=true",
    "revision",
    "TLS1.3",
    "ü\u{2028}\u{0}",
    ",,=,",
];

fn generate(random: &mut Random) -> Vec<u8> {
    let text = |random: &mut Random| (*random.pick(&TEXTS)).to_owned();
    let known: Vec<_> = FLAGS.iter().filter(|flag| flag.section != Section::FileOnly).collect();
    let flag = |random: &mut Random| {
        let dashes = if random.chance(80) { "--" } else { "-" };
        format!("{dashes}{}={}", random.pick(&known).name, text(random))
    };
    let from_file = random.chance(35);
    let mut args: Vec<String> = (0..random.below(5)).map(|_| flag(random)).collect();
    if from_file {
        args.push("--config-file=x".to_owned());
    }
    let env =
        (0..random.below(3)).map(|_| Variable { name: random.pick(&known).env_name(), value: text(random) }).collect();
    let file = from_file.then(|| (0..random.below(6)).map(|_| line(random)).collect());
    Words { args, env, file }.encode_to_vec()
}

/// A line of YAML.
fn line(random: &mut Random) -> String {
    let flag = random.pick(FLAGS);
    let path = flag.path().unwrap_or_else(|| vec![flag.name]);
    let text = *random.pick(&TEXTS);
    let value = match random.below(7) {
        0 => format!("[{text}]"),
        1 => format!("{text:?}"),
        2 => format!("{{a: {text}}}"),
        3 => format!("!tag {text}"),
        4 => String::from("~"),
        _ => text.to_owned(),
    };
    match path.as_slice() {
        [key] => format!("{key}: {value}\n"),
        keys => format!("{}: {value}{}\n", keys.join(": {"), "}".repeat(keys.len() - 1)),
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let args = |args: &[&str]| Words { args: args.iter().map(|&arg| arg.to_owned()).collect(), ..Words::default() };
    let file = |text: &str| Words { file: Some(text.to_owned()), ..args(&["--config-file", "x"]) };
    let variable = |name: &str, value: &str| Variable { name: name.to_owned(), value: value.to_owned() };
    let three = "m1=http://127.0.0.1:2380,m2=http://127.0.0.1:12380,m3=http://127.0.0.1:22380";
    [
        ("nothing", args(&[])),
        (
            "member-of-three",
            args(&[
                "--name=m1",
                "--initial-cluster",
                three,
                "--listen-client-urls=http://0.0.0.0:2379",
                "--advertise-client-urls=http://10.0.0.1:2379",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "-heartbeat-interval",
                "50",
                "--election-timeout=500",
                "--grpc-keepalive-interval=1h0m0s",
                "--feature-gates=LeaseCheckpoint=true",
                "--log-outputs=stderr",
            ]),
        ),
        (
            "environment",
            Words {
                env: vec![variable("ETCD_NAME", "x"), variable("ETCD_SNAPSHOT_COUNT", "7"), variable("ETCD_NOPE", "1")],
                ..args(&["--max-txn-ops=5"])
            },
        ),
        (
            "file-yaml",
            file(
                "name: n1\nheartbeat-interval: 200\nlisten-peer-urls: http://127.0.0.1:2,http://127.0.0.1:1\n\
                 log-outputs: [stderr, /x]\nsocket-options: {reuse-port: false}\n\
                 client-transport-security: {cert-file: '', allowed-cn: []}\n",
            ),
        ),
        ("file-json", file("{\"name\":\"foo\",\"election-timeout\":2e3,\"pre-vote\":true}")),
        ("file-anchors", file("a: &a [1, 2]\nb: [*a, *a]\nname: &n x\ndata-dir: *n\n")),
        ("older-names", args(&["--experimental-max-learners=3", "--experimental-initial-corrupt-check=false"])),
        ("refused", args(&["--advertise-client-urls=http://:2379", "--nope"])),
    ]
    .map(|(name, words)| (name.to_owned(), words.encode_to_vec()))
    .to_vec()
}

#[test]
fn config_is_settings_or_an_error() {
    run(&mut Target { name: "config", check: &mut check, generate: &generate, seeds: &seeds });
}
