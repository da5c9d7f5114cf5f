//! Watch: making watchers, what they are told as it happens, ending them.

use crate::{Case, check, check_alone, revision};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::watch_create_request::FilterType;
use keelstone_harness::proto::etcdserverpb::{TxnRequest, WatchCreateRequest};
use keelstone_harness::proto::mvccpb::Event;
use keelstone_harness::proto::mvccpb::event::EventType;
use keelstone_harness::{WatchStream, prefix_end};

impl Case {
    /// A watch of all keys of this case.
    pub(crate) fn watch_all(&self) -> WatchCreateRequest {
        let key = Bytes::from(self.prefix.clone());
        WatchCreateRequest { range_end: prefix_end(&key), key, ..Default::default() }
    }
}

/// Kind, name and value of each event.
pub(crate) fn told(case: &Case, events: &[Event]) -> Vec<String> {
    let one = |event: &Event| {
        let kv = event.kv.as_ref().expect("a key");
        let name = String::from_utf8_lossy(&kv.key[case.prefix.len()..]);
        match event.r#type() {
            EventType::Put => format!("put {name} {}", String::from_utf8_lossy(&kv.value)),
            EventType::Delete => format!("delete {name}"),
        }
    };
    events.iter().map(one).collect()
}

#[tokio::test]
async fn a_watcher_is_created_and_then_told_each_change() {
    check(async |case| {
        let mut stream = case.client.watch();
        let created = stream.create_and_wait(case.watch_all()).await;
        assert_eq!((created.watch_id, created.canceled, created.events.len()), (0, false, 0));
        let first = case.put("a", "1").await;
        let response = stream.expect().await;
        assert_eq!((response.watch_id, revision(&response.header)), (0, first));
        assert_eq!(told(case, &response.events), ["put a 1"]);
        let kv = response.events[0].kv.clone().expect("a key");
        assert_eq!(Some(kv), case.get("a").await);
        assert_eq!(response.events[0].prev_kv, None);

        let second = revision(&case.client.delete(case.key("a")).await.expect("delete").header);
        let response = stream.expect().await;
        assert_eq!(revision(&response.header), second);
        let kv = response.events[0].kv.clone().expect("a key");
        assert_eq!((response.events[0].r#type(), kv.mod_revision), (EventType::Delete, second));
        assert_eq!((kv.create_revision, kv.version, kv.value.len()), (0, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn only_the_interval_is_told() {
    check(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(WatchCreateRequest { key: case.key("b"), ..Default::default() }).await;
        let interval = WatchCreateRequest { key: case.key("b"), range_end: case.key("d"), ..Default::default() };
        stream.create_and_wait(interval).await;
        for name in ["a", "b", "bb", "c", "d"] {
            case.put(name, "v").await;
        }
        let mut seen = [vec![], vec![]];
        while seen[0].len() + seen[1].len() < 4 {
            let response = stream.expect().await;
            seen[response.watch_id as usize].extend(told(case, &response.events));
        }
        assert_eq!(seen[0], ["put b v"]);
        assert_eq!(seen[1], ["put b v", "put bb v", "put c v"]);
    })
    .await;
}

#[tokio::test]
async fn an_empty_key_starts_at_the_first_key_and_a_zero_byte_is_open_ended() {
    check_alone(&[], async |case| {
        let mut stream = case.client.watch();
        let from_start = WatchCreateRequest { range_end: "b".into(), ..Default::default() };
        let to_end = WatchCreateRequest { key: "b".into(), range_end: "\0".into(), ..Default::default() };
        for request in [from_start, to_end] {
            let created = stream.create_and_wait(request).await;
            assert!(!created.canceled, "{created:?}");
        }
        case.put("a", "v").await;
        case.put("z", "v").await;
        let responses = [stream.expect().await, stream.expect().await];
        assert_eq!(responses.each_ref().map(|response| response.watch_id), [0, 1]);
        assert_eq!(told(case, &responses[0].events), ["put a v"]);
        assert_eq!(told(case, &responses[1].events), ["put z v"]);
    })
    .await;
}

#[tokio::test]
async fn all_changes_of_a_transaction_come_together_in_order() {
    check(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(case.watch_all()).await;
        use crate::txn::{delete, put};
        case.put("old", "1").await;
        stream.expect().await;
        let success = vec![put(case.key("b"), "1"), delete(case.key("old"), ""), put(case.key("a"), "1")];
        let reply = case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
        let response = stream.expect().await;
        assert_eq!(told(case, &response.events), ["put b 1", "delete old", "put a 1"]);
        assert_eq!(revision(&response.header), revision(&reply.header));
    })
    .await;
}

#[tokio::test]
async fn the_previous_record_comes_on_request() {
    check(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(WatchCreateRequest { prev_kv: true, ..case.watch_all() }).await;
        case.put("k", "1").await;
        let first = case.get("k").await;
        case.put("k", "2").await;
        let second = case.get("k").await;
        case.client.delete(case.key("k")).await.expect("delete");
        case.put("k", "3").await;
        let events = stream.events(4).await;
        assert_eq!(events.into_iter().map(|event| event.prev_kv).collect::<Vec<_>>(), [None, first, second, None]);
    })
    .await;
}

#[tokio::test]
async fn filters_leave_events_out() {
    check(async |case| {
        let mut stream = case.client.watch();
        let forms = [
            (vec![FilterType::Noput], vec!["delete k", "delete l"]),
            (vec![FilterType::Nodelete], vec!["put k 1", "put l 1", "put m 1"]),
            (vec![], vec!["put k 1", "delete k", "put l 1", "delete l", "put m 1"]),
        ];
        for (filters, _) in &forms {
            let filters = filters.iter().map(|filter| i32::from(*filter)).collect();
            stream.create_and_wait(WatchCreateRequest { filters, ..case.watch_all() }).await;
        }
        for name in ["k", "l"] {
            case.put(name, "1").await;
            case.client.delete(case.key(name)).await.expect("delete");
        }
        case.put("m", "1").await;
        let total = forms.iter().map(|(_, expected)| expected.len()).sum::<usize>();
        let mut seen = vec![vec![]; forms.len()];
        while seen.iter().map(Vec::len).sum::<usize>() < total {
            let response = stream.expect().await;
            assert!(!response.events.is_empty(), "nothing is sent for what is filtered: {response:?}");
            seen[response.watch_id as usize].extend(told(case, &response.events));
        }
        for (seen, (filters, expected)) in seen.iter().zip(&forms) {
            assert_eq!(seen, expected, "{filters:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn ids_are_counted_from_zero_and_may_be_chosen() {
    check(async |case| {
        let mut stream = case.client.watch();
        let watch = |watch_id| WatchCreateRequest { watch_id, ..case.watch_all() };
        for (asked, expected) in [(0, 0), (0, 1), (3, 3), (0, 2), (0, 4), (7, 7)] {
            assert_eq!(stream.create_and_wait(watch(asked)).await.watch_id, expected);
        }
        let mut other = case.client.watch();
        assert_eq!(other.create_and_wait(watch(0)).await.watch_id, 0);
    })
    .await;
}

#[tokio::test]
async fn an_id_in_use_is_refused() {
    check(async |case| {
        let mut stream = case.client.watch();
        let request = WatchCreateRequest { watch_id: 5, ..case.watch_all() };
        stream.create_and_wait(request.clone()).await;
        let again = stream.create_and_wait(request).await;
        assert_eq!((again.canceled, again.watch_id), (true, -1));
        assert_eq!(again.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
        // The first one goes on.
        case.put("k", "v").await;
        assert_eq!(stream.expect().await.watch_id, 5);
    })
    .await;
}

#[tokio::test]
async fn an_empty_interval_is_refused() {
    check(async |case| {
        let mut stream = case.client.watch();
        for (from, to) in [("b", "b"), ("b", "a")] {
            let request = WatchCreateRequest { key: case.key(from), range_end: case.key(to), ..Default::default() };
            let response = stream.create_and_wait(request).await;
            assert_eq!((response.canceled, response.watch_id), (true, -1));
            assert_eq!(response.cancel_reason, "mvcc: watcher range is empty");
        }
    })
    .await;
}

/// Cancels and reads up to the answer; returns how many events came before it.
async fn cancel(stream: &mut WatchStream, watch_id: i64) -> usize {
    stream.cancel(watch_id);
    let mut events = 0;
    loop {
        let response = stream.expect().await;
        if response.canceled {
            assert_eq!((response.watch_id, response.created), (watch_id, false));
            assert_eq!((response.cancel_reason.as_str(), response.compact_revision), ("", 0));
            return events;
        }
        events += response.events.len();
    }
}

#[tokio::test]
async fn a_cancelled_watcher_is_told_nothing_more() {
    check(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(case.watch_all()).await;
        stream.create_and_wait(case.watch_all()).await;
        cancel(&mut stream, 0).await;
        case.put("k", "v").await;
        assert_eq!(stream.expect().await.watch_id, 1);
        // An id that is not there is no mistake, and has no answer.
        stream.cancel(0);
        stream.cancel(99);
        case.put("k", "w").await;
        let response = stream.expect().await;
        assert_eq!((response.watch_id, response.canceled), (1, false));
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_id_may_be_used_again() {
    check(async |case| {
        let mut stream = case.client.watch();
        let request = WatchCreateRequest { watch_id: 5, ..case.watch_all() };
        stream.create_and_wait(request.clone()).await;
        cancel(&mut stream, 5).await;
        let again = stream.create_and_wait(request).await;
        assert_eq!((again.watch_id, again.canceled), (5, false));
    })
    .await;
}

#[tokio::test]
async fn a_message_without_a_request_is_passed_over() {
    check(async |case| {
        let mut stream = case.client.watch();
        stream.send_empty();
        stream.create_and_wait(case.watch_all()).await;
        case.put("k", "v").await;
        assert_eq!(stream.events(1).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn watchers_go_on_after_the_last_request() {
    check(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(case.watch_all()).await;
        stream.close_requests();
        for value in ["1", "2"] {
            case.put("k", value).await;
            assert_eq!(told(case, &stream.expect().await.events), [format!("put k {value}")]);
        }
    })
    .await;
}

#[tokio::test]
async fn many_watchers_share_a_stream() {
    check(async |case| {
        let mut stream = case.client.watch();
        for number in 0..200 {
            let key = case.key(&format!("{number}"));
            assert_eq!(stream.create_and_wait(WatchCreateRequest { key, ..Default::default() }).await.watch_id, number);
        }
        for number in (0..200).rev() {
            case.put(&format!("{number}"), "v").await;
        }
        for number in (0..200).rev() {
            let response = stream.expect().await;
            assert_eq!(response.watch_id, number);
            assert_eq!(told(case, &response.events), [format!("put {number} v")]);
        }
    })
    .await;
}
