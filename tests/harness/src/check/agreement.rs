//! Whether members hold the same, and hold everything that was acknowledged.

use super::{Faults, Truth};
use crate::proto::etcdserverpb::{RangeResponse, WatchCreateRequest};
use crate::proto::mvccpb::Event;
use crate::{Client, wait};
use bytes::Bytes;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Every event from revision `from` to `until`, in the order in which a fresh watch of this member delivers them.
pub async fn history(client: &Client, from: i64, until: i64) -> Vec<Event> {
    let everything = Bytes::from_static(b"\0");
    let (key, range_end) = (everything.clone(), everything);
    let mut stream = client.watch();
    stream.create_and_wait(WatchCreateRequest { key, range_end, start_revision: from, ..Default::default() }).await;
    let mut events: Vec<Event> = Vec::new();
    let mut last = from - 1;
    while last < until {
        let response = stream.expect().await;
        assert!(!response.canceled, "a watch from {from} was cancelled: {response:?}");
        events.extend(response.events);
        last = events.last().and_then(|event| event.kv.as_ref()).map_or(last, |kv| kv.mod_revision);
    }
    events
}

/// The final state that a linearizable scan shows must be the truth's.
pub fn check_scan(scan: &RangeResponse, truth: &Truth) -> Faults {
    let revision = scan.header.as_ref().map_or(0, |header| header.revision);
    let mut faults = Faults::new();
    if revision != truth.last_revision() {
        faults.push(format!("the scan is at {revision}, the history ends at {}", truth.last_revision()));
    }
    let there = truth.range(b"\0", b"\0", revision);
    for kv in &scan.kvs {
        if truth.get(&kv.key, revision) != Some(kv) {
            faults.push(format!("the scan shows {kv:?}, the history {:?}", truth.get(&kv.key, revision)));
        }
    }
    if scan.kvs.len() != there.len() || scan.count != there.len() as i64 {
        faults.push(format!("the scan shows {} keys, the history {}", scan.kvs.len(), there.len()));
    }
    faults
}

/// Waits until all members have applied `revision`, then compares their HashKV at it.
pub async fn check_hashes(clients: &[Client], revision: i64) -> Faults {
    let mut hashes = Vec::new();
    for client in clients {
        let what = format!("{} to answer HashKV at {revision}", client.endpoint());
        let reply = wait::until(&what, LIMIT, || async { client.hash_kv(revision).await.ok() }).await;
        hashes.push((client.endpoint(), reply.hash, reply.compact_revision));
    }
    let same = hashes.windows(2).all(|pair| (pair[0].1, pair[0].2) == (pair[1].1, pair[1].2));
    if same { Faults::new() } else { vec![format!("HashKV at {revision} differs: {hashes:?}")] }
}

#[cfg(test)]
mod tests {
    use super::super::truth::tests::good;
    use super::*;
    use crate::proto::etcdserverpb::ResponseHeader;

    fn scan(truth: &Truth, state: i64, revision: i64) -> RangeResponse {
        let kvs: Vec<_> = truth.range(b"\0", b"\0", state).into_iter().cloned().collect();
        let header = Some(ResponseHeader { revision, ..Default::default() });
        RangeResponse { header, count: kvs.len() as i64, kvs, more: false }
    }

    #[test]
    fn a_scan_of_the_end_passes_and_one_of_an_older_state_is_found() {
        let (truth, _) = Truth::replay(&good());
        assert_eq!(check_scan(&scan(&truth, 6, 6), &truth), Faults::new());
        assert!(!check_scan(&scan(&truth, 4, 6), &truth).is_empty());
        assert!(!check_scan(&scan(&truth, 4, 4), &truth).is_empty());
    }

    #[test]
    fn a_lost_key_is_found() {
        let (truth, _) = Truth::replay(&good());
        let mut short = scan(&truth, 6, 6);
        short.kvs.pop();
        assert!(!check_scan(&short, &truth).is_empty());
    }
}
