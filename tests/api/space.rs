//! The space quota, the alarm that it raises, and the way back; alarms by hand; defragmentation.

use crate::txn::{delete, put};
use crate::{Case, check_alone, refused, since};
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, CompactionRequest, TxnRequest, WatchCreateRequest,
};
use std::time::Duration;
use tonic::{Code, Status};

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

async fn change(case: &Case, action: AlarmAction, member_id: u64, alarm: AlarmType) -> Vec<AlarmMember> {
    let request = AlarmRequest { action: action.into(), member_id, alarm: alarm.into() };
    case.client.alarm(request).await.expect("an answer about alarms").alarms
}

async fn alarms(case: &Case) -> Vec<AlarmMember> {
    change(case, AlarmAction::Get, 0, AlarmType::None).await
}

async fn own_id(case: &Case) -> u64 {
    case.client.status().await.expect("status").header.expect("a header").member_id
}

/// Puts until one is refused. Returns how many were taken.
async fn fill(case: &Case) -> (usize, Status) {
    for number in 0..1_000 {
        // More than the smallest cost that could still fit, and the same key, so that compaction frees nearly all.
        if let Err(status) = case.client.put("big", vec![number as u8; 100_000]).await {
            return (number, status);
        }
    }
    panic!("a quota that is never reached");
}

#[tokio::test]
async fn what_exceeds_the_quota_is_refused_until_space_and_alarm_are_dealt_with() {
    check_alone(&["--quota-backend-bytes=8000000"], async |case| {
        if since(3, 7) {
            assert_eq!(case.client.status().await.expect("status").db_size_quota, 8_000_000);
        }
        let (taken, status) = fill(case).await;
        assert!(taken > 10, "{taken} puts");
        refused(Err::<(), _>(status), Code::ResourceExhausted, NO_SPACE);
        let own = own_id(case).await;
        let raised = AlarmMember { member_id: own, alarm: AlarmType::Nospace.into() };
        assert_eq!(alarms(case).await, [raised]);

        // What needs space is refused, however little it is; what needs none is not.
        refused(case.client.put("k", "").await, Code::ResourceExhausted, NO_SPACE);
        refused(case.client.grant(60, 0).await, Code::ResourceExhausted, NO_SPACE);
        let txn = |success| TxnRequest { success, ..Default::default() };
        refused(case.client.txn(txn(vec![put("k", "v")])).await, Code::ResourceExhausted, NO_SPACE);
        case.client.txn(txn(vec![delete("k", "")])).await.expect("a transaction that only deletes");
        assert_eq!(case.client.get("big").await.expect("get").kvs.len(), 1);
        case.client.delete("big").await.expect("delete");
        let before = case.client.status().await.expect("status");
        let revision = before.header.as_ref().expect("a header").revision;
        case.client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
        let hash = case.client.hash_kv(0).await.expect("hash").hash;
        let answer = case.client.defragment().await.expect("defragment");
        assert_eq!(answer.header, None, "as in etcd");
        assert_eq!(case.client.hash_kv(0).await.expect("hash").hash, hash);
        let after = case.client.status().await.expect("status");
        assert!(after.db_size < before.db_size / 4, "{} bytes became {}", before.db_size, after.db_size);
        assert!(after.db_size_in_use <= after.db_size);

        refused(case.client.put("k", "v").await, Code::ResourceExhausted, NO_SPACE);
        assert_eq!(change(case, AlarmAction::Deactivate, own, AlarmType::Nospace).await, [raised]);
        case.put("k", "v").await;
        assert_eq!(alarms(case).await, []);
    })
    .await;
}

/// Thirteen pages are what etcd's own tests make do with.
#[tokio::test]
async fn a_quota_of_a_few_pages_takes_small_puts_before_and_after_it_was_reached() {
    check_alone(&["--quota-backend-bytes=53248"], async |case| {
        case.put("1st", "a").await;
        let mut refusal = None;
        for _ in 0..1_000 {
            refusal = case.client.put("2nd", vec![b'b'; 4096]).await.err();
            if refusal.is_some() {
                break;
            }
        }
        refused(Err::<(), _>(refusal.expect("a quota that is reached")), Code::ResourceExhausted, NO_SPACE);
        let status = case.client.status().await.expect("status");
        let revision = crate::revision(&status.header);
        case.client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
        case.client.defragment().await.expect("defragment");
        change(case, AlarmAction::Deactivate, own_id(case).await, AlarmType::Nospace).await;
        case.put("3rd", "a").await;
    })
    .await;
}

#[tokio::test]
async fn the_alarm_clears_itself_if_the_operator_wants_it() {
    if crate::suite().server.is_etcd {
        return;
    }
    check_alone(&["--quota-backend-bytes=8000000", "--auto-disarm-nospace"], async |case| {
        fill(case).await;
        assert_eq!(alarms(case).await.len(), 1);
        let deleted = case.client.delete("big").await.expect("delete");
        let revision = crate::revision(&deleted.header);
        case.client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
        case.client.defragment().await.expect("defragment");
        keelstone_harness::wait::until("a put", Duration::from_secs(30), || async {
            case.client.put("k", "v").await.ok()
        })
        .await;
        assert_eq!(alarms(case).await, []);
    })
    .await;
}

#[tokio::test]
async fn without_a_quota_nothing_is_refused() {
    check_alone(&["--quota-backend-bytes=-1"], async |case| {
        if since(3, 7) {
            assert_eq!(case.client.status().await.expect("status").db_size_quota, -1);
        }
        case.put("k", "v").await;
    })
    .await;
}

/// Alarms are pairs of member and type; nobody asks whether there is such a member.
#[tokio::test]
async fn an_alarm_is_cleared_by_its_exact_pair() {
    check_alone(&[], async |case| {
        let of = |member_id| AlarmMember { member_id, alarm: AlarmType::Nospace.into() };
        for member_id in [0, 77] {
            assert_eq!(change(case, AlarmAction::Activate, member_id, AlarmType::Nospace).await, [of(member_id)]);
        }
        // A second time it is the same alarm.
        assert_eq!(change(case, AlarmAction::Activate, 77, AlarmType::Nospace).await, [of(77)]);
        let mut raised = alarms(case).await;
        raised.sort_by_key(|alarm| alarm.member_id);
        assert_eq!(raised, [of(0), of(77)]);
        for (member_id, kind) in [(1, AlarmType::Nospace), (77, AlarmType::Corrupt), (77, AlarmType::None)] {
            assert_eq!(change(case, AlarmAction::Deactivate, member_id, kind).await, []);
        }
        refused(case.client.put("k", "v").await, Code::ResourceExhausted, NO_SPACE);
        assert_eq!(change(case, AlarmAction::Deactivate, 0, AlarmType::Nospace).await, [of(0)]);
        refused(case.client.put("k", "v").await, Code::ResourceExhausted, NO_SPACE);
        assert_eq!(change(case, AlarmAction::Deactivate, 77, AlarmType::Nospace).await, [of(77)]);
        case.put("k", "v").await;
    })
    .await;
}

#[tokio::test]
async fn watches_and_leases_go_on_through_a_defragmentation() {
    check_alone(&[], async |case| {
        let lease = case.client.grant(300, 0).await.expect("grant").id;
        let with_lease = keelstone_harness::proto::etcdserverpb::PutRequest {
            key: "leased".into(),
            value: "v".into(),
            lease,
            ..Default::default()
        };
        case.client.put_request(with_lease).await.expect("put");
        let mut watch = case.client.watch();
        let all = WatchCreateRequest { key: "k".into(), start_revision: 1, ..Default::default() };
        watch.create_and_wait(all).await;
        for round in 0..3 {
            case.put("k", &round.to_string()).await;
            case.client.defragment().await.expect("defragment");
            let told = watch.expect().await;
            let values: Vec<_> = told.events.iter().map(|event| event.kv.clone().expect("a record").value).collect();
            assert_eq!(values, [round.to_string()]);
        }
        let left = case.client.time_to_live(lease, true).await.expect("time to live");
        assert_eq!(left.keys, ["leased"]);
        case.client.revoke(lease).await.expect("revoke");
        assert_eq!(case.get("leased").await, None);
    })
    .await;
}
