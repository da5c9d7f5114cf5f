//! Watch: starting in the past or in the future, compaction, progress, and large answers.

use crate::watch::told;
use crate::{Case, check, check_alone, revision, since};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::{CompactionRequest, PutRequest, WatchCreateRequest, WatchResponse};
use keelstone_harness::wait;
use std::time::Duration;

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

async fn compact(case: &Case, at: i64) {
    case.client.compact(CompactionRequest { revision: at, physical: true }).await.expect("compact");
}

#[tokio::test]
async fn the_past_is_told_first_and_then_the_present() {
    check(async |case| {
        let mut starts = Vec::new();
        for number in 0..5 {
            starts.push(case.put("k", &format!("{number}")).await);
        }
        let mut stream = case.client.watch();
        stream.create_and_wait(WatchCreateRequest { start_revision: starts[2], ..case.watch_all() }).await;
        let past = stream.events(3).await;
        assert_eq!(told(case, &past), ["put k 2", "put k 3", "put k 4"]);
        case.put("k", "5").await;
        assert_eq!(told(case, &stream.events(1).await), ["put k 5"]);
    })
    .await;
}

#[tokio::test]
async fn a_long_past_is_told_whole_and_in_order() {
    check_alone(&[], async |case| {
        const COUNT: i64 = 3000;
        let mut puts = tokio::task::JoinSet::new();
        for number in 0..COUNT {
            let client = case.client.clone();
            puts.spawn(async move { client.put(format!("k{}", number % 7), format!("{number}")).await });
        }
        while let Some(put) = puts.join_next().await {
            put.expect("no panic").expect("put");
        }
        let mut stream = case.client.watch();
        let everything = Bytes::from_static(b"\0");
        let (key, range_end) = (everything.clone(), everything);
        stream.create_and_wait(WatchCreateRequest { key, range_end, start_revision: 1, ..Default::default() }).await;
        let events = stream.events(COUNT as usize).await;
        let revisions: Vec<i64> = events.iter().map(|event| event.kv.as_ref().expect("a key").mod_revision).collect();
        assert_eq!(revisions, (2..COUNT + 2).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn the_previous_record_of_the_past_comes_too() {
    check(async |case| {
        let start = case.put("k", "1").await;
        let first = case.get("k").await;
        case.put("k", "2").await;
        let second = case.get("k").await;
        case.client.delete(case.key("k")).await.expect("delete");
        let mut stream = case.client.watch();
        let request = WatchCreateRequest { start_revision: start, prev_kv: true, ..case.watch_all() };
        stream.create_and_wait(request).await;
        let events = stream.events(3).await;
        assert_eq!(events.into_iter().map(|event| event.prev_kv).collect::<Vec<_>>(), [None, first, second]);
    })
    .await;
}

#[tokio::test]
async fn a_start_in_the_future_is_waited_for() {
    check_alone(&[], async |case| {
        let mut stream = case.client.watch();
        let created =
            stream.create_and_wait(WatchCreateRequest { key: "k".into(), start_revision: 4, ..Default::default() });
        assert_eq!(revision(&created.await.header), 1);
        for value in ["2", "3", "4", "5"] {
            case.put("k", value).await;
        }
        assert_eq!(told(case, &stream.events(2).await), ["put k 4", "put k 5"]);
    })
    .await;
}

#[tokio::test]
async fn the_created_response_has_the_stores_revision() {
    check_alone(&[], async |case| {
        case.put("k", "2").await;
        case.put("k", "3").await;
        for start_revision in [0, 1, 3, 9] {
            let mut stream = case.client.watch();
            let created =
                stream.create_and_wait(WatchCreateRequest { key: "k".into(), start_revision, ..Default::default() });
            assert_eq!(revision(&created.await.header), 3);
        }
    })
    .await;
}

#[tokio::test]
async fn a_negative_start_is_refused() {
    if !since(3, 7) {
        return;
    }
    check(async |case| {
        let mut stream = case.client.watch();
        let response = stream.create_and_wait(WatchCreateRequest { start_revision: -1, ..case.watch_all() }).await;
        assert_eq!((response.canceled, response.watch_id), (true, -1));
        assert_eq!(response.cancel_reason, COMPACTED);
    })
    .await;
}

#[tokio::test]
async fn a_start_below_the_compacted_revision_is_cancelled_with_it() {
    check_alone(&[], async |case| {
        for value in ["2", "3", "4", "5"] {
            case.put("k", value).await;
        }
        compact(case, 4).await;
        for start_revision in [1, 3] {
            let mut stream = case.client.watch();
            let request = WatchCreateRequest { key: "k".into(), start_revision, ..Default::default() };
            let created = stream.create_and_wait(request).await;
            assert_eq!((created.canceled, created.watch_id), (false, 0));
            let cancelled = stream.expect().await;
            assert_eq!((cancelled.canceled, cancelled.created, cancelled.watch_id), (true, false, 0));
            assert_eq!((cancelled.compact_revision, cancelled.cancel_reason.as_str()), (4, ""));
            assert_eq!(revision(&cancelled.header), 0);
        }
        let mut stream = case.client.watch();
        let request = WatchCreateRequest { key: "k".into(), start_revision: 4, ..Default::default() };
        stream.create_and_wait(request).await;
        assert_eq!(told(case, &stream.events(2).await), ["put k 4", "put k 5"]);
    })
    .await;
}

#[tokio::test]
async fn previous_records_that_were_compacted_are_left_out() {
    check_alone(&[], async |case| {
        for value in ["2", "3", "4"] {
            case.put("k", value).await;
        }
        compact(case, 3).await;
        let mut stream = case.client.watch();
        let request = WatchCreateRequest { key: "k".into(), start_revision: 3, prev_kv: true, ..Default::default() };
        stream.create_and_wait(request).await;
        let events = stream.events(2).await;
        assert_eq!(events[0].prev_kv, None);
        assert_eq!(events[1].prev_kv.as_ref().map(|kv| &kv.value[..]), Some(&b"3"[..]));
    })
    .await;
}

#[tokio::test]
async fn progress_is_told_on_request_after_all_events() {
    check(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(case.watch_all()).await;
        let at = case.put("k", "v").await;
        // etcd may leave a request unanswered while a watcher is not in step, so clients ask again.
        let mut events = 0;
        let progress = wait::until("a progress response", Duration::from_secs(10), || {
            stream.ask_progress();
            let mut found = None;
            while let Some(response) = stream.try_next() {
                let response = response.expect("a watch response");
                match response.watch_id {
                    -1 => found = Some(response),
                    _ => events += response.events.len(),
                }
            }
            async move { found }
        })
        .await;
        assert_eq!((progress.events.len(), progress.canceled, progress.created), (0, false, false));
        assert!(revision(&progress.header) >= at);
        assert_eq!(events, 1, "the event comes before the progress that covers it");
    })
    .await;
}

#[tokio::test]
async fn progress_without_watchers_has_no_answer() {
    if !since(3, 6) {
        return;
    }
    check(async |case| {
        let mut stream = case.client.watch();
        stream.ask_progress();
        let first = stream.create_and_wait(case.watch_all()).await;
        assert_eq!(first.watch_id, 0, "the created response is the first one");
    })
    .await;
}

#[tokio::test]
async fn progress_below_the_start_of_a_watcher_is_not_told() {
    if !since(3, 7) {
        return;
    }
    check_alone(&["--watch-progress-notify-interval=100ms"], async |case| {
        let mut stream = case.client.watch();
        let request =
            WatchCreateRequest { key: "k".into(), start_revision: 4, progress_notify: true, ..Default::default() };
        stream.create_and_wait(request).await;
        stream.ask_progress();
        wait::pass(Duration::from_millis(400)).await;
        for value in ["2", "3", "4"] {
            case.put("k", value).await;
        }
        let first = stream.expect().await;
        assert_eq!((first.watch_id, told(case, &first.events)), (0, vec!["put k 4".to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn a_quiet_watcher_is_told_of_progress_in_intervals() {
    let flag = if since(3, 6) {
        "--watch-progress-notify-interval=200ms"
    } else {
        "--experimental-watch-progress-notify-interval=200ms"
    };
    check_alone(&[flag], async |case| {
        let mut stream = case.client.watch();
        let quiet = WatchCreateRequest { key: "k".into(), ..Default::default() };
        stream.create_and_wait(quiet.clone()).await;
        stream.create_and_wait(WatchCreateRequest { progress_notify: true, ..quiet }).await;
        case.put("other", "v").await;
        // On a slow machine some were told before the put.
        let mut told: Vec<WatchResponse> = Vec::new();
        while told.len() < 3 || revision(&told[told.len() - 1].header) < 2 {
            told.push(stream.expect().await);
            assert!(told.len() < 100, "it is never told of the put");
        }
        for response in &told {
            assert_eq!((response.watch_id, response.events.len(), response.canceled), (1, 0, false));
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_past_is_sent_in_fragments_on_request() {
    check(async |case| {
        let value = "x".repeat(700_000);
        let start = case.put("a", &value).await;
        for name in ["b", "c", "d", "e"] {
            case.put(name, &value).await;
        }
        let mut stream = case.client.watch();
        let request = WatchCreateRequest { start_revision: start, fragment: true, ..case.watch_all() };
        stream.create_and_wait(request).await;
        let mut responses = vec![stream.expect().await];
        while responses.last().is_some_and(|response| response.fragment) {
            responses.push(stream.expect().await);
        }
        assert!(responses.len() > 1, "3.5 MB in {} responses", responses.len());
        let names: Vec<String> = responses
            .iter()
            .flat_map(|response| &response.events)
            .map(|event| case.names(&[event.kv.clone().expect("a key")]).remove(0))
            .collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        // Without the request it is one response, however large.
        let mut stream = case.client.watch();
        stream.create_and_wait(WatchCreateRequest { start_revision: start, ..case.watch_all() }).await;
        let whole = stream.expect().await;
        assert_eq!((whole.events.len(), whole.fragment), (5, false));
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_lease_is_told_as_deletes_in_one_revision() {
    check(async |case| {
        let lease = case.client.grant(600, 0).await.expect("grant").id;
        for name in ["b", "a"] {
            let put = PutRequest { key: case.key(name), value: "v".into(), lease, ..Default::default() };
            case.client.put_request(put).await.expect("put");
        }
        let mut stream = case.client.watch();
        stream.create_and_wait(case.watch_all()).await;
        case.client.revoke(lease).await.expect("revoke");
        let response = stream.expect().await;
        assert_eq!(told(case, &response.events), ["delete a", "delete b"]);
    })
    .await;
}
