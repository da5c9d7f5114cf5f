//! README's example, run as it stands but for its place and its ports.

use crate::support::{LIMIT, Place, suite};
use keelstone_harness::{free_port, wait};
use std::process::{Child, Command};

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("kill the member");
    }
}

#[tokio::test]
async fn the_example_of_readme_makes_a_full_backup() {
    let page = include_str!("../../README.md").split_once("\n## Backups that members make\n").expect("the page").1;
    let example = page.split("```").nth(1).and_then(|block| block.strip_prefix("sh\n")).expect("an example");
    let (place, home) = (Place::new(), suite().make_folder("readme"));
    std::os::unix::fs::symlink(&suite().server.binary, home.join("keelstone")).expect("link");
    let script = format!("exec {}", example.replace("file:///var/backups/etcd", &place.url()));
    let [client, peer] = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let mut bash = Command::new("bash");
    let log = std::fs::File::create(home.join("log")).expect("create a log");
    bash.args(["-c", &script]).current_dir(&home).stderr(log);
    let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap_or_default());
    bash.env("PATH", path).env("ETCD_INITIAL_CLUSTER", format!("default={peer}"));
    for (url, kind) in [(&client, "CLIENT"), (&peer, "PEER")] {
        bash.env(format!("ETCD_LISTEN_{kind}_URLS"), url);
    }
    bash.env("ETCD_ADVERTISE_CLIENT_URLS", &client).env("ETCD_INITIAL_ADVERTISE_PEER_URLS", &peer);
    let _member = Running(bash.spawn().expect("run bash"));
    wait::until("a full backup", LIMIT, async || (place.list("full").await.len() == 1).then_some(())).await;
    assert!(home.join("m1.etcd/member").is_dir());
}
