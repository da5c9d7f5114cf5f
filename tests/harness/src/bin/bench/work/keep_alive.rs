//! Renewals of leases: each client has a lease and a stream of its own, and renews as soon as it is answered.

use super::Ground;
use crate::calls::{LEASE_GRANT, LEASE_KEEP_ALIVE};
use crate::load::{Client, closed_loop};
use crate::report::Sample;
use crate::subject::connect;
use crate::wire::{Answers, Requests, frame};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
};
use prost::Message;

const TTL_SECS: i64 = 600;

pub async fn run(ground: &Ground, streams: usize) -> Sample {
    let connections = connect(&ground.cluster, streams).await;
    let mut keepers = Vec::new();
    for number in 0..streams {
        let connection = &connections[number % connections.len()];
        let grant = frame(&LeaseGrantRequest { ttl: TTL_SECS, id: 0 });
        let granted = LeaseGrantResponse::decode(connection.caller(LEASE_GRANT).call(grant).await);
        let renewal = frame(&LeaseKeepAliveRequest { id: granted.expect("a granted lease").id });
        let (requests, answers) = connection.caller(LEASE_KEEP_ALIVE).open().await;
        keepers.push(Keeper { requests, answers, renewal });
    }
    closed_loop(&ground.cluster, keepers, ground.window).await
}

struct Keeper {
    requests: Requests,
    answers: Answers,
    renewal: Bytes,
}

impl Client for Keeper {
    async fn once(&mut self) {
        self.requests.send(self.renewal.clone());
        let answer = LeaseKeepAliveResponse::decode(self.answers.next().await).expect("an answer to a renewal");
        assert_eq!(answer.ttl, TTL_SECS, "a lease that lives");
    }
}
