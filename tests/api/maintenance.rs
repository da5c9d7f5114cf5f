//! Maintenance: status, hashes, alarms.

use crate::{check, check_alone, refused, revision, since, suite};
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{AlarmRequest, AlarmType, TxnRequest};
use tonic::Code;

#[tokio::test]
async fn the_status_tells_version_sizes_leader_and_log() {
    check_alone(&[], async |case| {
        let before = case.client.status().await.expect("status");
        for number in 0..10 {
            case.put(&format!("{number}"), "v").await;
        }
        let status = case.client.status().await.expect("status");
        let header = status.header.expect("a header");
        let (major, minor, patch) = suite().server.version;
        assert_eq!(status.version, format!("{major}.{minor}.{patch}"));
        assert_eq!(status.leader, header.member_id);
        assert_eq!((header.revision, status.raft_term), (11, header.raft_term));
        assert_eq!(status.raft_index, before.raft_index + 10, "one entry for each put");
        assert_eq!(status.raft_applied_index, status.raft_index);
        assert_eq!((status.errors.len(), status.is_learner), (0, false));
        assert!(
            status.db_size > 0 && status.db_size_in_use > 0 && status.db_size_in_use <= status.db_size,
            "{status:?}"
        );
        if since(3, 7) {
            assert_eq!(status.storage_version, "3.7.0");
            assert_eq!(status.db_size_quota, 2 << 30);
            let downgrade = status.downgrade_info.expect("downgrade info");
            assert_eq!((downgrade.enabled, downgrade.target_version.as_str()), (false, ""));
        }
    })
    .await;
}

#[tokio::test]
async fn equal_histories_have_equal_hashes_and_a_hash_covers_history() {
    let mut hashes = Vec::new();
    for _ in 0..2 {
        check_alone(&[], async |case| {
            case.put("a", "1").await;
            case.put("b", "2").await;
            case.put("a", "3").await;
            case.client.delete("b").await.expect("delete");
            use crate::txn::{delete, put};
            let success = vec![put("c", "4"), put("d", "5"), delete("a", "")];
            case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
            let newest = case.client.hash_kv(0).await.expect("hash");
            assert_eq!((revision(&newest.header), newest.compact_revision), (6, -1));
            if since(3, 6) {
                assert_eq!(newest.hash_revision, 6);
            }
            let mut all = vec![newest.hash];
            for at in 1..=6 {
                all.push(case.client.hash_kv(at).await.expect("hash").hash);
            }
            assert_eq!(all[0], all[6], "0 means the newest");
            assert!((1..6).all(|at| all[at] != all[at + 1]), "each revision changes it: {all:?}");
            hashes.push(all);
        })
        .await;
    }
    assert_eq!(hashes[0], hashes[1]);
    // Computed by etcd 3.7.3 (3.5.1 gives the same): the records are its records, byte for byte.
    assert_eq!(hashes[0], HASHES);
}

const HASHES: [u32; 7] = [3071562260, 1084519789, 2587454935, 1827592406, 2069675932, 1125682900, 3071562260];

#[tokio::test]
async fn the_hash_after_compaction_is_etcds_too() {
    if !since(3, 6) {
        return;
    }
    check_alone(&[], async |case| {
        case.put("a", "1").await;
        case.put("b", "2").await;
        case.put("a", "3").await;
        case.client.delete("b").await.expect("delete");
        case.put("c", "4").await;
        let request = keelstone_harness::proto::etcdserverpb::CompactionRequest { revision: 4, physical: true };
        case.client.compact(request).await.expect("compact");
        // Of the compacted revision itself etcd may still know the hash from before the compaction.
        let mut hashes = Vec::new();
        for at in [5, 6] {
            let reply = case.client.hash_kv(at).await.expect("hash");
            assert_eq!((reply.compact_revision, reply.hash_revision), (4, at));
            hashes.push(reply.hash);
        }
        assert_eq!(hashes, COMPACTED_HASHES);
    })
    .await;
}

const COMPACTED_HASHES: [u32; 2] = [1468967122, 2450235489];

#[tokio::test]
async fn the_hash_of_everything_is_answered() {
    check_alone(&[], async |case| {
        let first = case.client.hash().await.expect("hash");
        assert_eq!(revision(&first.header), 1);
        case.put("k", "v").await;
        let second = case.client.hash().await.expect("hash");
        assert_eq!(revision(&second.header), 2);
        assert_ne!(first.hash, second.hash);
    })
    .await;
}

#[tokio::test]
async fn a_hash_of_the_future_is_refused() {
    check_alone(&[], async |case| {
        let answer = case.client.hash_kv(99).await;
        refused(answer, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    })
    .await;
}

#[tokio::test]
async fn no_alarm_is_raised() {
    check(async |case| {
        let request = AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
        assert_eq!(case.client.alarm(request).await.expect("alarms").alarms, []);
    })
    .await;
}

#[tokio::test]
async fn the_status_names_alarms_as_go_prints_them() {
    check_alone(&[], async |case| {
        let own = case.client.status().await.expect("status").header.expect("a header").member_id;
        let texts = [(own, format!("memberID:{own} alarm:NOSPACE")), (0, "alarm:NOSPACE".to_owned())];
        for (member_id, text) in texts {
            let change = |action: AlarmAction| AlarmRequest {
                action: action.into(),
                member_id,
                alarm: AlarmType::Nospace.into(),
            };
            case.client.alarm(change(AlarmAction::Activate)).await.expect("raise");
            // Go puts one space or two between fields, by the build.
            let errors = case.client.status().await.expect("status").errors;
            assert_eq!(errors.iter().map(|error| error.replace("  ", " ")).collect::<Vec<_>>(), [text]);
            case.client.alarm(change(AlarmAction::Deactivate)).await.expect("clear");
            assert_eq!(case.client.status().await.expect("status").errors.len(), 0);
        }
    })
    .await;
}
