//! Ours and the official etcdctl reach a member behind TLS, by the same flags, and over unix sockets.

use crate::certs::{Authority, LOCAL, Pair};
use crate::{folder, suite};
use keelstone_harness::{Cluster, ClusterSpec, free_port, tools, wait};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A program and the words before the command.
type Program = (PathBuf, &'static [&'static str]);

fn programs(test: &str) -> Vec<Program> {
    let ours: Program = (env!("CARGO_BIN_EXE_keelstone").into(), &["ctl"]);
    let official = [5, 7].into_iter().filter_map(|minor| tools::etcdctl(minor, test)).map(|path| (path, &[][..]));
    [ours].into_iter().chain(official).collect()
}

/// Exit code and all that was printed.
fn run((program, before): &Program, folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program).args(*before).args(words).current_dir(folder).output().expect("run etcdctl");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

async fn start(port: u16, urls: &str, authority: &Authority, pair: &Pair) -> Cluster {
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) };
    let spec = spec.with_flags(&[
        &format!("--listen-client-urls={urls}"),
        &format!("--advertise-client-urls=https://127.0.0.1:{port}"),
        &flag("cert-file", &pair.cert),
        &flag("key-file", &pair.key),
        &flag("trusted-ca-file", &authority.file()),
    ]);
    Cluster::start(suite(), &spec).await
}

#[tokio::test]
async fn etcdctl_shows_its_certificate_and_believes_the_right_server() {
    let folder = folder("etcdctl");
    let (authority, stranger) = (Authority::new(&folder, "ca"), Authority::new(&folder, "stranger"));
    let (pair, ann) = (authority.sign("server", LOCAL), authority.sign("ann", LOCAL));
    let port = free_port();
    let _cluster = start(port, &format!("https://127.0.0.1:{port}"), &authority, &pair).await;
    let (secure, bare, clear) =
        (format!("https://127.0.0.1:{port}"), format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
    let (cacert, wrong) = (flag("cacert", &authority.file()), flag("cacert", &stranger.file()));
    let (cert, key) = (flag("cert", &ann.cert), flag("key", &ann.key));
    let quick = "--dial-timeout=1s";
    for program in programs("etcdctl_shows_its_certificate_and_believes_the_right_server") {
        let endpoints = |url: &str| format!("--endpoints={url}");
        for (url, flags, code) in [
            (&secure, vec![&cacert[..], &cert, &key], 0),
            (&bare, vec![&cacert, &cert, &key], 0),
            (&secure, vec!["--insecure-skip-tls-verify", &cert, &key], 0),
            (&clear, vec![&cacert, &cert, &key], 1),
            (&bare, vec![], 1),
            (&secure, vec![&wrong, &cert, &key], 1),
            (&secure, vec![&cacert], 1),
            (&secure, vec![&cacert, &cert], 128),
            (&secure, vec![&cert, &key], 1),
        ] {
            let endpoints = endpoints(url);
            let words = [&[&endpoints[..], quick, "--command-timeout=2s"], &flags[..], &["put", "k", "v"]].concat();
            let (found, text) = run(&program, &folder, &words);
            assert_eq!(found, Some(code), "{program:?} {words:?}: {text}");
            assert_eq!(text == "OK\n", code == 0, "{program:?} {words:?}: {text}");
        }
        // The members' own URLs are https.
        let words = [&endpoints(&bare)[..], &cacert, &cert, &key, "endpoint", "health", "--cluster"];
        let (code, text) = run(&program, &folder, &words);
        assert_eq!(code, Some(0), "{program:?}: {text}");
        assert!(text.contains("is healthy"), "{program:?}: {text}");
    }
}

#[tokio::test]
async fn make_mirror_writes_to_a_cluster_behind_tls() {
    let folder = folder("mirror");
    let authority = Authority::new(&folder, "ca");
    let (pair, ann) = (authority.sign("server", LOCAL), authority.sign("ann", LOCAL));
    let port = free_port();
    let there = format!("https://127.0.0.1:{port}");
    let _destination = start(port, &there, &authority, &pair).await;
    let source = Cluster::start(suite(), &ClusterSpec { proxied: false, ..ClusterSpec::of(1) }).await;
    let from = format!("--endpoints={}", source[0].endpoint());
    let trust = [flag("cacert", &authority.file()), flag("cert", &ann.cert), flag("key", &ann.key)];
    let as_destination = trust.each_ref().map(|flag| flag.replacen("--", "--dest-", 1));
    let programs = programs("make_mirror_writes_to_a_cluster_behind_tls");
    for (number, program) in programs.iter().enumerate() {
        let key = format!("key/{number}");
        let mirror =
            [&[&from[..], "make-mirror", &there], &as_destination.each_ref().map(|flag| &flag[..])[..]].concat();
        let mut mirroring = Command::new(&program.0);
        let mut mirroring = mirroring.args(program.1).args(&mirror).stderr(Stdio::null()).spawn().expect("run etcdctl");
        assert_eq!(run(program, &folder, &[&from, "put", &key, "v"]), (Some(0), "OK\n".to_owned()));
        let at_destination = format!("--endpoints={there}");
        let get = [&at_destination[..], &trust[0], &trust[1], &trust[2], "get", &key, "--print-value-only"];
        wait::until("the key at the destination", Duration::from_secs(30), || async {
            (run(program, &folder, &get).1 == "v\n").then_some(())
        })
        .await;
        mirroring.kill().expect("it still runs");
        mirroring.wait().expect("its end");
    }
}

#[tokio::test]
async fn one_port_serves_both_and_unix_sockets_serve_too() {
    let folder = folder("both");
    let authority = Authority::new(&folder, "ca");
    let (pair, ann) = (authority.sign("server", LOCAL), authority.sign("ann", LOCAL));
    let (port, socket) = (free_port(), folder.join("client.sock"));
    let secure_socket = folder.join("localhost");
    let urls = format!(
        "http://127.0.0.1:{port},https://127.0.0.1:{port},unix://{},unixs://{}",
        socket.display(),
        secure_socket.display()
    );
    // What a process that was killed has left is no obstacle.
    std::fs::write(&socket, "").expect("a stale file");
    let mut cluster = start(port, &urls, &authority, &pair).await;
    let trust = [flag("cacert", &authority.file()), flag("cert", &ann.cert), flag("key", &ann.key)];
    let trust = trust.each_ref().map(String::as_str);
    for program in programs("one_port_serves_both_and_unix_sockets_serve_too") {
        for (url, flags) in [
            (format!("http://127.0.0.1:{port}"), &[][..]),
            (format!("https://127.0.0.1:{port}"), &trust),
            // A path from the root is no name of a server in HTTP/2, as etcdctl 3.5 makes it one.
            ("unix://client.sock".to_owned(), &[]),
            ("unixs://localhost".to_owned(), &trust),
        ] {
            let endpoints = format!("--endpoints={url}");
            let words = [&[&endpoints[..]], flags, &["put", "k", "v"]].concat();
            assert_eq!(run(&program, &folder, &words), (Some(0), "OK\n".to_owned()), "{program:?} {words:?}");
        }
    }
    cluster[0].terminate().await;
    assert!(!socket.exists() && !secure_socket.exists(), "sockets go with their process");
}
