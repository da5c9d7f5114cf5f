//! KV.Put.

use crate::{check, refused, revision};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::PutRequest;
use keelstone_harness::proto::mvccpb::KeyValue;
use tonic::Code;

#[tokio::test]
async fn a_key_counts_its_versions_from_its_creation() {
    check(async |case| {
        let created = case.put("k", "1").await;
        let changed = case.put("k", "2").await;
        assert!(changed > created);
        let expected = KeyValue {
            key: case.key("k"),
            value: "2".into(),
            create_revision: created,
            mod_revision: changed,
            version: 2,
            lease: 0,
        };
        assert_eq!(case.get("k").await, Some(expected));
    })
    .await;
}

#[tokio::test]
async fn a_new_generation_counts_anew() {
    check(async |case| {
        case.put("k", "1").await;
        case.put("k", "2").await;
        case.client.delete(case.key("k")).await.expect("delete");
        let created = case.put("k", "3").await;
        let kv = case.get("k").await.expect("the key");
        assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (created, created, 1));
    })
    .await;
}

#[tokio::test]
async fn an_empty_value_is_a_value() {
    check(async |case| {
        case.put("k", "").await;
        assert_eq!(case.get("k").await.expect("the key").value, Bytes::new());
    })
    .await;
}

#[tokio::test]
async fn a_key_is_required() {
    check(async |case| {
        let answer = case.client.put("", "v").await;
        refused(answer, Code::InvalidArgument, "etcdserver: key is not provided");
    })
    .await;
}

#[tokio::test]
async fn prev_kv_is_the_record_before() {
    check(async |case| {
        let request = |value: &'static str| PutRequest {
            key: case.key("k"),
            value: value.into(),
            prev_kv: true,
            ..Default::default()
        };
        let first = case.client.put_request(request("1")).await.expect("put");
        assert_eq!(first.prev_kv, None);
        let before = case.get("k").await;
        let second = case.client.put_request(request("2")).await.expect("put");
        assert_eq!(second.prev_kv, before);
        let unasked = PutRequest { prev_kv: false, ..request("3") };
        assert_eq!(case.client.put_request(unasked).await.expect("put").prev_kv, None);
    })
    .await;
}

#[tokio::test]
async fn ignore_value_keeps_the_value_and_ignore_lease_the_lease() {
    check(async |case| {
        let lease = case.client.grant(600, 0).await.expect("grant").id;
        let put = PutRequest { key: case.key("k"), value: "v".into(), lease, ..Default::default() };
        case.client.put_request(put.clone()).await.expect("put");

        let keep_lease = PutRequest { value: "w".into(), lease: 0, ignore_lease: true, ..put.clone() };
        case.client.put_request(keep_lease).await.expect("put");
        let kv = case.get("k").await.expect("the key");
        assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"w"[..], lease, 2));

        let keep_value = PutRequest { value: Bytes::new(), lease: 0, ignore_value: true, ..put.clone() };
        case.client.put_request(keep_value.clone()).await.expect("put");
        let kv = case.get("k").await.expect("the key");
        assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"w"[..], 0, 3));

        case.client.put_request(PutRequest { lease, ..keep_value }).await.expect("put");
        let kv = case.get("k").await.expect("the key");
        assert_eq!((&kv.value[..], kv.lease), (&b"w"[..], lease));
    })
    .await;
}

#[tokio::test]
async fn what_is_ignored_must_be_there_and_must_not_be_given() {
    check(async |case| {
        let absent = PutRequest { key: case.key("absent"), ..Default::default() };
        for request in
            [PutRequest { ignore_value: true, ..absent.clone() }, PutRequest { ignore_lease: true, ..absent.clone() }]
        {
            refused(case.client.put_request(request).await, Code::InvalidArgument, "etcdserver: key not found");
        }
        let request = PutRequest { ignore_value: true, value: "v".into(), ..absent.clone() };
        refused(case.client.put_request(request).await, Code::InvalidArgument, "etcdserver: value is provided");
        let request = PutRequest { ignore_lease: true, lease: 5, ..absent };
        refused(case.client.put_request(request).await, Code::InvalidArgument, "etcdserver: lease is provided");
    })
    .await;
}

#[tokio::test]
async fn the_lease_must_exist() {
    check(async |case| {
        let text = "etcdserver: requested lease not found";
        let request = PutRequest { key: case.key("k"), value: "v".into(), lease: 0x7766, ..Default::default() };
        refused(case.client.put_request(request.clone()).await, Code::NotFound, text);
        assert_eq!(case.get("k").await, None);
        // The lease is looked at first.
        let request = PutRequest { value: Bytes::new(), ignore_value: true, ..request };
        refused(case.client.put_request(request).await, Code::NotFound, text);
    })
    .await;
}

#[tokio::test]
async fn a_put_without_a_lease_detaches_the_key() {
    check(async |case| {
        let lease = case.client.grant(600, 0).await.expect("grant").id;
        let put = PutRequest { key: case.key("k"), value: "v".into(), lease, ..Default::default() };
        case.client.put_request(put).await.expect("put");
        case.put("k", "w").await;
        assert_eq!(case.client.time_to_live(lease, true).await.expect("time to live").keys, Vec::<Bytes>::new());
        case.client.revoke(lease).await.expect("revoke");
        assert_eq!(case.get("k").await.expect("the key stays").lease, 0);
    })
    .await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused() {
    check(async |case| {
        // 1.5 MiB is the limit of the entry, key and framing included.
        let fits = "x".repeat((3 << 19) - 500);
        case.put("k", &fits).await;
        let answer = case.client.put(case.key("k"), "x".repeat(3 << 19)).await;
        refused(answer, Code::InvalidArgument, "etcdserver: request is too large");
        // Beyond 512 KiB more the transport refuses it, whose text is its own.
        let status = case.client.put(case.key("k"), "x".repeat((2 << 20) + 100)).await.expect_err("far too large");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn revisions_of_puts_rise_and_are_unique() {
    check(async |case| {
        let mut revisions = Vec::new();
        for number in 0..20 {
            revisions.push(case.put(&format!("k{number}"), "v").await);
        }
        assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");
        let reply = case.client.range(case.all()).await.expect("range");
        assert!(revision(&reply.header) >= revisions[19]);
        assert!(reply.kvs.iter().all(|kv| revisions.contains(&kv.mod_revision)));
    })
    .await;
}
