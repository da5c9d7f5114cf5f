//! Every call of every service with any message, under any headers, in any framing.

use super::Live;
use crate::engine::{Target, generate, run};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keelstone_harness::Random;
use prost::Message;
use prost::bytes::Bytes;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::TcpStream;

#[derive(Clone, PartialEq, Message)]
struct Script {
    #[prost(message, repeated, tag = "1")]
    calls: Vec<Call>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Call {
    /// `service/method`.
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub messages: Vec<Bytes>,
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<Header>,
    /// 0: as it should be, 1: a length beyond the message, 2: said to be compressed, 3: no frame at all.
    #[prost(uint32, tag = "4")]
    pub frame: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Streams do not end by themselves.
const ANSWER_LIMIT: Duration = Duration::from_millis(40);

fn body(call: &Call) -> Bytes {
    let mut out = Vec::new();
    for message in &call.messages {
        let len = message.len() as u32;
        match call.frame {
            1 => out.extend([&[0][..], &len.wrapping_add(0x7fff_0000).to_be_bytes()].concat()),
            2 => out.extend([&[1][..], &len.to_be_bytes()].concat()),
            3 => {}
            _ => out.extend([&[0][..], &len.to_be_bytes()].concat()),
        }
        out.extend_from_slice(message);
    }
    out.into()
}

/// A connection, made anew when the server has closed it.
pub struct Connection {
    port: u16,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub fn to(port: u16) -> Self {
        Self { port, sender: None }
    }

    async fn sender(&mut self) -> std::io::Result<&mut SendRequest<Full<Bytes>>> {
        if self.sender.as_ref().is_none_or(|sender| sender.is_closed()) {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.set_nodelay(true)?;
            let shaken = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (sender, connection) = shaken.map_err(std::io::Error::other)?;
            // It ends with the connection; why is the server's business.
            tokio::spawn(async move { connection.await.ok() });
            self.sender = Some(sender);
        }
        Ok(self.sender.as_mut().expect("just made"))
    }

    /// The status of the answer, in words.
    pub async fn call(&mut self, call: &Call) -> String {
        let uri = format!("http://127.0.0.1:{}/{}", self.port, call.path);
        let mut request = http::Request::post(uri).version(http::Version::HTTP_2);
        if !call.headers.iter().any(|header| header.name == "content-type") {
            request = request.header("content-type", "application/grpc").header("te", "trailers");
        }
        for header in &call.headers {
            request = request.header(&header.name, &header.value[..]);
        }
        let Ok(request) = request.body(Full::new(body(call))) else { return "no request".to_owned() };
        let exchange = async {
            let sender = self.sender().await.map_err(|error| format!("{:?}", error.kind()))?;
            sender.ready().await.map_err(|_| "not ready".to_owned())?;
            let response = sender.send_request(request).await.map_err(|_| "no response".to_owned())?;
            let early = response.headers().get("grpc-status").cloned();
            let code = response.status();
            let collected = response.into_body().collect().await.map_err(|_| "broken off".to_owned())?;
            let status = early.or_else(|| collected.trailers()?.get("grpc-status").cloned());
            Ok::<_, String>(
                status.map_or(code.to_string(), |status| format!("{:?}", tonic::Code::from_bytes(status.as_bytes()))),
            )
        };
        match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
            Ok(Ok(status)) => status,
            Ok(Err(why)) => {
                self.sender = None;
                why
            }
            Err(_) => "open".to_owned(),
        }
    }
}

/// Path and request type of every call that clients have.
fn methods() -> &'static [(String, String)] {
    static METHODS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let services = generate::descriptors().services().filter(|service| !service.full_name().contains("internal"));
        let of = |service: prost_reflect::ServiceDescriptor| {
            let methods: Vec<_> = service
                .methods()
                .map(|method| {
                    let path = format!("{}/{}", service.full_name(), method.name());
                    (path, method.input().full_name().to_owned())
                })
                .collect();
            methods
        };
        services.flat_map(of).collect()
    })
}

const HEADERS: [(&str, &[u8]); 12] = [
    ("hasleader", b"true"),
    ("hasleader", b"\xff"),
    ("grpc-timeout", b"99999999H"),
    ("grpc-timeout", b"1n"),
    ("grpc-timeout", b"-1S"),
    ("client-api-version", b"3.7.3"),
    ("client-api-version", b"\xc3\x28"),
    ("token", b"root.1"),
    ("authorization", b"Bearer x"),
    ("grpc-encoding", b"gzip"),
    ("content-type", b"application/grpc+json"),
    ("content-type", b"text/plain"),
];

fn call(random: &mut Random) -> Call {
    let is_plain = random.chance(70);
    let plain: Vec<_> =
        methods().iter().filter(|(path, _)| ["KV", "Watch", "Lease"].iter().any(|name| path.contains(name))).collect();
    let (path, input) = if is_plain { (*random.pick(&plain)).clone() } else { random.pick(methods()).clone() };
    let messages = (0..1 + random.below(2)).map(|_| generate::message(&input, random).into()).collect();
    let headers = (0..random.below(3))
        .map(|_| *random.pick(&HEADERS))
        .map(|(name, value)| Header { name: name.to_owned(), value: Bytes::from_static(value) })
        .collect();
    let frame = if random.chance(93) { 0 } else { random.below(4) as u32 };
    Call { path, messages, headers: if random.chance(70) { Vec::new() } else { headers }, frame }
}

fn generate(random: &mut Random) -> Vec<u8> {
    Script { calls: (0..1 + random.below(10)).map(|_| call(random)).collect() }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let services: std::collections::BTreeSet<_> =
        methods().iter().map(|(path, _)| path.split('/').next().unwrap_or_default().to_owned()).collect();
    let mut random = Random::new(1);
    let mut seeds: Vec<_> = services
        .into_iter()
        .map(|service| {
            let of_service = methods().iter().filter(|(path, _)| path.starts_with(&format!("{service}/")));
            let calls = of_service.map(|(path, input)| Call {
                path: path.clone(),
                messages: vec![generate::message(input, &mut random).into()],
                ..Call::default()
            });
            (service.replace('.', "-"), Script { calls: calls.collect() }.encode_to_vec())
        })
        .collect();
    let requests = crate::targets::apply::history().into_iter().filter(|entry| entry.kind == 0);
    let put = |frame| Call {
        path: "etcdserverpb.KV/Put".to_owned(),
        messages: requests.clone().map(|entry| entry.data).collect(),
        frame,
        ..Call::default()
    };
    seeds.push(("frames".to_owned(), Script { calls: (0..4).map(put).collect() }.encode_to_vec()));
    seeds
}

#[test]
fn live_client_calls_are_answered() {
    let mut live = Live::new(1);
    let mut check = |input: &[u8]| {
        let Ok(script) = Script::decode(input) else { return Ok("no script".to_owned()) };
        live.judge(async |cluster| {
            let mut connection = Connection::to(cluster[0].client_port);
            let mut statuses = String::new();
            for call in script.calls.iter().take(30) {
                let method = call.path.rsplit('/').next().unwrap_or_default().to_owned();
                statuses += &format!("{method} {}\n", connection.call(call).await);
            }
            statuses
        })
    };
    run(&mut Target { name: "live_client", check: &mut check, generate: &generate, seeds: &seeds });
}
