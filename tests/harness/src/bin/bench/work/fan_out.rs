//! Writers put keys under one prefix that every watcher watches. An operation is an event received; its latency runs
//! from when its put was sent, which the value tells.

use super::Ground;
use crate::calls::{PUT, WATCH, put_frame};
use crate::keys::random_keys;
use crate::load::{Load, finish};
use crate::report::Sample;
use crate::subject::connect;
use crate::wire::{Answers, Caller, Requests, frame};
use bytes::Bytes;
use keelstone_harness::prefix_end;
use keelstone_harness::proto::etcdserverpb::watch_request::RequestUnion;
use keelstone_harness::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use prost::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PREFIX: &str = "watched/";
const KEYS: usize = 1000;

/// Nanoseconds since the epoch of the run, at the head of a value.
const STAMP_BYTES: usize = 8;

pub async fn run(ground: &Ground, watchers: usize, writers: usize) -> Sample {
    let (load, epoch) = (Load::new(), Instant::now());
    let connections = connect(&ground.cluster, watchers).await;
    let mut receivers = Vec::new();
    for number in 0..watchers {
        let (requests, answers) = watch(&mut connections[number % connections.len()].caller(WATCH)).await;
        receivers.push(tokio::spawn(receive(Arc::clone(&load), requests, answers, epoch)));
    }
    let keys = Arc::new(random_keys(PREFIX, 3, KEYS));
    let connections = connect(&ground.cluster, writers).await;
    let writer = |number: usize| Writer {
        caller: connections[number % connections.len()].caller(PUT),
        keys: Arc::clone(&keys),
        next: number,
        epoch,
        value: crate::keys::value().to_vec(),
    };
    let writers = (0..writers).map(writer).map(|writer| tokio::spawn(write(Arc::clone(&load), writer))).collect();
    let spent = load.window(&ground.cluster, ground.window).await;
    finish(writers).await;
    for receiver in receivers {
        assert!(!receiver.is_finished(), "watches go on until they are cut off");
        receiver.abort();
    }
    load.sample(&spent)
}

/// Opens a stream with one watcher of the prefix, and waits until it is there.
async fn watch(caller: &mut Caller) -> (Requests, Answers) {
    let (mut requests, mut answers) = caller.open().await;
    let key = Bytes::from_static(PREFIX.as_bytes());
    let create = WatchCreateRequest { range_end: prefix_end(&key), key, ..Default::default() };
    requests.send(frame(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }));
    let created = WatchResponse::decode(answers.next().await).expect("an answer to a watch");
    assert!(created.created, "{created:?}");
    (requests, answers)
}

/// The stream lives as long as its requests do.
async fn receive(load: Arc<Load>, _requests: Requests, mut answers: Answers, epoch: Instant) {
    loop {
        let answer = WatchResponse::decode(answers.next().await).expect("events");
        assert!(!answer.canceled, "{answer:?}");
        let now = Instant::now();
        for event in &answer.events {
            let value = &event.kv.as_ref().expect("a put").value;
            let stamp = value[..STAMP_BYTES].try_into().map(u64::from_le_bytes).expect("eight bytes");
            load.record(epoch + Duration::from_nanos(stamp), now);
        }
    }
}

struct Writer {
    caller: Caller,
    keys: Arc<Vec<Bytes>>,
    next: usize,
    epoch: Instant,
    value: Vec<u8>,
}

async fn write(load: Arc<Load>, mut writer: Writer) {
    while !load.is_stopped() {
        writer.put().await;
    }
}

impl Writer {
    async fn put(&mut self) {
        let stamp = u64::try_from(self.epoch.elapsed().as_nanos()).expect("less than centuries");
        self.value[..STAMP_BYTES].copy_from_slice(&stamp.to_le_bytes());
        let key = &self.keys[self.next % self.keys.len()];
        self.next += 1;
        self.caller.call(put_frame(key, &Bytes::copy_from_slice(&self.value))).await;
    }
}
