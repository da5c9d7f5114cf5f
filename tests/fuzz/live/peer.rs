//! The peer port of one of three members: what the target `peer` makes up, sent over a real connection, and junk.

use super::client::{Connection, Header};
use super::{Live, client, junk};
use crate::engine::{Target, run};
use crate::targets::peer::{self as calls, Script};
use keelstone_harness::Random;
use prost::Message;
use prost::bytes::Bytes;

#[derive(Clone, PartialEq, Message)]
struct Input {
    /// The member that is spoken to.
    #[prost(uint32, tag = "1")]
    member: u32,
    #[prost(message, optional, tag = "2")]
    script: Option<Script>,
    #[prost(bytes = "bytes", tag = "3")]
    junk: Bytes,
}

fn generate(random: &mut Random) -> Vec<u8> {
    let junk = if random.chance(20) { junk::http2(random).into() } else { Bytes::new() };
    let script = Some(calls::script(random));
    Input { member: random.below(3) as u32, script, junk }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let inputs = calls::seeds().into_iter().filter_map(|(name, script)| {
        let script = Some(Script::decode(&script[..]).ok()?);
        Some((name, Input { member: 1, script, junk: Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n") }.encode_to_vec()))
    });
    inputs.collect()
}

#[test]
fn live_peer_messages_leave_the_cluster_as_it_is() {
    let mut live = Live::new(3);
    let mut check = |input: &[u8]| {
        let Ok(input) = Input::decode(input) else { return Ok("no input".to_owned()) };
        live.judge(async |cluster| {
            let place = input.member as usize % cluster.len();
            let header = cluster[place].client().status().await.ok().and_then(|status| status.header);
            let Some(header) = header else { return "no status".to_owned() };
            let port = cluster.peer_port(place);
            if !input.junk.is_empty() {
                junk::send(port, &input.junk).await;
            }
            let mut connection = Connection::to(port);
            let mut statuses = Vec::new();
            for call in input.script.iter().flat_map(|script| &script.calls).take(12) {
                let request = calls::request(call, header.cluster_id, header.member_id);
                let (parts, body) = request.into_parts();
                let headers = parts.headers.iter().map(|(name, value)| Header {
                    name: name.to_string(),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                });
                let path = parts.uri.path().trim_start_matches('/').to_owned();
                let raw = client::Call { path, messages: vec![body], headers: headers.collect(), frame: 3 };
                statuses.push(connection.call(&raw).await);
            }
            statuses.join(",")
        })
    };
    run(&mut Target { name: "live_peer", check: &mut check, generate: &generate, seeds: &seeds });
}
