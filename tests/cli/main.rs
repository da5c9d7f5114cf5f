//! The server's command line from outside: exit codes, what is said and where. The expectations were recorded from
//! etcd 3.7.3; with `KEELSTONE_ETCD` naming such a binary, it has to meet them too.

mod cases;
mod man;
mod process;

use keelstone_harness::free_port;
use process::{Ended, Program};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

/// Our binary by the name of etcd, and etcd itself if we are told where it is.
fn programs() -> Vec<Program> {
    let ours = Program { name: "ours", path: env!("CARGO_BIN_EXE_keelstone").into(), first: Some("server") };
    let theirs = std::env::var_os("KEELSTONE_ETCD").map(PathBuf::from);
    let theirs = theirs.map(|path| Program { name: "etcd", path, first: None });
    std::iter::once(ours).chain(theirs).collect()
}

fn ours() -> Program {
    programs().remove(0)
}

/// The start is over. etcd says "ready to serve client requests" before: until a little after it does not catch signals,
/// and one ends it without a word.
const STARTED: &str = "successfully notified init daemon";

/// A member on free ports, with a name so that no warning is due.
fn member_args(dir: &std::path::Path) -> Vec<String> {
    let [client, peer] = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port()));
    [
        ("name", "m1"),
        ("data-dir", dir.join("data").to_str().unwrap()),
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &peer),
        ("initial-advertise-peer-urls", &peer),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .into()
}

#[test]
fn a_refused_command_line_says_why_and_ends_as_etcd_does() {
    for case in cases::REFUSED {
        for program in programs() {
            if case.ours_only && program.name != "ours" {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("c.yml"), case.file).unwrap();
            let ended = program.run(dir.path(), case.args, case.env);
            let context = format!("{} {:?} {:?} {:?}: {ended:?}", program.name, case.env, case.args, case.file);
            assert_eq!(ended.status.code(), Some(case.code), "{context}");
            assert_eq!(ended.stdout, "", "{context}");
            let said = said(&ended);
            assert!(said.iter().any(|said| said == case.says), "no {:?} in {said:?}\n{context}", case.says);
            assert!(!dir.path().join("default.etcd").exists(), "{context}");
        }
    }
}

/// Everything that was said: plain lines, messages and errors of log lines.
fn said(ended: &Ended) -> Vec<String> {
    let mut said = Vec::new();
    for line in ended.stderr.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(members)) => {
                let texts = ["msg", "error"].iter().filter_map(|key| members.get(*key)?.as_str());
                said.extend(texts.map(str::to_owned));
            }
            _ => said.push(line.to_owned()),
        }
    }
    said
}

#[test]
fn a_usage_error_shows_the_usage_and_help_goes_to_stdout() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        let ended = program.run(dir.path(), &["--nope"], &[]);
        assert!(ended.stderr.starts_with("flag provided but not defined: -nope\nUsage:\n\n  etcd [flags]\n"));
        for args in [&["--help"][..], &["-h"], &["--name", "x", "-help", "--nope"]] {
            let ended = program.run(dir.path(), args, &[]);
            assert_eq!(ended.status.code(), Some(0), "{} {args:?}", program.name);
            assert!(ended.stderr.starts_with("Usage:"), "{}", ended.stderr);
            for flag in ["--name 'default'", "--data-dir '", "--snapshot-count '10000'", "--feature-gates ''"] {
                assert!(ended.stdout.contains(flag), "{} {flag}", program.name);
            }
        }
    }
}

#[test]
fn the_version_has_etcds_four_lines() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        // It is printed before anything else is checked.
        let ended = program.run(dir.path(), &["--version", "--election-timeout=0"], &[("ETCD_NAME", "x")]);
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{}", program.name);
        let lines: Vec<_> = ended.stdout.lines().collect();
        let keys: Vec<_> = lines.iter().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        assert_eq!(keys, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
        assert_eq!(lines[0], "etcd Version: 3.7.3");
    }
}

#[test]
fn the_name_of_the_program_picks_the_face() {
    let dir = tempfile::tempdir().unwrap();
    for (link, args, code, says) in [
        ("etcd", &["--version"][..], 0, "etcd Version: 3.7.3"),
        ("etcdctl", &["version"], 0, "etcdctl version: 3.7.3"),
        ("etcdutl", &["version"], 0, "etcdutl version: 3.7.3\nAPI version: 3.7\n"),
        ("etcdutl", &["defrag"], 1, "Error: required flag(s) \"data-dir\" not set"),
        ("etcdutl", &["completion"], 1, "Error: accepts 1 arg(s), received 0"),
        ("etcdutl", &["completion", "tcsh"], 1, "Error: invalid argument \"tcsh\" for \"etcdutl completion\""),
        ("etcdutl", &["snapshot", "restore", "/nowhere"], 1, "Error: open /nowhere: no such file or directory"),
        ("keelstone", &["ctl", "get"], 128, "Error: get command needs one argument as key"),
        ("keelstone", &["server", "grpc-proxy", "start"], 4, "grpc-proxy is not part of Keelstone"),
        ("keelstone", &["gateway", "start"], 4, "or put any TCP load balancer in front of them"),
        ("etcd", &["gateway", "start"], 4, "gateway is not part of Keelstone"),
        ("keelstone", &["--version"], 0, "(behaves as etcd 3.7.3)"),
        ("keelstone", &["serve"], 2, "keelstone server [flags]"),
        ("keelstone", &[], 2, "keelstone server [flags]"),
    ] {
        let path = dir.path().join(link);
        if !path.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keelstone"), &path).unwrap();
        }
        let ended = Program { name: link, path, first: None }.run(dir.path(), args, &[]);
        assert_eq!(ended.status.code(), Some(code), "{link} {args:?}");
        let text = ended.stdout.clone() + &ended.stderr;
        assert!(text.contains(says), "{link} {args:?}: {text}");
    }
}

#[test]
fn bash_completes_every_command_of_the_offline_tool() {
    let dir = tempfile::tempdir().unwrap();
    let utl = dir.path().join("etcdutl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keelstone"), &utl).unwrap();
    let etcdutl = Program { name: "etcdutl", path: utl, first: None };
    let script = etcdutl.run(dir.path(), &["completion", "bash"], &[]).stdout;
    let bash = Program { name: "bash", path: "bash".into(), first: Some("-c") };
    let offered = |line: &str| {
        let count = line.split(' ').count();
        let ask = format!("{script}\nCOMP_WORDS=({line} '')\nCOMP_CWORD={count}\n_etcdutl\necho \"${{COMPREPLY[@]}}\"");
        bash.run(dir.path(), &[ask], &[]).stdout
    };
    let help = etcdutl.run(dir.path(), &["--help"], &[]).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let first: Vec<&str> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    for name in &first {
        assert!(offered("etcdutl").split_whitespace().any(|word| word == *name), "{name}");
    }
    assert!(first.contains(&"preflight"));
    assert_eq!(offered("etcdutl snapshot"), "restore status\n");
    // Then come its words, which are files.
    assert_eq!(offered("etcdutl preflight"), "etcdutl\n");
}

#[test]
fn a_signal_ends_the_server_by_the_same_signal() {
    for program in programs() {
        for (signal, number, word) in
            [(rustix::process::Signal::TERM, 15, "terminated"), (rustix::process::Signal::INT, 2, "interrupt")]
        {
            let dir = tempfile::tempdir().unwrap();
            let mut server = program.start(dir.path(), &member_args(dir.path()), &[]);
            server.wait_for(STARTED);
            server.signal(signal);
            let ended = server.wait();
            assert_eq!(ended.status.signal(), Some(number), "{} {ended:?}", program.name);
            let line = ended.stderr.lines().find(|line| line.contains("received signal; shutting down")).unwrap();
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["signal"], word);
        }
    }
}

#[test]
fn every_line_of_a_start_is_json_with_etcds_keys_and_none_is_an_error() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = member_args(dir.path());
        args.push("--log-level=debug".to_owned());
        let mut server = program.start(dir.path(), &args, &[]);
        server.wait_for(STARTED);
        server.signal(rustix::process::Signal::TERM);
        let ended = server.wait();
        let mut messages = Vec::new();
        // etcd reports its own listeners as failed when it stops.
        let start = ended.stderr.lines().take_while(|line| !line.contains("received signal; shutting down"));
        for line in start {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for key in ["level", "ts", "caller", "msg"] {
                assert!(value[key].is_string(), "{key} in {line}");
            }
            assert!(!["error", "fatal", "panic"].contains(&value["level"].as_str().unwrap()), "{line}");
            let ts = value["ts"].as_str().unwrap();
            assert!(ts.len() >= 27 && &ts[10..11] == "T" && &ts[19..20] == ".", "{ts}");
            messages.push((value["msg"].as_str().unwrap().to_owned(), value));
        }
        let (_, running) = messages.iter().find(|(message, _)| message == "Running: ").unwrap();
        assert!(running["args"].as_array().unwrap().iter().any(|arg| arg == "--log-level=debug"));
        let (_, start) = messages.iter().find(|(message, _)| message == "Initialize and start etcd server").unwrap();
        assert_eq!(start["dir-type"], "empty");
    }
}

#[test]
fn logs_go_where_they_are_sent_in_the_form_asked_for() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        let args = ["--log-outputs=stdout,a.log", "--log-format=console", "--election-timeout=0"];
        let ended = program.run(dir.path(), &args, &[]);
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(1), ""), "{}", program.name);
        assert_eq!(std::fs::read_to_string(dir.path().join("a.log")).unwrap(), ended.stdout);
        let line = ended.stdout.lines().find(|line| line.contains("failed to verify flags")).unwrap();
        let columns: Vec<_> = line.split('\t').collect();
        assert_eq!((columns[1], columns[3]), ("warn", "failed to verify flags"));
        assert_eq!(columns[4], "{\"error\": \"--election-timeout must be >0 (set to 0ms)\"}");
    }
}

#[test]
fn a_full_log_file_is_put_aside() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        let before = "before\n".repeat((1 << 20) / 7);
        std::fs::write(dir.path().join("a.log"), &before).unwrap();
        let rules = "--log-rotation-config-json={\"maxsize\": 1}";
        let args = ["--log-outputs=a.log", "--enable-log-rotation", rules, "--election-timeout=0"];
        let ended = program.run(dir.path(), &args, &[]);
        assert_eq!(ended.status.code(), Some(1), "{}: {ended:?}", program.name);
        let aside = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> =
            aside.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("a-2")).collect();
        assert_eq!(aside.len(), 1, "{}", program.name);
        assert_eq!(std::fs::read_to_string(&aside[0]).unwrap(), before, "{}", program.name);
        let text = std::fs::read_to_string(dir.path().join("a.log")).unwrap();
        assert!(text.contains("failed to verify flags") && !text.contains("before"), "{}: {text}", program.name);
    }
}

#[test]
fn systemd_is_told_once_the_server_is_ready() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let env = [("NOTIFY_SOCKET", path.to_str().unwrap())];
        let mut server = program.start(dir.path(), &member_args(dir.path()), &env);
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap().trim(), "READY=1", "{}", program.name);
        server.wait_for(STARTED);
        server.signal(rustix::process::Signal::TERM);
        server.wait();
    }
}

#[test]
fn variables_and_a_file_configure_as_flags_do() {
    for program in programs() {
        let dir = tempfile::tempdir().unwrap();
        let args = member_args(dir.path());
        let env: Vec<(String, String)> = args
            .iter()
            .filter_map(|arg| arg.strip_prefix("--")?.split_once('='))
            .map(|(flag, value)| (format!("ETCD_{}", flag.to_uppercase().replace('-', "_")), value.to_owned()))
            .collect();
        let mut env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        env.push(("ETCD_UNSUPPORTED_ARCH", "amd64"));
        let mut server = program.start::<&str>(dir.path(), &[], &env);
        server.wait_for(STARTED);
        server.signal(rustix::process::Signal::TERM);
        let ended = server.wait();
        assert!(ended.stderr.contains("recognized and used environment variable"), "{}", program.name);
        assert!(ended.stderr.contains("unrecognized environment variable"), "{}", program.name);

        let file: String = args.iter().map(|arg| arg.trim_start_matches('-').replacen('=', ": ", 1) + "\n").collect();
        std::fs::write(dir.path().join("c.yml"), file + "unknown-key: 1\n").unwrap();
        let args = ["--config-file=c.yml".to_owned(), "--name=ignored".to_owned()];
        let mut server = program.start(dir.path(), &args, &[("ETCD_NAME", "ignored too")]);
        server.wait_for(STARTED);
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait().stderr.contains("loaded server configuration, other configuration command line flags"));
    }
}

#[test]
fn older_names_warn_and_work() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--experimental-initial-corrupt-check=false",
        "--experimental-compaction-batch-limit=0x2",
        "--election-timeout=0",
    ];
    let ended = ours().run(dir.path(), &args, &[]);
    let errors = said(&ended);
    assert!(errors.iter().any(|error| error == "--election-timeout must be >0 (set to 0ms)"), "{errors:?}");
}

/// The connection is one of HTTP/2 whose other end does not answer pings. With this election timeout alone it would be
/// given up after 100 s.
#[test]
fn a_peer_connection_that_is_silent_for_the_read_timeout_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = member_args(dir.path());
    args.extend(["--election-timeout=50000", "--raft-read-timeout=5s", "--raft-write-timeout=1m"].map(str::to_owned));
    let peer = args.iter().find_map(|arg| arg.strip_prefix("--listen-peer-urls=http://")).unwrap().to_owned();
    let mut server = ours().start(dir.path(), &args, &[]);
    server.wait_for(STARTED);
    let mut connection = TcpStream::connect(peer).unwrap();
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    connection.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &empty_settings[..]].concat()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut said = Vec::new();
    connection.read_to_end(&mut said).expect("the end, long before the deadline");
    assert!(!said.is_empty(), "it was a connection of HTTP/2");
}
