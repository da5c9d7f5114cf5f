//! The client port seen as a web server, and as bytes: paths, queries, methods, headers, HTTP/2 frames, junk.

use super::Live;
use super::junk;
use crate::engine::{Target, run};
use keelstone_harness::Random;
use prost::Message;
use prost::bytes::Bytes;

#[derive(Clone, PartialEq, Message)]
struct Script {
    /// What each connection sends.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    connections: Vec<Bytes>,
}

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "OPTIONS", "HEAD", "CONNECT", "PRI", "get"];
const PATHS: [&str; 16] = [
    "/health",
    "/metrics",
    "/version",
    "/livez",
    "/readyz",
    "/readyz/data_corruption",
    "/livez/serializable_read",
    "/v3/kv/put",
    "/etcdserverpb.KV/Put",
    "/",
    "*",
    "//health",
    "/%68ealth",
    "http://a/health",
    "health",
    "/\u{fc}",
];
const QUERIES: [&str; 9] = [
    "",
    "?verbose",
    "?exclude=NOSPACE&exclude=%00%ff",
    "?serializable=true",
    "?exclude=data_corruption&exclude=a+b",
    "?&&==&%",
    "?exclude=\u{2028}",
    "??",
    "?verbose&exclude=linearizable_read",
];
const HEADERS: [&str; 8] = [
    "Host: 127.0.0.1",
    "Content-Length: 18446744073709551615",
    "Transfer-Encoding: chunked",
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Content-Type: application/grpc",
    "X: \x01",
];

fn request(random: &mut Random) -> Vec<u8> {
    let version = random.pick(&["HTTP/1.1", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/9"]);
    let mut text = format!("{} {}{} {version}\r\n", random.pick(&METHODS), random.pick(&PATHS), random.pick(&QUERIES));
    for _ in 0..random.below(4) {
        text += &format!("{}\r\n", random.pick(&HEADERS));
    }
    text += "\r\n";
    if random.chance(30) {
        text += "ffffffff\r\nabc\r\n0\r\n\r\n";
    }
    text.into_bytes()
}

fn generate(random: &mut Random) -> Vec<u8> {
    let connections = (0..1 + random.below(4)).map(|_| {
        let bytes = if random.chance(60) { request(random) } else { junk::http2(random) };
        Bytes::from(bytes)
    });
    Script { connections: connections.collect() }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let get = |path: &str| Bytes::from(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let pages = PATHS.iter().map(|path| get(path)).collect();
    let queries = QUERIES.iter().map(|query| get(&format!("/readyz{query}"))).collect();
    let mut random = Random::new(1);
    let frames = (0..8).map(|_| junk::http2(&mut random).into()).collect();
    [("pages", pages), ("queries", queries), ("frames", frames)]
        .into_iter()
        .map(|(name, connections)| (name.to_owned(), Script { connections }.encode_to_vec()))
        .collect()
}

#[test]
fn live_http_takes_any_bytes() {
    let mut live = Live::new(1);
    let mut check = |input: &[u8]| {
        let Ok(script) = Script::decode(input) else { return Ok("no script".to_owned()) };
        live.judge(async |cluster| {
            let mut answers = Vec::new();
            for bytes in script.connections.iter().take(20) {
                answers.push(junk::send(cluster[0].client_port, bytes).await);
            }
            answers.join(",")
        })
    };
    run(&mut Target { name: "live_http", check: &mut check, generate: &generate, seeds: &seeds });
}
