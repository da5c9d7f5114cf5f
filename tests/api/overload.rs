//! More than there is memory for: some are refused, and what keeps the cluster going gets through.

use crate::{check_alone, suite};
use keelstone_harness::proto::etcdserverpb::RangeRequest;
use keelstone_harness::{free_port, http, prefix_end};
use std::time::Duration;
use tonic::Code;

const CLIENTS: usize = 50;
/// The clients of these tests take 64 MiB.
const VALUES: usize = 60;
const VALUE_BYTES: usize = 1 << 20;
const BUDGET_BYTES: u64 = 320 << 20;

/// From a page of metrics.
fn value(page: &str, series: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no series {series}")) as u64
}

async fn resident_bytes(port: u16) -> u64 {
    value(&http::get(port, "/metrics").await.expect("metrics").body, "process_resident_memory_bytes")
}

#[tokio::test]
async fn lists_beyond_the_memory_budget_are_refused_and_the_member_goes_on() {
    if suite().server.is_etcd {
        return;
    }
    check_alone(&[&format!("--max-inflight-bytes={BUDGET_BYTES}")], async |case| {
        for number in 0..VALUES {
            let value = vec![number as u8; VALUE_BYTES];
            case.client.put(format!("large/{number:02}"), value).await.expect("put");
        }
        case.client.grant(1, 7).await.expect("a lease that ends by itself");
        case.client.grant(1000, 8).await.expect("a lease to revoke");
        let before = resident_bytes(case.port).await;
        let list = RangeRequest { key: "large/".into(), range_end: prefix_end(b"large/"), ..Default::default() };
        let lists: Vec<_> = (0..CLIENTS)
            .map(|_| {
                // Each with a connection of its own.
                let (client, list) = (keelstone_harness::Client::new(case.client.endpoint()), list.clone());
                tokio::spawn(async move {
                    client.with_deadline(Duration::from_secs(120)).range(list).await.map(|answer| answer.kvs.len())
                })
            })
            .collect();
        // Meanwhile: what clients and the cluster need.
        let client = case.client.with_deadline(Duration::from_secs(60));
        let mut highest = before;
        for number in 0..10 {
            client.put(format!("small/{number}"), "v").await.expect("a put gets through");
            highest = highest.max(resident_bytes(case.port).await);
        }
        client.revoke(8).await.expect("a lease is revoked");
        let url = format!("http://127.0.0.1:{}", free_port());
        let added = client.member_add(&url, true).await.expect("a member is added").member.expect("a member");
        client.member_remove(added.id).await.expect("and removed");
        let (mut listed, mut refused) = (0, 0);
        for list in lists {
            match list.await.expect("it ran") {
                Ok(keys) => {
                    assert_eq!(keys, VALUES);
                    listed += 1;
                }
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                    assert!(status.message().contains("--max-inflight-bytes"), "{status:?}");
                    refused += 1;
                }
            }
            highest = highest.max(resident_bytes(case.port).await);
        }
        println!("{listed} listed, {refused} refused, {} MiB at most, {} before", highest >> 20, before >> 20);
        assert!(listed > 0 && refused > 0, "{listed} listed, {refused} refused");
        // What is freed is not given back to the system at once.
        assert!(highest < before + 2 * BUDGET_BYTES, "{} MiB, {} before", highest >> 20, before >> 20);
        // All of it was given back: one list is taken again.
        assert_eq!(client.range(list).await.expect("a list").kvs.len(), VALUES);
        let expired = async || client.time_to_live(7, false).await.expect("an answer").ttl == -1;
        keelstone_harness::wait::until("the lease to end", Duration::from_secs(60), || async {
            expired().await.then_some(())
        })
        .await;
    })
    .await;
}
