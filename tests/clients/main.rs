//! Clients of others, as their languages' package managers bring them (`build.sh`): each puts, gets, swaps, leases, locks and
//! elects, and goes on when the leader, which is the first that it knows of, is killed. `KEELSTONE_CLIENTS` names the
//! folder with the built programs; each prints `KILL` where a member is to go, waits for a line, and prints `DONE` at last.

use keelstone_harness::{Cluster, ClusterSpec, Suite, tools};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(120);

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "clients"))
}

/// Runs a program on three members.
async fn check(name: &str) {
    let Some(program) = tools::client(name) else { return };
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(3)).await;
    let leader = cluster.leader().await;
    let endpoints: Vec<String> = (0..3).map(|place| cluster[(leader + place) % 3].endpoint()).collect();
    let mut command = Command::new(program);
    command.arg(endpoints.join(",")).kill_on_drop(true);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start the client");
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    let mut complaints = child.stderr.take().expect("stderr is a pipe");
    let complained = tokio::spawn(async move {
        let mut text = String::new();
        complaints.read_to_string(&mut text).await.map(|_| text)
    });
    let mut said = Vec::new();
    let talk = async {
        while let Some(line) = lines.next_line().await.expect("read what the client says") {
            if line == "KILL" {
                cluster[leader].kill();
                input.write_all(b"killed\n").await.expect("tell the client");
            }
            said.push(line);
        }
        child.wait().await.expect("wait for the client")
    };
    let status = tokio::time::timeout(LIMIT, talk).await;
    let ended = status.as_ref().is_ok_and(std::process::ExitStatus::success);
    drop(child);
    let complaint = complained.await.expect("no panic").expect("read the client's errors");
    assert!(ended && said == ["KILL", "DONE"], "{name}: {status:?}, said {said:?}:\n{complaint}");
    if !suite().server.is_etcd {
        cluster.assert_no_unexpected_errors();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_of_the_same_version_finds_all_that_it_uses() {
    check("go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_of_3_5_finds_all_that_it_uses() {
    check("go-3.5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_grpc_finds_all_that_it_uses() {
    check("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_gateway_finds_all_that_it_uses() {
    check("gateway").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_client_finds_all_that_it_uses() {
    check("node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javas_client_finds_all_that_it_uses() {
    check("java").await;
}
