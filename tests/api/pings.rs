//! Which pings of a client are too many (`--grpc-keepalive-min-time`), frame by frame.

use crate::check_alone;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The headers of a Watch call, as HPACK spells them out.
fn watch_call() -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.Watch/Watch"),
        (":authority", "127.0.0.1"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, 1, &block)
}

struct Raw(TcpStream);

impl Raw {
    async fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
        stream.set_nodelay(true).expect("no delay");
        let begun = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat();
        stream.write_all(&begun).await.expect("sent");
        Self(stream)
    }

    /// The next frame of one of these kinds; none once the connection is closed.
    async fn next(&mut self, kinds: &[u8]) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let [l0, l1, l2, kind, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            if kinds.contains(&kind) {
                return Some((kind, payload));
            }
        }
    }

    /// Pings, each behind the answer to the one before: how many are answered, and why it came to an end.
    async fn ping(&mut self, times: usize) -> (usize, Option<Vec<u8>>) {
        for answered in 0..times {
            if self.0.write_all(&frame(PING, 0, 0, &[7; 8])).await.is_err() {
                return (answered, None);
            }
            match self.next(&[PING, GO_AWAY]).await {
                Some((PING, payload)) => assert_eq!(payload, [7; 8]),
                Some((_, why)) => return (answered, Some(why)),
                None => return (answered, None),
            }
            // Beyond the least interval of these cases.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (times, None)
    }
}

/// Behind the id of the last stream: ENHANCE_YOUR_CALM, and grpc-go's words.
#[track_caller]
fn check_reason(why: Option<Vec<u8>>) {
    let why = why.expect("it is told why");
    assert_eq!(&why[4..], [&11_u32.to_be_bytes()[..], b"too_many_pings"].concat(), "{why:?}");
}

#[tokio::test]
async fn a_client_that_pings_too_often_is_sent_away() {
    check_alone(&["--grpc-keepalive-min-time=1h"], async |case| {
        let mut client = Raw::connect(case.port).await;
        client.0.write_all(&watch_call()).await.expect("sent");
        let (answered, why) = client.ping(10).await;
        // The ping that is too many is answered by etcd, in a race with the end.
        assert!((3..=4).contains(&answered), "{answered}");
        check_reason(why);
        assert_eq!(client.next(&[PING]).await, None, "it is closed");
        case.put("others", "are served").await;
    })
    .await;
}

#[tokio::test]
async fn pings_apart_are_fine_but_without_a_call_there_is_nothing_to_keep_alive() {
    check_alone(&["--grpc-keepalive-min-time=1ms"], async |case| {
        let mut client = Raw::connect(case.port).await;
        client.0.write_all(&watch_call()).await.expect("sent");
        assert_eq!(client.ping(12).await, (12, None));
        let (answered, why) = Raw::connect(case.port).await.ping(12).await;
        assert!((3..=4).contains(&answered), "{answered}");
        check_reason(why);
    })
    .await;
}
