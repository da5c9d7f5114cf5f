//! `keelstone utl preflight`, on copies of what real etcd left.

use crate::import::{content_of, copy, fill, spec};
use crate::programs::{run_aside, text_of};
use crate::suite;
use keelstone_harness::{Cluster, tools};
use std::path::{Path, PathBuf};
use std::process::Command;

/// As kubeadm writes one, without TLS.
const MANIFEST: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: etcd
  namespace: kube-system
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=http://192.0.2.1:2379
    - --data-dir=/var/lib/etcd
    - --initial-advertise-peer-urls=http://192.0.2.1:2380
    - --initial-cluster=node1=http://192.0.2.1:2380
    - --listen-client-urls=http://127.0.0.1:2379,http://192.0.2.1:2379
    - --listen-metrics-urls=http://127.0.0.1:2381
    - --listen-peer-urls=http://192.0.2.1:2380
    - --name=node1
    - --snapshot-count=10000
    - --watch-progress-notify-interval=5s
    image: registry.k8s.io/etcd:3.7.3-0
    name: etcd
  hostNetwork: true
"#;

/// Code and output of a run; the copy is as it was, and nothing lies beside it.
fn preflight(words: &[&str], data_dir: &Path) -> (i32, String) {
    let before = content_of(data_dir);
    let output = Command::new(&suite().server.binary).args(["utl", "preflight"]).args(words).arg(data_dir).output();
    let output = output.expect("run keelstone");
    assert!(content_of(data_dir) == before, "the copy was touched");
    let beside =
        data_dir.with_file_name(format!("{}.preflight", data_dir.file_name().expect("a name").to_string_lossy()));
    assert!(!beside.exists());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("an exit"), text)
}

fn manifest(text: &str) -> PathBuf {
    let path = suite().make_folder("manifest").join("etcd.yaml");
    std::fs::write(&path, text).expect("write");
    path
}

#[tokio::test]
async fn preflight_says_yes_or_why_not() {
    let name = "preflight_says_yes_or_why_not";
    let (Some(etcd), Some(etcdctl)) = (tools::etcd(name), tools::etcdctl(7, name)) else { return };
    let mut cluster = Cluster::start(&suite().with_server(&etcd), &spec(1)).await;
    let client = cluster[0].client();
    fill(&client).await;
    let hash = client.hash_kv(0).await.expect("hash");
    cluster[0].terminate().await;
    let folder = suite().make_folder("copies");
    let stopped = folder.join("stopped");
    copy(&cluster[0].data_dir(), &stopped);

    let yes = manifest(MANIFEST);
    let (code, text) = preflight(&[text_of(&yes)], &stopped);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("{0:08x} of etcd's database, {0:08x} of what was imported", hash.hash)), "{text}");
    assert!(text.ends_with("yes: Keelstone can start in the place of this etcd\n"), "{text}");
    let (code, text) = preflight(&["--name=m1", "--data-dir", "/x"], &stopped);
    assert_eq!((code, text.ends_with("place of this etcd\n")), (0, true), "{text}");

    let with = |line: &str| manifest(&MANIFEST.replace("    - --snapshot-count=10000\n", line));
    for (line, code, why) in [
        ("    - --memory-mlock=true\n", 4, "is not built yet in Keelstone"),
        ("    - --no-such-flag=1\n", 1, "no-such-flag"),
        ("    - --election-timeout=1\n", 1, "should be at least as 5 times"),
    ] {
        let (found, text) = preflight(&[text_of(&with(line))], &stopped);
        assert_eq!((found, text.starts_with("no: "), text.contains(why)), (code, true, true), "{text}");
    }
    let (code, text) = preflight(&["/no/such/file"], &stopped);
    assert_eq!((code, text.contains("no: read /no/such/file")), (1, true), "{text}");

    let damaged = folder.join("damaged");
    copy(&stopped, &damaged);
    std::fs::write(damaged.join("member/snap/db"), vec![0; 50_000]).expect("write");
    let (code, text) = preflight(&[text_of(&yes)], &damaged);
    assert_eq!((code, text.contains("\nno: read ")), (1, true), "{text}");

    cluster.restart(0).await;
    let endpoints = format!("--endpoints={}", cluster[0].endpoint());
    for words in [
        &["user", "add", "root:x"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        run_aside(&etcdctl, &[&[endpoints.as_str()], words].concat()).await;
    }
    cluster[0].terminate().await;
    let guarded = folder.join("guarded");
    copy(&cluster[0].data_dir(), &guarded);
    let (code, text) = preflight(&[text_of(&yes)], &guarded);
    assert_eq!(code, 0, "{text}");
}
