//! `keelstone utl hashkv` says what etcdutl says, and what a member says of its state.

use crate::programs::{run_aside, text_of};
use crate::{restored, suite};
use keelstone_harness::tools;
use std::path::PathBuf;
use std::process::Command;

fn copy_of(file: &str, name: &str) -> PathBuf {
    let path = suite().make_folder("hashkv").join(name);
    let from = format!("{}/tests/backup/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(from, &path).expect("copy a file");
    path
}

#[test]
fn hashes_forms_and_refusals_are_those_of_etcdutl() {
    let Some(etcdutl) = tools::etcdutl(7, "hashes_forms_and_refusals_are_those_of_etcdutl") else { return };
    for file in ["etcd-3.7.3/snapshot.db", "etcd-3.5.1/snapshot.db", "etcd-3.7.3/pages-1024.db"] {
        let (for_us, for_them) = (copy_of(file, "ours.db"), copy_of(file, "theirs.db"));
        let before = std::fs::read(&for_us).expect("read a file");
        for args in [
            &[][..],
            &["--rev=20"],
            &["--rev", "30"],
            &["--rev=46"],
            &["--rev=47"],
            &["--rev=2"],
            &["-w", "json"],
            &["-w", "fields", "--rev=33"],
            &["--write-out=table"],
            &["-w", "protobuf"],
            &["-w", "foo"],
            &["more"],
        ] {
            let ours = Command::new(&suite().server.binary).args(["utl", "hashkv"]).arg(&for_us).args(args).output();
            let theirs = Command::new(&etcdutl).arg("hashkv").arg(&for_them).args(args).output();
            let (ours, theirs) = (ours.expect("run keelstone"), theirs.expect("run etcdutl"));
            assert_eq!(ours.status.code(), theirs.status.code(), "{file} {args:?}: {ours:?}");
            assert_eq!(String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&theirs.stdout), "{args:?}");
            let error = |stderr: &[u8]| String::from_utf8_lossy(stderr).lines().next().map(str::to_owned);
            assert_eq!(error(&ours.stderr), error(&theirs.stderr), "{file} {args:?}");
        }
        assert!(std::fs::read(&for_us).expect("read a file") == before, "the file is as it was");
    }
}

#[tokio::test]
async fn the_hash_of_a_state_file_is_that_of_its_member() {
    let mut cluster = restored::start_ours(&copy_of("etcd-3.7.3/snapshot.db", "snapshot.db"), &[]).await;
    let client = cluster[0].client();
    client.put("k", "v").await.expect("put");
    let hash = client.hash_kv(0).await.expect("hash");
    let state = cluster[0].data_dir().join("member/state.redb");
    let ask =
        || Command::new(&suite().server.binary).args(["utl", "hashkv"]).arg(&state).output().expect("run keelstone");
    let refused = ask();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).ends_with("is in use by another process\n"), "{refused:?}");
    cluster[0].terminate().await;
    let said = run_aside(&suite().server.binary, &["utl", "hashkv", text_of(&state)]).await;
    assert_eq!(said, format!("{}, {}, {}\n", hash.hash, hash.hash_revision, hash.compact_revision));
}
