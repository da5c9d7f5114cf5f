//! Rules on heads of frames, and what a client that breaks them reads.

use super::*;
use crate::net::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const MIN: Duration = Duration::from_secs(5);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn ping(flags: u8) -> Vec<u8> {
    frame(PING, flags, 0, &[7; 8])
}

/// A client that has said its preface.
fn watch() -> (Watch, OpenCalls) {
    let calls = OpenCalls::default();
    let (end, _other) = duplex(64);
    let rules = PingRules { min_interval: MIN, calls: calls.clone() };
    let limit = PingLimit::new(Gathered::new(Box::new(end)), Some(rules));
    let mut watch = *limit.watch.expect("there are rules");
    assert!(watch.read(PREFACE));
    (watch, calls)
}

/// How many pings, so far apart, are taken before the client is sent away; at most ten.
async fn taken(watch: &mut Watch, apart: Duration) -> usize {
    for taken in 0..10 {
        watch.read(&ping(0));
        if watch.leaving.is_some() {
            return taken;
        }
        tokio::time::advance(apart).await;
    }
    10
}

#[tokio::test(start_paused = true)]
async fn three_pings_too_early_are_too_many() {
    let (mut busy, calls) = watch();
    let _call = calls.begin();
    assert_eq!(taken(&mut busy, MIN - Duration::from_millis(1)).await, 3);
    let (mut patient, calls) = watch();
    let _call = calls.begin();
    assert_eq!(taken(&mut patient, MIN).await, 10);
    let (mut idle, calls) = watch();
    drop(calls.begin());
    assert_eq!(taken(&mut idle, MIN).await, 3, "without a call nobody needs to ping");
}

#[tokio::test(start_paused = true)]
async fn an_answer_makes_good_for_early_pings_and_answers_to_pings_are_none() {
    let (mut watch, calls) = watch();
    let _call = calls.begin();
    for _ in 0..5 {
        assert_eq!((watch.read(&ping(0)), watch.read(&ping(0))), (true, true));
        // Cut in the middle of a head.
        let answer = frame(DATA, 0, 1, &[1; 300]);
        watch.wrote(&answer[..4]);
        watch.wrote(&answer[4..]);
        watch.wrote(&frame(4, 1, 0, &[]));
    }
    assert!(watch.leaving.is_none());
    watch.wrote(&ping(ACK));
    assert!(watch.read(&[ping(ACK), ping(ACK), ping(ACK), ping(ACK)].concat()));
    assert_eq!((watch.leaving.is_none(), taken(&mut watch, Duration::ZERO).await), (true, 3));
}

#[test]
fn any_cut_finds_the_same_frames() {
    let bytes = [frame(HEADERS, 4, 1, &[0; 20]), ping(0), frame(DATA, 1, 3, &[]), frame(DATA, 0, 5, &[0; 5])].concat();
    for len in 1..bytes.len() {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for chunk in bytes.chunks(len) {
            frames.pass(chunk, |head| found.push((head.kind, head.flags, head.stream)));
        }
        assert_eq!(found, [(HEADERS, 4, 1), (PING, 0, 0), (DATA, 1, 3), (DATA, 0, 5)]);
        assert!(frames.is_between());
    }
}

fn connection() -> (PingLimit, tokio::io::DuplexStream) {
    let (server, client) = duplex(4096);
    let connection: Connection = Box::new(server);
    let rules = PingRules { min_interval: MIN, calls: OpenCalls::default() };
    (PingLimit::new(Gathered::new(connection), Some(rules)), client)
}

#[tokio::test]
async fn the_client_reads_why_it_is_sent_away() {
    let (mut server, mut client) = connection();
    let begun = [PREFACE.to_vec(), frame(HEADERS, 4, 5, &[0; 3]), ping(0).repeat(4)].concat();
    client.write_all(&begun).await.expect("sent");
    let serving = tokio::spawn(async move {
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.map_err(|error| error.kind())
    });
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("it is closed in order");
    let said = [&5_u32.to_be_bytes()[..], &ENHANCE_YOUR_CALM.to_be_bytes()[..], REASON].concat();
    assert_eq!(heard, frame(GO_AWAY, 0, 0, &said));
    drop(client);
    assert_eq!(serving.await.expect("served"), Err(io::ErrorKind::ConnectionAborted));
}

#[tokio::test]
async fn what_is_no_http_2_passes() {
    let (mut server, mut client) = connection();
    let request = [b"PROPFIND / HTTP/1.1\r\n".to_vec(), ping(0).repeat(9)].concat();
    client.write_all(&request).await.expect("sent");
    drop(client);
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.expect("all of it");
    assert_eq!(read, request);
}
