//! `keelstone utl snapshot status` prints what etcdutl 3.7 prints.

use crate::suite;
use keelstone_harness::tools;
use std::process::{Command, Output};

/// As etcdutl 3.7.3 printed it for its own file.
const TABLE: &str = "\
┌──────────┬──────────┬────────────┬────────────┬─────────┐
│   HASH   │ REVISION │ TOTAL KEYS │ TOTAL SIZE │ VERSION │
├──────────┼──────────┼────────────┼────────────┼─────────┤
│ 61363e42 │       46 │         41 │      61 kB │   3.7.0 │
└──────────┴──────────┴────────────┴────────────┴─────────┘
";

fn ours(args: &[&str]) -> Output {
    Command::new(&suite().server.binary).arg("utl").args(args).output().expect("run keelstone")
}

fn file(version: &str) -> String {
    format!("{}/tests/backup/etcd-{version}/snapshot.db", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_status_of_a_file_is_printed_in_four_forms() {
    let file = file("3.7.3");
    for (format, wanted) in [
        ("simple", "61363e42, 46, 41, 61 kB, 3.7.0\n"),
        ("json", "{\"hash\":1630944834,\"revision\":46,\"totalKey\":41,\"totalSize\":61440,\"version\":\"3.7.0\"}\n"),
        ("fields", "\"Hash\" : 1630944834\n\"Revision\" : 46\n\"Keys\" : 41\n\"Size\" : 61440\n\"Version\" : 3.7.0\n"),
        ("table", TABLE),
    ] {
        let output = ours(&["snapshot", "status", &file, "-w", format]);
        assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()), (wanted, Some(0)));
    }
}

#[test]
fn the_client_still_has_the_command() {
    let file = file("3.7.3");
    for args in [&["snapshot", "status", &file, "--write-out=table"][..], &["snapshot", "status", "/nowhere/at/all"]] {
        let ctl = Command::new(&suite().server.binary).arg("ctl").args(args).output().expect("run keelstone");
        let utl = ours(args);
        assert_eq!((ctl.stdout, ctl.stderr, ctl.status.code()), (utl.stdout, utl.stderr, utl.status.code()));
    }
}

#[test]
fn every_form_and_refusal_is_that_of_etcdutl() {
    let Some(etcdutl) = tools::etcdutl(7, "every_form_and_refusal_is_that_of_etcdutl") else { return };
    let (new, old) = (file("3.7.3"), file("3.5.1"));
    for args in [
        &["snapshot", "status", &new][..],
        &["snapshot", "status", &old, "-w", "table"],
        &["--write-out=json", "snapshot", "status", &old],
        &["snapshot", "status", &old, "-wfields"],
        &["snapshot", "status", &new, "-w", "protobuf"],
        &["snapshot", "status", &new, "-w", "foo"],
        &["snapshot", "status"],
        &["snapshot", "status", &new, &old],
        &["snapshot", "status", "/nowhere/at/all"],
        &["version"],
        &["version", "-w", "json"],
    ] {
        let (ours, theirs) = (ours(args), Command::new(&etcdutl).args(args).output().expect("run etcdutl"));
        assert_eq!(ours.status.code(), theirs.status.code(), "{args:?}: {theirs:?}");
        assert_eq!(String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&theirs.stdout), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&ours.stderr), String::from_utf8_lossy(&theirs.stderr), "{args:?}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_with_the_page() {
    let path = suite().make_folder("none").join("file");
    std::fs::write(&path, vec![b'x'; 8192]).expect("write a file");
    let output = ours(&["snapshot", "status", path.to_str().expect("a path")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (said.as_ref(), output.status.code()),
        (
            "Error: neither meta page is valid: page 0: no bbolt database: it begins with 0x78787878; page 1: no bbolt database: it begins with 0x78787878\n",
            Some(1)
        )
    );
}
