//! A client that sends one of many requests, drawn at random, and waits for its answer.

use crate::load::Client;
use crate::subject::connect;
use crate::wire::{Caller, Refused, frame};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse};
use keelstone_harness::{Cluster, Random};
use prost::Message;
use std::sync::Arc;

pub const PUT: &str = "etcdserverpb.KV/Put";
pub const RANGE: &str = "etcdserverpb.KV/Range";
pub const TXN: &str = "etcdserverpb.KV/Txn";
pub const WATCH: &str = "etcdserverpb.Watch/Watch";
pub const LEASE_GRANT: &str = "etcdserverpb.Lease/LeaseGrant";
pub const LEASE_KEEP_ALIVE: &str = "etcdserverpb.Lease/LeaseKeepAlive";

#[derive(Debug)]
pub struct Calls {
    caller: Caller,
    frames: Arc<Vec<Bytes>>,
    random: Random,
    /// How many keys every answer must hold, for a range.
    keys: Option<usize>,
}

impl Client for Calls {
    async fn once(&mut self) {
        let answer = self.attempt().await.unwrap_or_else(|refused| panic!("{refused}"));
        if let Some(keys) = self.keys {
            let answer = RangeResponse::decode(answer).expect("an answer to a range");
            assert_eq!(answer.kvs.len(), keys, "keys in an answer");
        }
    }
}

impl Calls {
    /// One call, for those who expect that it may fail.
    pub async fn attempt(&mut self) -> Result<Bytes, Refused> {
        let frame = self.random.pick(&self.frames).clone();
        self.caller.attempt(frame).await
    }
}

/// Clients that call `method`.
pub async fn clients(cluster: &Cluster, count: usize, method: &str, frames: Vec<Bytes>) -> Vec<Calls> {
    let (connections, frames) = (connect(cluster, count).await, Arc::new(frames));
    let client = |number: usize| Calls {
        caller: connections[number % connections.len()].caller(method),
        frames: Arc::clone(&frames),
        random: Random::new(number as u64),
        keys: None,
    };
    (0..count).map(client).collect()
}

/// Clients that read, and find so many keys each time.
pub async fn readers(cluster: &Cluster, count: usize, requests: &[RangeRequest], keys: usize) -> Vec<Calls> {
    let frames = requests.iter().map(frame).collect();
    let mut clients = clients(cluster, count, RANGE, frames).await;
    for client in &mut clients {
        client.keys = Some(keys);
    }
    clients
}

/// Clients that put one of these keys.
pub async fn writers(cluster: &Cluster, count: usize, keys: &[Bytes]) -> Vec<Calls> {
    let value = crate::keys::value();
    clients(cluster, count, PUT, keys.iter().map(|key| put_frame(key, &value)).collect()).await
}

pub fn put_frame(key: &Bytes, value: &Bytes) -> Bytes {
    frame(&PutRequest { key: key.clone(), value: value.clone(), ..Default::default() })
}
