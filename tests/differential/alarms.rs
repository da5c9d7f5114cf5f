//! What is answered while CORRUPT is raised: by hand here, by the corruption checks otherwise.

use crate::difference::{Answer, Reply, same};
use crate::pair::Pair;
use crate::wire::{Metadata, Path};
use keelstone_harness::http;
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::tools;
use prost::Message;
use std::fmt::Debug;

const RANGE: Path = "/etcdserverpb.KV/Range";
const PUT: Path = "/etcdserverpb.KV/Put";
const DELETE: Path = "/etcdserverpb.KV/DeleteRange";
const TXN: Path = "/etcdserverpb.KV/Txn";
const COMPACT: Path = "/etcdserverpb.KV/Compact";
const GRANT: Path = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: Path = "/etcdserverpb.Lease/LeaseRevoke";
const TIME_TO_LIVE: Path = "/etcdserverpb.Lease/LeaseTimeToLive";
const LEASES: Path = "/etcdserverpb.Lease/LeaseLeases";
const HASH_KV: Path = "/etcdserverpb.Maintenance/HashKV";
const ALARM: Path = "/etcdserverpb.Maintenance/Alarm";
const MEMBERS: Path = "/etcdserverpb.Cluster/MemberList";

async fn ask<Q, A>(pair: &Pair, path: Path, request: &Q) -> Answer<A>
where
    Q: Message + Clone + Debug + 'static,
    A: Message + Default + Reply + 'static,
{
    let answers = pair.answers(path, request, Metadata::Nothing).await;
    same(&(path, request), answers).unwrap_or_else(|difference| panic!("{difference}"))
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// Every kind of request, with good and bad contents.
async fn ask_everything(pair: &Pair) {
    let put = PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    let range = RangeRequest { key: "k".into(), ..Default::default() };
    let delete = DeleteRangeRequest { key: "k".into(), ..Default::default() };
    let puts = [
        put.clone(),
        PutRequest { lease: 99, ..put.clone() },
        PutRequest { key: "missing".into(), value: "".into(), ignore_value: true, ..Default::default() },
        PutRequest { key: "".into(), ..put.clone() },
    ];
    for put in &puts {
        ask::<_, PutResponse>(pair, PUT, put).await.ok();
    }
    for range in [
        range.clone(),
        RangeRequest { serializable: true, ..range.clone() },
        RangeRequest { revision: 1_000, ..range.clone() },
        RangeRequest { count_only: true, range_end: "z".into(), ..range.clone() },
    ] {
        ask::<_, RangeResponse>(pair, RANGE, &range).await.ok();
    }
    for delete in [delete.clone(), DeleteRangeRequest { prev_kv: true, key: "missing".into(), ..delete.clone() }] {
        ask::<_, DeleteRangeResponse>(pair, DELETE, &delete).await.ok();
    }
    let read = op(Request::RequestRange(range.clone()));
    for success in [
        vec![],
        vec![read.clone()],
        vec![op(Request::RequestPut(put.clone()))],
        vec![op(Request::RequestDeleteRange(delete.clone()))],
        vec![read, op(Request::RequestTxn(TxnRequest::default()))],
        vec![op(Request::RequestPut(put.clone())), op(Request::RequestPut(put))],
    ] {
        ask::<_, TxnResponse>(pair, TXN, &TxnRequest { success, ..Default::default() }).await.ok();
    }
    for revision in [2, 1_000] {
        ask::<_, CompactionResponse>(pair, COMPACT, &CompactionRequest { revision, physical: false }).await.ok();
    }
    for (id, ttl) in [(7, 600), (8, 600), (9, -1)] {
        ask::<_, LeaseGrantResponse>(pair, GRANT, &LeaseGrantRequest { id, ttl }).await.ok();
    }
    for id in [55, 8] {
        ask::<_, LeaseRevokeResponse>(pair, REVOKE, &LeaseRevokeRequest { id }).await.ok();
        let asked = LeaseTimeToLiveRequest { id, keys: true };
        ask::<_, LeaseTimeToLiveResponse>(pair, TIME_TO_LIVE, &asked).await.ok();
    }
    ask::<_, LeaseLeasesResponse>(pair, LEASES, &LeaseLeasesRequest {}).await.ok();
    ask::<_, HashKvResponse>(pair, HASH_KV, &HashKvRequest { revision: 0 }).await.ok();
    ask::<_, MemberListResponse>(pair, MEMBERS, &MemberListRequest { linearizable: true }).await.ok();
    for path in ["/health", "/health?serializable=true", "/health?exclude=CORRUPT", "/health?exclude=NOSPACE"] {
        page(pair, path).await;
    }
    for path in ["/livez", "/readyz", "/readyz/data_corruption", "/readyz?exclude=data_corruption"] {
        page(pair, path).await;
    }
}

async fn page(pair: &Pair, path: &str) {
    let pages = pair.both(async |side| {
        let port = side.client.endpoint().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let page = http::get(port, path).await.expect("a page");
        // etcd runs its checks in no order, and so lists them in none.
        let mut lines: Vec<String> = page.body.lines().map(str::to_owned).collect();
        lines.sort();
        (page.status, lines)
    });
    same(&path, pages.await).unwrap_or_else(|difference| panic!("{difference}"));
}

#[tokio::test]
async fn a_corrupt_cluster_answers_as_etcds_does() {
    let Some(etcd) = tools::etcd("a_corrupt_cluster_answers_as_etcds_does") else { return };
    let pair = Pair::start(&etcd, &[]).await;
    pair.storage_versions().await;
    let first = PutRequest { key: "k".into(), value: "old".into(), ..Default::default() };
    ask::<_, PutResponse>(&pair, PUT, &first).await.expect("put");
    ask::<_, LeaseGrantResponse>(&pair, GRANT, &LeaseGrantRequest { id: 8, ttl: 600 }).await.expect("grant");
    let alarm = |action: AlarmAction, member_id| AlarmRequest {
        action: action.into(),
        member_id,
        alarm: AlarmType::Corrupt.into(),
    };
    for member_id in [0, 77] {
        let raise = alarm(AlarmAction::Activate, member_id);
        ask::<_, AlarmResponse>(&pair, ALARM, &raise).await.expect("an alarm");
    }
    ask_everything(&pair).await;
    ask::<_, AlarmResponse>(&pair, ALARM, &alarm(AlarmAction::Get, 0)).await.expect("alarms");
    // One of two is not all.
    ask::<_, AlarmResponse>(&pair, ALARM, &alarm(AlarmAction::Deactivate, 77)).await.expect("alarms");
    let refused = ask::<_, PutResponse>(&pair, PUT, &first).await.expect_err("a put");
    assert!(format!("{refused:?}").contains("etcdserver: corrupt cluster"), "{refused:?}");
    ask::<_, AlarmResponse>(&pair, ALARM, &alarm(AlarmAction::Deactivate, 0)).await.expect("alarms");
    ask_everything(&pair).await;
}
