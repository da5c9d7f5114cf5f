//! Walks through a list as Kubernetes does: the first page as of now, the others as of the first one's revision, while
//! the keys are written to. Each page is an operation; the writes beside are the same for both servers, and few.

use super::page::PAGE_KEYS;
use super::{Ground, PAGED_PREFIX};
use crate::calls::{RANGE, writers};
use crate::load::{Client, Load, closed_loop, finish};
use crate::open_loop::at_rate;
use crate::report::Sample;
use crate::subject::connect;
use crate::wire::{Caller, frame};
use bytes::Bytes;
use keelstone_harness::prefix_end;
use keelstone_harness::proto::etcdserverpb::{RangeRequest, RangeResponse};
use prost::Message;
use std::sync::Arc;

const WRITES_PER_SEC: u32 = 500;
const WRITERS: usize = 100;

pub async fn run(ground: &Ground, walkers: usize) -> Sample {
    let writing = Load::new();
    let writers = writers(&ground.cluster, WRITERS, &ground.paged).await;
    let writers = tokio::spawn(at_rate(Arc::clone(&writing), writers, WRITES_PER_SEC));
    let connections = connect(&ground.cluster, walkers).await;
    let walker = |number: usize| Walker {
        caller: connections[number % connections.len()].caller(RANGE),
        next: first_page(),
        walked: 0,
        expected: ground.paged.len(),
    };
    let sample = closed_loop(&ground.cluster, (0..walkers).map(walker).collect(), ground.window).await;
    writing.stop();
    finish(vec![writers]).await;
    sample
}

struct Walker {
    caller: Caller,
    next: RangeRequest,
    walked: usize,
    /// Keys of a whole walk.
    expected: usize,
}

fn first_page() -> RangeRequest {
    let key = Bytes::from_static(PAGED_PREFIX.as_bytes());
    RangeRequest { range_end: prefix_end(&key), key, limit: PAGE_KEYS as i64, ..Default::default() }
}

impl Client for Walker {
    async fn once(&mut self) {
        let answer = RangeResponse::decode(self.caller.call(frame(&self.next)).await).expect("an answer to a range");
        self.walked += answer.kvs.len();
        let remaining = answer.count as usize - answer.kvs.len();
        assert_eq!(self.walked + remaining, self.expected, "keys of a walk at one revision");
        if !answer.more {
            (self.next, self.walked) = (first_page(), 0);
            return;
        }
        let last = answer.kvs.last().expect("a page with more behind it");
        self.next.key = [&last.key[..], b"\0"].concat().into();
        if self.next.revision == 0 {
            self.next.revision = answer.header.expect("a header").revision;
        }
    }
}
