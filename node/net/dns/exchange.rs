//! One question to the servers, and what they answer.

use super::Service;
use super::resolv_conf::ResolvConf;
use crate::config::go_io_error;
use rand::Rng;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, SimpleDnsError, TYPE};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

pub const NO_SUCH_HOST: &str = "no such host";

/// The largest answer over UDP that we ask for.
const UDP_SIZE: u16 = 1232;

/// Why there is no answer, and who was asked last.
#[derive(Debug)]
pub struct Failed {
    pub server: Option<SocketAddr>,
    pub why: String,
}

/// The SRV records of a full name. Asks server after server, and all of them again, until one answers.
///
/// # Errors
/// The answer is that there are none; or nobody answers.
pub async fn ask(full_name: &str, config: &ResolvConf) -> Result<Vec<Service>, Failed> {
    let mut last = Failed { server: None, why: NO_SUCH_HOST.to_owned() };
    let first = if config.rotate { rand::rng().random_range(0..config.servers.len()) } else { 0 };
    let servers = config.servers.iter().cycle().skip(first).copied();
    for server in servers.take(config.servers.len() * config.attempts as usize) {
        let asked = match question(full_name) {
            Ok(question) => question.exchange(server, config).await,
            Err(_) => Err("cannot marshal DNS message".to_owned()),
        };
        match asked.and_then(|answer| records(&answer)) {
            Ok(services) if services.is_empty() => {
                return Err(Failed { server: Some(server), why: NO_SUCH_HOST.to_owned() });
            }
            Ok(services) => return Ok(services),
            Err(why) => last = Failed { server: Some(server), why },
        }
    }
    Err(last)
}

/// What an answer says. Empty if it says that there is nothing of that name.
fn records(answer: &[u8]) -> Result<Vec<Service>, String> {
    let packet = parse(answer)?;
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(Vec::new()),
        _ => return Err("server misbehaving".to_owned()),
    }
    let knows = [PacketFlag::AUTHORITATIVE_ANSWER, PacketFlag::RECURSION_AVAILABLE];
    let has_more = !packet.additional_records.is_empty() || packet.opt().is_some();
    if packet.answers.is_empty() && !knows.into_iter().any(|flag| packet.has_flags(flag)) && !has_more {
        return Err("lame referral".to_owned());
    }
    let services = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::SRV(found) => Some(Service {
            target: format!("{}.", found.target),
            port: found.port,
            priority: found.priority,
            weight: found.weight,
        }),
        _ => None,
    });
    Ok(services.collect())
}

fn parse(answer: &[u8]) -> Result<Packet<'_>, String> {
    Packet::parse(answer).map_err(|_| "cannot unmarshal DNS message".to_owned())
}

/// A question as it goes over the wire.
struct Sent<'a> {
    id: u16,
    name: Name<'a>,
    bytes: Vec<u8>,
}

fn question(full_name: &str) -> Result<Sent<'_>, SimpleDnsError> {
    let id = rand::rng().random();
    let name = Name::new(full_name.trim_end_matches('.'))?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (class, kind) = (QCLASS::CLASS(CLASS::IN), QTYPE::TYPE(TYPE::SRV));
    packet.questions.push(Question::new(name.clone(), kind, class, false));
    *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: UDP_SIZE, version: 0 });
    Ok(Sent { id, name, bytes: packet.build_bytes_vec()? })
}

impl Sent<'_> {
    /// The answer of one server, over UDP and, if it was cut off there, over TCP.
    async fn exchange(&self, server: SocketAddr, config: &ResolvConf) -> Result<Vec<u8>, String> {
        if !config.use_tcp {
            let answer = self.over_udp(server, config.timeout).await?;
            if !parse(&answer)?.has_flags(PacketFlag::TRUNCATION) {
                return Ok(answer);
            }
        }
        self.over_tcp(server, config.timeout).await
    }

    /// Whether a message answers this question.
    fn is_answered_by(&self, message: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(message) else { return false };
        let is_same = |question: &Question<'_>| {
            question.qtype == QTYPE::TYPE(TYPE::SRV)
                && question.qname.to_string().eq_ignore_ascii_case(&self.name.to_string())
        };
        packet.id() == self.id
            && packet.has_flags(PacketFlag::RESPONSE)
            && packet.questions.first().is_some_and(is_same)
    }

    async fn over_udp(&self, server: SocketAddr, limit: Duration) -> Result<Vec<u8>, String> {
        let failed = |error: io::Error| format!("dial udp {server}: {}", go_io_error(&error));
        let any = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind::<SocketAddr>(any).await.map_err(failed)?;
        socket.connect(server).await.map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        let write = |error: io::Error| format!("write udp {local}->{server}: write: {}", go_io_error(&error));
        socket.send(&self.bytes).await.map_err(write)?;
        let read = |error: io::Error| format!("read udp {local}->{server}: read: {}", go_io_error(&error));
        let answered = timeout(limit, async {
            let mut bytes = vec![0; usize::from(u16::MAX)];
            loop {
                // Anybody may send something; what is no answer to this is passed over.
                let length = socket.recv(&mut bytes).await?;
                if self.is_answered_by(&bytes[..length]) {
                    bytes.truncate(length);
                    return Ok(bytes);
                }
            }
        });
        answered.await.map_err(|_| format!("read udp {local}->{server}: i/o timeout"))?.map_err(read)
    }

    async fn over_tcp(&self, server: SocketAddr, limit: Duration) -> Result<Vec<u8>, String> {
        let answered = timeout(limit, async {
            let mut stream = TcpStream::connect(server).await?;
            let length = u16::try_from(self.bytes.len()).expect("a question is short");
            stream.write_all(&[&length.to_be_bytes()[..], &self.bytes].concat()).await?;
            let length = stream.read_u16().await?;
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await?;
            Ok(bytes)
        });
        let answered = answered.await.map_err(|_| format!("dial tcp {server}: i/o timeout"))?;
        let bytes = answered.map_err(|error: io::Error| format!("dial tcp {server}: {}", go_io_error(&error)))?;
        if self.is_answered_by(&bytes) { Ok(bytes) } else { Err("invalid DNS response".to_owned()) }
    }
}
