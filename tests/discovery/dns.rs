//! A DNS server for one test: it knows what it is told and nothing else.

use simple_dns::rdata::{A, RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// Where `/etc/resolv.conf` says that it is.
const AT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);

/// What is known of a name.
#[derive(Clone, Debug)]
pub enum Known {
    /// Hosts and ports.
    Services(Vec<(String, u16)>),
    Host(Ipv4Addr),
    /// The server says that it cannot say.
    Broken,
}

/// The zone, which may be changed at any time.
#[derive(Clone, Debug, Default)]
pub struct Zone(Arc<Mutex<BTreeMap<String, Known>>>);

impl Zone {
    pub fn set(&self, name: &str, known: Known) {
        self.0.lock().expect("no holder panics").insert(name.to_owned(), known);
    }

    pub fn clear(&self) {
        self.0.lock().expect("no holder panics").clear();
    }

    /// Answers over UDP and TCP for as long as the runtime lives. Over UDP all that is about services is cut off, so that
    /// it is asked for over TCP.
    pub async fn serve(&self) {
        let udp = UdpSocket::bind(AT).await.expect("the port of DNS");
        let zone = self.clone();
        tokio::spawn(async move {
            let mut question = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut question).await.expect("receive");
                let answer = zone.answer(&question[..length], true);
                udp.send_to(&answer, from).await.expect("send");
            }
        });
        let tcp = TcpListener::bind(AT).await.expect("the port of DNS");
        let zone = self.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.expect("accept");
                let mut question = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
                stream.read_exact(&mut question).await.expect("a question");
                let answer = zone.answer(&question, false);
                stream.write_u16(u16::try_from(answer.len()).expect("it is short")).await.expect("send");
                stream.write_all(&answer).await.expect("send");
            }
        });
    }

    fn answer(&self, question: &[u8], is_udp: bool) -> Vec<u8> {
        let mut answer = Packet::parse(question).expect("a question").into_reply();
        let asked = answer.questions[0].clone();
        answer.additional_records.clear();
        answer.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
        let name = asked.qname.to_string().to_lowercase();
        let known = self.0.lock().expect("no holder panics").get(&name).cloned();
        let record = |data| ResourceRecord::new(asked.qname.clone(), CLASS::IN, 0, data);
        match (known, asked.qtype) {
            (None, _) => *answer.rcode_mut() = RCODE::NameError,
            (Some(Known::Broken), _) => *answer.rcode_mut() = RCODE::ServerFailure,
            (Some(Known::Services(_)), QTYPE::TYPE(TYPE::SRV)) if is_udp => answer.set_flags(PacketFlag::TRUNCATION),
            (Some(Known::Services(services)), QTYPE::TYPE(TYPE::SRV)) => {
                for (target, port) in &services {
                    let target = Name::new(target).expect("a name").into_owned();
                    answer.answers.push(record(RData::SRV(SRV { priority: 1, weight: 1, port: *port, target })));
                }
                return answer.build_bytes_vec_compressed().expect("an answer");
            }
            (Some(Known::Host(address)), QTYPE::TYPE(TYPE::A)) => {
                answer.answers.push(record(RData::A(A::from(address))));
            }
            _ => {}
        }
        answer.build_bytes_vec_compressed().expect("an answer")
    }
}
