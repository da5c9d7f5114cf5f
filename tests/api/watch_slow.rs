//! Watch: clients that do not read. Nothing is lost for them, and nobody else notices.

use crate::{Case, check_alone};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use std::time::{Duration, Instant};

const COUNT: i64 = 2000;
const VALUE_BYTES: usize = 10_000;

fn everything() -> WatchCreateRequest {
    let all = Bytes::from_static(b"\0");
    WatchCreateRequest { key: all.clone(), range_end: all, start_revision: 1, ..Default::default() }
}

/// Puts far more than connections and queues hold; returns the longest time that one put took.
async fn put_much(case: &Case) -> Duration {
    let value = Bytes::from("x".repeat(VALUE_BYTES));
    let mut longest = Duration::ZERO;
    for number in 0..COUNT {
        let begun = Instant::now();
        case.client.put(format!("k{}", number % 10), value.clone()).await.expect("put");
        longest = longest.max(begun.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_nobody_up_and_loses_nothing() {
    check_alone(&[], async |case| {
        let mut slow = case.client.watch_slowly(1);
        slow.create(everything());
        let mut quick = case.client.watch();
        quick.create_and_wait(everything()).await;
        let longest = put_much(case).await;
        // Had one waited for the slow client, it would have waited for ever.
        println!("longest put: {longest:?}");
        let last = case.put("last", "").await;
        for stream in [&mut quick, &mut slow] {
            let mut next = 2;
            while next <= last {
                for event in stream.events(1).await {
                    assert_eq!(event.kv.expect("a key").mod_revision, next, "each revision is told");
                    next += 1;
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_overtaken_by_compaction_is_told_so_after_what_it_was_sent() {
    check_alone(&[], async |case| {
        let mut slow = case.client.watch_slowly(1);
        slow.create(everything());
        put_much(case).await;
        let request = CompactionRequest { revision: COUNT + 1, physical: true };
        case.client.compact(request).await.expect("compact");
        let mut next = 2;
        loop {
            let response = slow.expect().await;
            for event in &response.events {
                assert_eq!(event.kv.as_ref().expect("a key").mod_revision, next, "no gap before the end");
                next += 1;
            }
            if response.canceled {
                assert_eq!((response.compact_revision, response.events.len()), (COUNT + 1, 0));
                break;
            }
            assert!(next < COUNT + 2, "20 MB were not sent to a client that did not read");
        }
    })
    .await;
}
