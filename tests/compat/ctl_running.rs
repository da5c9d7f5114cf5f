//! Commands of our etcdctl that run on: elections, mirrors, watches; and what it refuses.

use crate::ctl::ours;
use crate::suite;
use crate::transcript::collect;
use keelstone_harness::{Cluster, ClusterSpec, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// One of our commands while it runs.
struct Running {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Running {
    fn start(port: u16, words: &[&str]) -> Self {
        let mut command = Command::new(ours());
        command.arg(format!("--endpoints=127.0.0.1:{port}")).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start our etcdctl");
        let printed = collect(&mut child);
        Self { child, printed }
    }

    async fn has_printed(&self, line: &str) {
        let has_line = || self.printed.lock().expect("no panic while reading").lines().any(|printed| printed == line);
        wait::until_true(&format!("a line {line:?}"), LIMIT, has_line).await;
    }

    fn interrupt(mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a running process");
        kill_process(pid, Signal::INT).expect("interrupt our etcdctl");
        assert!(self.child.wait().expect("wait for our etcdctl").success(), "it ends in order");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.child.kill().expect("end our etcdctl");
            self.child.wait().expect("wait for our etcdctl");
        }
    }
}

/// What our etcdctl prints at once.
fn printed(port: u16, words: &[&str]) -> String {
    let endpoint = format!("--endpoints=127.0.0.1:{port}");
    let output = Command::new(ours()).arg(endpoint).args(words).output().expect("run our etcdctl");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn the_next_in_line_is_elected_when_the_first_resigns() {
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let port = cluster[0].client_port;
    let first = Running::start(port, &["elect", "e", "one"]);
    first.has_printed("one").await;
    let observer = Running::start(port, &["elect", "-l", "e"]);
    observer.has_printed("one").await;
    let second = Running::start(port, &["elect", "e", "two"]);
    let waits = || printed(port, &["get", "e/", "--prefix", "--print-value-only"]).lines().count() == 2;
    wait::until_true("the second to stand in line", LIMIT, waits).await;
    assert_eq!(*second.printed.lock().expect("no panic while reading"), "", "it waits");
    first.interrupt();
    second.has_printed("two").await;
    observer.has_printed("two").await;
    observer.interrupt();
    second.interrupt();
    assert_eq!(printed(port, &["get", "e/", "--prefix"]), "");
}

#[tokio::test]
async fn a_mirror_has_what_was_there_and_what_comes() {
    let spec = ClusterSpec::of(1);
    let (from, to) = tokio::join!(Cluster::start(suite(), &spec), Cluster::start(suite(), &spec));
    let (from, to) = (from[0].client_port, to[0].client_port);
    for words in [["put", "a/1", "x"], ["put", "a/2", "y"], ["put", "other", "z"]] {
        printed(from, &words);
    }
    let there = format!("127.0.0.1:{to}");
    let _mirror = Running::start(from, &["make-mirror", &there, "--prefix=a/", "--dest-prefix=b/"]);
    let has = |expected: &'static str| move || printed(to, &["get", "", "--prefix"]) == expected;
    wait::until_true("the keys there", LIMIT, has("b/1\nx\nb/2\ny\n")).await;
    printed(from, &["put", "a/3", "new"]);
    printed(from, &["del", "a/1"]);
    wait::until_true("the changes there", LIMIT, has("b/2\ny\nb/3\nnew\n")).await;
}

#[tokio::test]
async fn a_watch_goes_on_after_the_server_was_away() {
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let port = cluster[0].client_port;
    printed(port, &["put", "k", "before"]);
    let watch = Running::start(port, &["watch", "k", "--rev=1"]);
    watch.has_printed("before").await;
    cluster[0].terminate().await;
    cluster[0].restart().await;
    printed(port, &["put", "k", "after"]);
    watch.has_printed("after").await;
    let events = watch.printed.lock().expect("no panic while reading").lines().filter(|line| *line == "PUT").count();
    assert_eq!(events, 2, "none is told twice");
}
