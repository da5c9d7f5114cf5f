//! Calls to the disk that fail under a real process: it ends with a message that names the file and the reason, and the
//! next one has all that was acknowledged. The same at each point, and without a process, is `tests/crash/faults.rs`.

use crate::{check, suite};
use keelstone_harness::{ClusterSpec, Member, preload, wait};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// What ends a process when log or state fails (README; sysexits' EX_IOERR).
const EXIT_CODE: i32 = 74;

const EIO: (i32, &str) = (5, "Input/output error");
const ENOSPC: (i32, &str) = (28, "No space left on device");
const EROFS: (i32, &str) = (30, "Read-only file system");

/// Loads the faults into what `member` starts from now on; they begin once `armed` is there.
fn load(member: &mut Member, armed: &Path, call: &str, file: &str, (number, _): (i32, &str)) {
    let library = preload::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/failing_disk.c"), suite());
    let number = number.to_string();
    for (name, value) in [
        ("LD_PRELOAD", library.as_os_str()),
        ("FAIL_CALL", call.as_ref()),
        ("FAIL_PATH", file.as_ref()),
        ("FAIL_ERRNO", number.as_ref()),
        ("FAIL_WHEN", armed.as_os_str()),
    ] {
        member.set_variable(name, value);
    }
}

/// The process has ended as it should, and said why.
async fn ended_with_a_message(member: &mut Member, file: &str, (_, reason): (i32, &str)) {
    let exit = member.wait_for_exit().await;
    assert_eq!(exit.status.code(), Some(EXIT_CODE), "{:?}", exit.status);
    let lines = member.log_lines(reason);
    assert!(lines.iter().any(|line| line.contains(file)), "no line names {file} and {reason:?}: {lines:?}");
    member.expect_errors(reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_ends_the_process_and_loses_nothing() {
    if suite().server.is_etcd {
        return;
    }
    for (call, file, error) in [
        ("write", ".wal", EIO),
        ("write", ".wal", ENOSPC),
        ("sync", ".wal", EIO),
        ("write", "state.redb", EROFS),
        ("sync", "state.redb", EIO),
    ] {
        println!("{call} of {file}: {}", error.1);
        check(ClusterSpec::of(1), async |cluster| {
            let armed = cluster.folder().join("armed");
            let member = &mut cluster[0];
            assert!(member.terminate().await.status.code().is_none(), "SIGTERM ends it");
            load(member, &armed, call, file, error);
            member.restart().await;
            let client = member.client();
            let mut acknowledged = 0;
            for number in 0..20 {
                client.put("k", number.to_string()).await.expect("put");
                acknowledged = number;
            }
            std::fs::write(&armed, "").expect("a file in our folder");
            // The state is made durable every ten seconds.
            wait::until("a put to fail", LIMIT, || {
                let (client, value) = (client.clone(), (acknowledged + 1).to_string());
                async move { client.put("k", value).await.err() }
            })
            .await;
            ended_with_a_message(&mut cluster[0], file, error).await;
            std::fs::remove_file(&armed).expect("our file");
            cluster.restart(0).await;
            let kv = cluster[0].client().get("k").await.expect("get").kvs.remove(0);
            let value: i32 =
                std::str::from_utf8(&kv.value).ok().and_then(|value| value.parse().ok()).expect("a number");
            assert!((acknowledged..=acknowledged + 1).contains(&value), "{value} after {acknowledged}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_at_the_start_is_named() {
    if suite().server.is_etcd {
        return;
    }
    for (call, file, error) in [
        ("open", ".wal", EROFS),
        ("read", ".wal", EIO),
        ("sync", ".wal", EIO),
        ("open", "state.redb", EROFS),
        ("read", "state.redb", EIO),
    ] {
        println!("{call} of {file}: {}", error.1);
        check(ClusterSpec::of(1), async |cluster| {
            let at = cluster[0].client().put("k", "v").await.expect("put");
            let armed = cluster.folder().join("armed");
            let member = &mut cluster[0];
            member.kill();
            load(member, &armed, call, file, error);
            std::fs::write(&armed, "").expect("a file in our folder");
            member.start();
            let exit = member.wait_for_exit().await;
            assert!(exit.status.code().is_some_and(|code| code != 0), "{:?}", exit.status);
            let lines = member.log_lines(error.1);
            assert!(lines.iter().any(|line| line.contains(file)), "no line names {file} and {error:?}: {lines:?}");
            member.expect_errors(error.1);
            std::fs::remove_file(&armed).expect("our file");
            cluster.restart(0).await;
            let kv = cluster[0].client().get("k").await.expect("get").kvs.remove(0);
            assert_eq!(kv.mod_revision, at);
        })
        .await;
    }
}
