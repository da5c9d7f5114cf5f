//! A disk that fills up under a real process: what adds is refused, what frees goes on, and all is well again when there is
//! room. The disk is a small file system of the process's own.

use crate::{MACHINE, suite};
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest};
use keelstone_harness::{Client, Cluster, ClusterSpec, wait};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);
/// Three files of the log, the reserve of two (README), and some room for the state.
const DISK_MIB: u64 = 3 * 64 + 128 + 64;
/// What is left of it in the end: less than the state, but enough for the parts of its file that were never written.
const REST_BYTES: u64 = 40 << 20;

/// A program that is the server on a disk of its own: it mounts one on the data directory in namespaces of its own.
fn on_a_small_disk(server: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("keelstone-on-a-small-disk");
    let script = format!(
        r#"#!/bin/sh
server='{server}'
for word; do
    [ "$last" = --data-dir ] && dir=$word
    last=$word
done
[ -n "$dir" ] || exec "$server" "$@"
mkdir -p "$dir"
exec unshare --user --map-root-user --mount sh -c \
    'mount -t tmpfs -o size={DISK_MIB}m,mode=700 tmpfs "$0" && exec "$@"' "$dir" "$server" "$@"
"#,
        server = server.display()
    );
    std::fs::write(&program, script).expect("write a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("make it a program");
    program
}

/// Puts to one key until one is refused. Returns how many were taken.
async fn fill(client: &Client) -> usize {
    for number in 0..2_000 {
        if let Err(status) = client.put("big", vec![number as u8; 100_000]).await {
            assert_eq!(
                (status.code(), status.message()),
                (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")
            );
            return number;
        }
    }
    panic!("a disk that is never full");
}

async fn alarms(client: &Client) -> usize {
    let request = AlarmRequest { action: AlarmAction::Get.into(), member_id: 0, alarm: AlarmType::None.into() };
    client.alarm(request).await.expect("alarms").alarms.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_adds_and_lets_the_rest_go_on() {
    if suite().server.is_etcd {
        println!("passed by: etcd has no reserve");
        return;
    }
    let _shared = MACHINE.read().await;
    let folder = suite().make_folder("small-disk");
    let suite = suite().with_server(&on_a_small_disk(&suite().server.binary, &folder));
    let spec = ClusterSpec::of(1).with_flags(&["--auto-disarm-nospace"]);
    let cluster = Cluster::start(&suite, &spec).await;
    let member = &cluster[0];
    let client = member.client().with_deadline(LIMIT);
    let taken = fill(&client).await;
    assert!(taken > 50, "{taken} puts");
    wait::until("the alarm", LIMIT, || async { (alarms(&client).await == 1).then_some(()) }).await;
    assert!(!member.log_lines("disk is nearly full").is_empty());

    // Something else takes what was held back.
    let disk = PathBuf::from(format!("/proc/{}/root", member.pid().expect("runs")))
        .join(member.data_dir().strip_prefix("/").expect("an absolute path"));
    let stat = rustix::fs::statvfs(&disk).expect("ask for room");
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; (stat.f_bavail * stat.f_frsize - REST_BYTES) as usize]).expect("fill the disk");
    let refused = client.defragment().await.expect_err("there is no room for a copy");
    assert!(refused.message().contains("bytes for a copy of the state, and the disk has"), "{refused:?}");
    for number in 0..100 {
        client.delete("big").await.expect("a delete needs no room");
        client.delete(format!("k{number}")).await.expect("a delete needs no room");
    }
    let before = client.status().await.expect("status");
    let revision = before.header.expect("a header").revision;
    client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
    assert_eq!(client.get_all().await.expect("get").count, 0);
    assert_eq!(alarms(&client).await, 1, "the disk is as full as before");

    std::fs::remove_file(&ballast).expect("make room");
    client.defragment().await.expect("defragment");
    let after = client.status().await.expect("status");
    assert!(after.db_size < before.db_size / 4, "{} bytes became {}", before.db_size, after.db_size);
    wait::until("the alarm to be cleared", LIMIT, || async { (alarms(&client).await == 0).then_some(()) }).await;
    client.put("k", "v").await.expect("put");
    cluster.assert_no_unexpected_errors();
}
