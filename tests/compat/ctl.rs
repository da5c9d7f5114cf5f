//! Our own etcdctl beside the official one of 3.7: what is printed, on which stream, and the exit code. Scripts that our
//! server has the parts for run on it; all others on a real etcd of this machine.

use crate::etcdctl::{real_etcd, same, session};
use crate::suite;
use crate::transcript::Transcript;
use keelstone_harness::{Cluster, ClusterSpec, Suite, tools};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Our binary by the name of etcdctl.
pub fn ours() -> PathBuf {
    let path = suite().make_folder("ctl").join("etcdctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keelstone"), &path).expect("link our binary");
    path
}

#[tokio::test]
async fn our_etcdctl_prints_what_the_official_one_prints() {
    if !suite().server.is_at_least(3, 7) {
        println!("passed by: the golden files are etcd 3.7's");
        return;
    }
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compat/golden/etcdctl-3.7.txt");
    let golden = std::fs::read_to_string(golden).expect("read the golden file");
    same(&session(suite(), &ours(), 7).await, &golden, "our etcdctl");
}

/// One script with both tools, each on a fresh member.
async fn check<F>(test: &str, server: &Suite, script: impl Fn(Transcript) -> F)
where
    F: Future<Output = Transcript>,
{
    let Some(official) = tools::etcdctl(7, test) else { return };
    let mut transcripts = Vec::new();
    for tool in [ours(), official] {
        let cluster = Cluster::start(server, &ClusterSpec::of(1)).await;
        transcripts.push(script(Transcript::new(tool, 7, cluster[0].client_port)).await.finish());
    }
    same(&transcripts[0], &transcripts[1], "our etcdctl beside the official one");
}

#[tokio::test]
async fn every_form_of_an_answer_is_etcdctls() {
    check("every_form_of_an_answer_is_etcdctls", suite(), |mut script| async {
        for line in ["put a 1", "put b <&>\"\\", "put b é --prev-kv -w json", "put a 2 --prev-kv -w fields"] {
            script.run(line);
        }
        script.run_with_input("put c", "from stdin\n\u{1}");
        for form in ["simple", "json", "fields", "table", "bogus"] {
            for line in [
                "get a",
                "get a --from-key --hex",
                "get a d --rev=3 --sort-by=value --order=descend",
                "get a --keys-only --prefix",
                "get a --count-only --prefix",
                "get a --print-value-only",
                "get a --stream",
                "put a 3 --prev-kv",
                "del a --prev-kv",
                "lease grant 100",
                "lease timetolive 77",
                "lease list --hex",
                "member list",
                "member list --hex",
                "endpoint status",
                "endpoint hashkv",
                "alarm list",
                "alarm disarm",
            ] {
                script.run(&format!("{line} -w {form}"));
            }
            script.run_with_input(
                &format!("txn --write-out={form}"),
                "ver(\"x\") = \"0\"\ncreate(\"y\") < \"9\"\n\nput x 1\nget x\ndel zz\n\n\n",
            );
        }
        script
    })
    .await;
}

/// Ids included: from one server, asked twice.
#[tokio::test]
async fn the_protobuf_form_is_the_same_bytes() {
    let test = "the_protobuf_form_is_the_same_bytes";
    let Some(official) = tools::etcdctl(7, test) else { return };
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let ask = |tool: &Path, line: &str| {
        let endpoint = format!("--endpoints={}", cluster[0].endpoint());
        let output = Command::new(tool).arg(endpoint).args(line.split(' ')).output().expect("run etcdctl");
        (output.status.code(), output.stdout)
    };
    let ours = ours();
    ask(&ours, "put a 1");
    ask(&ours, "lease grant 100");
    for line in ["get a", "del b", "lease list", "lease timetolive 5", "member list", "alarm list"] {
        let line = format!("{line} -w protobuf");
        assert_eq!(ask(&ours, &line), ask(&official, &line), "{line}");
    }
}

#[tokio::test]
async fn a_wrong_line_is_refused_as_etcdctl_does() {
    check("a_wrong_line_is_refused_as_etcdctl_does", suite(), |mut script| async {
        for line in [
            "get",
            "get a b --prefix",
            "get a --prefix --from-key",
            "get a --keys-only --count-only",
            "get a --consistency=x",
            "get a --order=x",
            "get a --sort-by=x",
            "get a --min-create-rev=9 --max-create-rev=3",
            "get a --min-mod-rev=9 --max-mod-rev=3",
            "put",
            "put a",
            "put a b --ignore-value",
            "put a b --lease=zz",
            "del",
            "del a b c",
            "del a b --from-key",
            "compaction",
            "compaction x",
            "lease grant",
            "lease grant x",
            "lease revoke xx",
            "lease revoke 12345678901234567890",
            "lease timetolive",
            "lease keep-alive",
            "lease keep-alive 77 --once",
            "member add",
            "member add a b http://x",
            "member add a",
            "member remove",
            "member remove zz",
            "member update 123",
            "alarm list x",
            "endpoint hashkv --rev=99999",
            "move-leader",
            "move-leader x",
            "downgrade validate",
            "downgrade validate 3.6 3.5",
            "snapshot save",
            "snapshot save x --endpoints=127.0.0.1:1,127.0.0.1:2",
            "txn x",
            "lock",
            "elect",
            "elect x",
            "elect x y -l",
            "make-mirror",
            "check perf --load=q",
            "check datascale --load=q",
            "watch",
            "watch foo --",
            "watch a b --prefix",
            "role add",
            "role list x",
            "role grant-permission r read",
            "role grant-permission r bogus a",
            "role grant-permission r read a b --prefix",
            "role revoke-permission r",
            "user add",
            "user add :x",
            "user get",
            "user grant-role u",
            "auth enable x",
            "auth status x",
            "version x",
            "gett",
            "bogus get",
        ] {
            script.run(line);
        }
        for input in [
            "",
            "mod(\"a\" > \"0\"\n\n",
            "bogus(\"a\") > \"0\"\n",
            "mod(\"a\") > \"x\"\n",
            "x\n",
            "\nput\n",
            "\nfrob x y\n",
        ] {
            script.run_with_input("txn", input);
        }
        script
    })
    .await;
}

#[tokio::test]
async fn the_environment_sets_flags() {
    check("the_environment_sets_flags", suite(), |mut script| async {
        script.run("put a 1");
        script.run_with("get a", "", &[("ETCDCTL_WRITE_OUT", "json")]);
        script.run_with("get a -w simple", "", &[("ETCDCTL_WRITE_OUT", "json")]);
        script.run_with("get a", "", &[("ETCDCTL_API", "3")]);
        script.run_with("endpoint status -w json", "", &[("ETCDCTL_CLUSTER", "true")]);
        script.run_with("watch", "", &[("ETCDCTL_WATCH_RANGE_END", "x")]);
        script.run_with("watch x", "", &[("ETCDCTL_WATCH_KEY", "x")]);
        script
    })
    .await;
}

#[tokio::test]
async fn watches_and_locks_run_as_etcdctls() {
    check("watches_and_locks_run_as_etcdctls", suite(), |mut script| async {
        for line in ["put k/1 a", "put k/2 b", "del k/1"] {
            script.run(line);
        }
        for form in ["json", "fields", "simple --hex"] {
            let lines = if form == "json" { 1 } else { 8 };
            script.follow(&format!("watch k/ --prefix --rev=2 -w {form}"), lines).await;
        }
        script.run("watch k/1 --rev=2 -- env false");
        script.run("watch k/1 --rev=2 -- no-such-program x");
        script.follow("watch k/2 --rev=2 -- printenv ETCD_WATCH_KEY ETCD_WATCH_VALUE ETCD_WATCH_EVENT_TYPE", 6).await;
        script.run_with_input("watch -i", "bogus x\n\nwatch\nwatch a b --prefix\n");
        script.run_with_input("watch -i", "watch x --\n");
        script.run_with_input("watch -i", "watch --bogus\n");
        script.run("lock l printenv ETCD_LOCK_REV");
        script.run("lock l env false");
        script.run("lock l no-such-program");
        script.interrupt("lock l", 2).await;
        script.interrupt("elect e one", 2).await;
        script.run("get e/ --prefix");
        keep_alive(&mut script).await;
        script
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_is_saved_as_etcdctl_does() {
    let Some(etcd) = real_etcd() else { return };
    let folder = suite().make_folder("saved");
    let file = folder.join("s.db");
    let shown = file.display().to_string();
    check("a_snapshot_is_saved_as_etcdctl_does", &etcd, |mut script| async {
        script.run("put a 1");
        script.run(&format!("snapshot save {shown}"));
        script.run(&format!("snapshot save {shown}/no-such-folder"));
        script
    })
    .await;
    // Pages, and a digest of 32 bytes.
    assert_eq!(std::fs::metadata(&file).expect("the file was saved").len() % 512, 32);
    assert_eq!(std::fs::read_dir(&folder).expect("read the folder").count(), 1, "the part file is gone");
}

async fn keep_alive(script: &mut Transcript) {
    script.run("lease grant 3");
    for form in ["simple", "json"] {
        script.follow(&format!("lease keep-alive $LEASE -w {form}"), 2).await;
    }
    script.run("lease keep-alive 7777");
    script.run("lease keep-alive 7777 -w json");
}

/// Both tools on both servers.
#[tokio::test]
async fn users_and_roles_are_etcdctls() {
    let Some(etcd) = real_etcd() else { return };
    let test = "users_and_roles_are_etcdctls";
    let Some(official) = tools::etcdctl(7, test) else { return };
    let mut transcripts = Vec::new();
    for server in [&etcd, suite()] {
        for tool in [official.clone(), ours()] {
            let cluster = Cluster::start(server, &ClusterSpec::of(1)).await;
            transcripts.push(users_and_roles(Transcript::new(tool, 7, cluster[0].client_port)).await.finish());
        }
    }
    for (transcript, what) in transcripts[1..].iter().zip(["our etcdctl", "our server", "both of ours"]) {
        same(transcript, &transcripts[0], &format!("{what} beside the official ones"));
    }
}

async fn users_and_roles(mut script: Transcript) -> Transcript {
    for form in ["simple", "json", "fields"] {
        for line in [
            "role add r",
            "role add r",
            "role grant-permission r readwrite foo",
            "role grant-permission r read a b",
            "role grant-permission r write p --prefix",
            "role grant-permission r read z --from-key",
            "role get r",
            "role get root",
            "role get nope",
            "role list",
            "role revoke-permission r a b",
            "role revoke-permission r z --from-key",
            "role revoke-permission r foo",
            "user add u:pw",
            "user add n --no-password",
            "user add f --new-user-password=x",
            "user grant-role u r",
            "user get u",
            "user get u --detail",
            "user list",
            "user revoke-role u r",
            "user delete f",
            "user delete n",
            "auth status",
        ] {
            script.run(&format!("{line} -w {form}"));
        }
        script.run_with_input(&format!("user passwd u --interactive=false -w {form}"), "pw\n");
        script.run(&format!("user delete u -w {form}"));
        script.run(&format!("role delete r -w {form}"));
    }
    for line in [
        "user add root:rt",
        "user add u:pw",
        "auth enable",
        "get foo",
        "get foo --user=u:pw",
        "get foo --user=u --password=bad",
        "endpoint health --user=u:pw",
        "get foo --user=root:rt",
        "put foo bar --user=root:rt",
        "watch foo --user=u:pw",
        "put foo baz --user=u:pw",
        "user get u --user=u:pw",
        "user get root --user=u:pw",
        "role list --user=u:pw",
        "member list",
        "auth status",
        "auth disable --user=root:rt",
        "get foo --user=u:bad",
    ] {
        script.run(line);
    }
    script
}

/// What depends on the order in which a server answers: compared on a real etcd.
#[tokio::test]
async fn what_members_do_for_operators_is_etcdctls() {
    let Some(etcd) = real_etcd() else { return };
    check("what_members_do_for_operators_is_etcdctls", &etcd, |mut script| async {
        for form in ["simple", "json", "fields"] {
            for line in ["downgrade validate 3.6", "downgrade validate 3.2", "downgrade cancel", "move-leader 1"] {
                script.run(&format!("{line} -w {form}"));
            }
        }
        for line in ["defrag", "defrag --cluster", "member promote 5", "lock l env false"] {
            script.run(line);
        }
        // Their servers answer in another order of frames than ours.
        keep_alive(&mut script).await;
        script.interrupt("lock l --ttl=2", 2).await;
        script
    })
    .await;
}
